// SPDX-License-Identifier: Apache-2.0
// Expanded keys of every version in every AEAD library of this machine, from fixed octets.
#pragma once

#include <cstdlib>
#include <memory>
#include <vector>

#include "psp/aead.h"

namespace psp::fuzz {

inline constexpr uint8_t kKeyOctets[32] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3};

struct Cipher {
  std::unique_ptr<Aead> aead;
  void* keys[2];  // by the low bit of the version: AES-128, AES-256

  void* key(uint8_t version) const { return keys[version & 1]; }
};

// libcrypto's first, then libipsec-mb's if available. Kept until the process ends.
inline const std::vector<Cipher>& ciphers() {
  static const std::vector<Cipher>* const all = [] {
    auto* made = new std::vector<Cipher>();
    for (auto make : {make_aead_libcrypto, make_aead_ipsec_mb}) {
      std::unique_ptr<Aead> aead = make();
      if (aead == nullptr) continue;
      Cipher cipher{std::move(aead), {}};
      const size_t size = (cipher.aead->expanded_size() + kAeadKeyAlignment - 1) & ~(kAeadKeyAlignment - 1);
      for (uint8_t version = 0; version < 2; ++version) {
        cipher.keys[version] = std::aligned_alloc(kAeadKeyAlignment, size);
        cipher.aead->construct(cipher.keys[version]);
        cipher.aead->expand(cipher.keys[version], kKeyOctets, version);
      }
      made->push_back(std::move(cipher));
    }
    return made;
  }();
  return *all;
}

}  // namespace psp::fuzz
