// SPDX-License-Identifier: Apache-2.0
// The source of master keys of an addon for tests: the n-th master key of a process, from 0, is the SHA-256
// of a fixed text and n, so that a test can derive the keys of all SPIs and search for them. Only
// psp_addon_known_keys is linked with it.
#include "engine/software/master_key_source.h"

#include <openssl/evp.h>

#include <stdexcept>
#include <string>

namespace psp {

void draw_master_key(std::span<uint8_t, 32> octets) {
  static unsigned drawn = 0;
  const std::string text = "psp known master key " + std::to_string(drawn++);
  if (EVP_Digest(text.data(), text.size(), octets.data(), nullptr, EVP_sha256(), nullptr) != 1) {
    throw std::runtime_error("SHA-256 failed");
  }
}

}  // namespace psp
