// SPDX-License-Identifier: Apache-2.0
// A direct-mapped cache in locked memory.
#include "pcap/keys.h"

#include "psp/secret.h"

namespace psp {

std::unique_ptr<Aead> make_aead_fastest() {
  std::unique_ptr<Aead> aead = make_aead_ipsec_mb();
  return aead ? std::move(aead) : make_aead_libcrypto();
}

CaptureKeys::CaptureKeys(std::span<const uint8_t, kMasterKeysLength> master_keys)
    : aead_(make_aead_fastest()),
      master_keys_{MasterKey(master_keys.first<32>()), MasterKey(master_keys.last<32>())},
      stride_(aead_->expanded_stride()),
      memory_(static_cast<uint8_t*>(allocate_secret(kSlots * stride_))) {
  for (size_t slot = 0; slot < kSlots; slot++) aead_->construct(memory_ + slot * stride_);
}

CaptureKeys::~CaptureKeys() {
  for (size_t slot = 0; slot < kSlots; slot++) aead_->destroy(memory_ + slot * stride_);
  free_secret(memory_, kSlots * stride_);
}

void* CaptureKeys::expanded(uint32_t spi, uint8_t version) {
  const size_t index = (spi ^ version) * 0x9e3779b1u >> 26;
  static_assert(kSlots == 1u << (32 - 26));
  Slot& slot = slots_[index];
  void* const memory = memory_ + index * stride_;
  if (slot.used && slot.spi == spi && slot.version == version) return memory;
  uint8_t key[32];
  master_keys_[slot_of(spi)].derive(spi, version, key);
  aead_->expand(memory, key, version);
  wipe(key, sizeof key);
  slot = {true, spi, version};
  return memory;
}

}  // namespace psp
