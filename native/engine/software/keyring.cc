// SPDX-License-Identifier: Apache-2.0
// The octets that a master key was made of are wiped at once.
#include "engine/software/keyring.h"

#include "engine/software/master_key_source.h"
#include "psp/secret.h"

namespace psp {

Keyring::Keyring(MasterKeys& keys, uint32_t spis_per_key) : keys_(keys), spis_per_key_(spis_per_key) {
  keys_.by_slot = {fresh(0), nullptr};
  keys_.next.reset();
}

std::unique_ptr<MasterKey> Keyring::fresh(uint8_t slot) {
  SecretVector<uint8_t> octets(32);
  draw_master_key(std::span<uint8_t, 32>(octets));
  uint32_t start = 0;
  random_octets({reinterpret_cast<uint8_t*>(&start), sizeof start});
  spis_[slot].emplace(slot, start, spis_per_key_);
  return std::make_unique<MasterKey>(std::span<const uint8_t, 32>(octets));
}

std::optional<uint32_t> Keyring::next_spi(uint8_t version, uint8_t* key) {
  const std::optional<uint32_t> spi = spis_[active_]->next();
  if (spi) keys_.by_slot[active_]->derive(*spi, version, key);
  return spi;
}

void Keyring::prepare() {
  keys_.next_slot = active_ ^ 1;
  keys_.next = fresh(keys_.next_slot);
}

void Keyring::activate() {
  active_ ^= 1;
  ++generation_;
  keys_.next.reset();
}

}  // namespace psp
