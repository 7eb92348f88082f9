// SPDX-License-Identifier: Apache-2.0
// Expanded keys of the SPIs that a file uses, derived on demand from its two master keys. The cache has a
// fixed size: a file with many SPIs costs more derivations but no more memory.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "psp/aead.h"
#include "psp/master_key.h"

namespace psp {

// Master key 0, then master key 1.
inline constexpr size_t kMasterKeysLength = 64;

// Returns the AEAD of libipsec-mb if the processor supports it, else that of libcrypto.
std::unique_ptr<Aead> make_aead_fastest();

class CaptureKeys {
 public:
  explicit CaptureKeys(std::span<const uint8_t, kMasterKeysLength> master_keys);
  ~CaptureKeys();
  CaptureKeys(const CaptureKeys&) = delete;
  CaptureKeys& operator=(const CaptureKeys&) = delete;

  const Aead& aead() const { return *aead_; }
  // Returns the expanded key; valid until the next call.
  void* expanded(uint32_t spi, uint8_t version);

 private:
  static constexpr size_t kSlots = 64;
  struct Slot {
    bool used = false;
    uint32_t spi = 0;
    uint8_t version = 0;
  };

  std::unique_ptr<Aead> aead_;
  std::array<MasterKey, 2> master_keys_;
  size_t stride_;
  uint8_t* memory_;
  std::array<Slot, kSlots> slots_{};
};

}  // namespace psp
