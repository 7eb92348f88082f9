// SPDX-License-Identifier: Apache-2.0
// Expanded keys of every version in every AEAD library of this machine, from fixed octets.
#pragma once

#include <memory>
#include <vector>

#include "../native/psp/hex.h"

namespace psp::fuzz {

inline const test::Octets kKeyOctets = [] {
  test::Octets key = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3};
  key.resize(32);
  return key;
}();

struct Cipher {
  std::unique_ptr<Aead> aead;
  std::unique_ptr<test::ExpandedKey> keys[2];  // by the low bit of the version: AES-128, AES-256

  void* key(uint8_t version) const { return keys[version & 1]->get(); }
};

// libcrypto's first, then libipsec-mb's if available. Kept until the process ends.
inline const std::vector<Cipher>& ciphers() {
  static const std::vector<Cipher>* const all = [] {
    auto* made = new std::vector<Cipher>();
    for (auto& aead : test::all_aeads()) {
      Cipher cipher{std::move(aead), {}};
      for (uint8_t version = 0; version < 2; ++version) {
        cipher.keys[version] = std::make_unique<test::ExpandedKey>(*cipher.aead, kKeyOctets, version);
      }
      made->push_back(std::move(cipher));
    }
    return made;
  }();
  return *all;
}

}  // namespace psp::fuzz
