// SPDX-License-Identifier: Apache-2.0
// The two master keys and what is handed out under them: SPIs, their keys and the offers' numbers. One slot
// is active; the other holds the previous key, or none before the first rotation, and offers nothing. The
// engine has master keys of its own, of the same octets, so that a rotation is made here and becomes active
// only once the engine has taken it. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>

#include "psp/master_key.h"
#include "psp/spi_allocator.h"

namespace psp {

class Keyring {
 public:
  // Slot 0 holds a fresh key and is active. Each key rules `spis_per_key` SPIs.
  explicit Keyring(uint32_t spis_per_key = SpiAllocator::kSpisPerKey);

  uint8_t active_slot() const { return active_; }
  // Counts master keys made active, from 1.
  uint32_t generation() const { return generation_; }

  // The engine's own copy of the first key; taken once.
  std::unique_ptr<MasterKey> take_engine_key() { return std::move(engine_key_); }

  // A fresh SPI of the active key, and its key_length(version) octets at `key`. Nothing when no SPI is left.
  std::optional<uint32_t> next_spi(uint8_t version, uint8_t* key);
  // Rises by one with each call, from 1.
  uint64_t next_number() { return ++number_; }

  struct Prepared {
    uint8_t slot;
    std::unique_ptr<MasterKey> engine_key;
  };
  // Wipes the inactive slot and fills it with a fresh key whose SPIs begin at a random place. The active slot
  // stays active until activate().
  Prepared prepare();
  // The engine has taken the prepared key.
  void activate();

 private:
  struct Slot {
    std::unique_ptr<MasterKey> key;
    std::optional<SpiAllocator> spis;
  };
  // Fills a slot and returns the engine's copy.
  std::unique_ptr<MasterKey> fill(uint8_t slot);

  uint32_t spis_per_key_;
  std::array<Slot, 2> slots_;
  uint8_t active_ = 0;
  uint32_t generation_ = 1;
  uint64_t number_ = 0;
  std::unique_ptr<MasterKey> engine_key_;
};

}  // namespace psp
