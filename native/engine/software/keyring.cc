// SPDX-License-Identifier: Apache-2.0
// Master keys are drawn from the kernel's random source, and the octets they were made of are wiped at once.
#include "engine/software/keyring.h"

#include "psp/secret.h"

namespace psp {

Keyring::Keyring(uint32_t spis_per_key) : spis_per_key_(spis_per_key), engine_key_(fill(0)) {}

std::unique_ptr<MasterKey> Keyring::fill(uint8_t slot) {
  slots_[slot].key.reset();
  SecretVector<uint8_t> octets(32);
  random_octets(octets);
  const std::span<const uint8_t, 32> master(octets);
  slots_[slot].key = std::make_unique<MasterKey>(master);
  uint32_t start = 0;
  random_octets({reinterpret_cast<uint8_t*>(&start), sizeof start});
  slots_[slot].spis.emplace(slot, start, spis_per_key_);
  return std::make_unique<MasterKey>(master);
}

std::optional<uint32_t> Keyring::next_spi(uint8_t version, uint8_t* key) {
  Slot& slot = slots_[active_];
  const std::optional<uint32_t> spi = slot.spis->next();
  if (spi) slot.key->derive(*spi, version, key);
  return spi;
}

Keyring::Prepared Keyring::prepare() {
  const uint8_t inactive = active_ ^ 1;
  return {inactive, fill(inactive)};
}

void Keyring::activate() {
  active_ ^= 1;
  ++generation_;
}

}  // namespace psp
