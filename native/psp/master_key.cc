// SPDX-License-Identifier: Apache-2.0
// The input of each derivation is exactly one block, so its CMAC is one encryption of that block XOR the
// first subkey (NIST SP 800-38B section 6.2). Key schedule and subkey share one piece of locked memory.
#include "psp/master_key.h"

#include <new>

#include "psp/aead.h"
#include "psp/aes256.h"
#include "psp/octets.h"
#include "psp/secret.h"

namespace psp {

namespace {

constexpr uint32_t kLabel = 0x50763000;  // "Pv0" and a zero octet; the version is added to the '0'

}  // namespace

struct MasterKey::State {
  Aes256 cipher;
  uint8_t subkey[kAesBlock];

  explicit State(const uint8_t* key) : cipher(key) {
    const uint8_t zero[kAesBlock] = {};
    cipher.encrypt(zero, subkey);
    // Doubling in GF(2^128).
    const uint8_t carry = subkey[0] & 0x80 ? 0x87 : 0;
    for (size_t i = 0; i + 1 < kAesBlock; i++)
      subkey[i] = static_cast<uint8_t>(subkey[i] << 1 | subkey[i + 1] >> 7);
    subkey[kAesBlock - 1] = static_cast<uint8_t>(subkey[kAesBlock - 1] << 1 ^ carry);
  }
};

MasterKey::MasterKey(std::span<const uint8_t, 32> octets)
    : state_(new (allocate_secret(sizeof(State))) State(octets.data())) {}

MasterKey::~MasterKey() {
  state_->~State();
  free_secret(state_, sizeof(State));
}

void MasterKey::derive(uint32_t spi, uint8_t version, uint8_t* key) const {
  const size_t length = key_length(version);
  uint8_t block[kAesBlock];
  for (uint32_t counter = 1; counter <= length / kAesBlock; counter++) {
    store_u32(block, counter);
    store_u32(block + 4, kLabel + (static_cast<uint32_t>(version) << 8));
    store_u32(block + 8, spi);
    store_u32(block + 12, static_cast<uint32_t>(length * 8));
    for (size_t i = 0; i < kAesBlock; i++) block[i] ^= state_->subkey[i];
    state_->cipher.encrypt(block, key + (counter - 1) * kAesBlock);
  }
  wipe(block, sizeof block);
}

}  // namespace psp
