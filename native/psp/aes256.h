// SPDX-License-Identifier: Apache-2.0
// Single blocks of AES-256, with the key schedule in memory of the caller: a library's context would put it
// on that library's own heap, where nothing locks it.
#pragma once

#include <cstdint>

namespace psp {

class Aes256 {
 public:
  // With the processor's AES instructions where it has them, else by libcrypto.
  explicit Aes256(const uint8_t key[32]);
  // As above, the way chosen by the caller.
  Aes256(const uint8_t key[32], bool instructions);
  ~Aes256();
  Aes256(const Aes256&) = delete;
  Aes256& operator=(const Aes256&) = delete;

  // `out` may be `in`.
  void encrypt(const uint8_t in[16], uint8_t out[16]) const;

  // Whether this build and this processor have AES instructions.
  static bool has_instructions();

 private:
  static constexpr int kRoundKeys = 15;

  // The schedule in the form of whoever encrypts; large enough for libcrypto's.
  alignas(16) uint8_t schedule_[kRoundKeys * 16 + 16];
  bool instructions_;
};

}  // namespace psp
