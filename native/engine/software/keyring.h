// SPDX-License-Identifier: Apache-2.0
// What is handed out under the master keys: SPIs and their keys. One slot is active; the other holds the
// previous key, or none before the first rotation, and offers nothing. A new key becomes active only once the
// main lcore has taken it. Control thread only.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>

#include "engine/software/lcore/master_keys.h"
#include "psp/spi_allocator.h"

namespace psp {

class Keyring {
 public:
  // Puts a fresh key into slot 0 of `keys`, which outlive the keyring, and makes it active. Each key rules
  // `spis_per_key` SPIs.
  explicit Keyring(MasterKeys& keys, uint32_t spis_per_key = SpiAllocator::kSpisPerKey);

  uint8_t active_slot() const { return active_; }
  // Counts master keys made active, from 1.
  uint32_t generation() const { return generation_; }

  // A fresh SPI of the active key, and its key_length(version) octets at `key`. Nothing when no SPI is left.
  std::optional<uint32_t> next_spi(uint8_t version, uint8_t* key);

  // How many SPIs of the active key are left.
  uint32_t spis_left() const { return spis_[active_]->remaining(); }

  // Prepares a fresh key for the inactive slot, whose SPIs begin at a random number. The active slot stays
  // active until activate().
  void prepare();
  // The main lcore has taken the prepared key. Makes it active and wipes the key that it replaced.
  void activate();

 private:
  std::unique_ptr<MasterKey> fresh(uint8_t slot);

  MasterKeys& keys_;
  uint32_t spis_per_key_;
  std::array<std::optional<SpiAllocator>, 2> spis_;  // by slot
  uint8_t active_ = 0;
  uint32_t generation_ = 1;
};

}  // namespace psp
