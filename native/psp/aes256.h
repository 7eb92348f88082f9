// SPDX-License-Identifier: Apache-2.0
// Encrypts single blocks with AES-256, with the key schedule in memory of the caller. The context of a crypto
// library would put the schedule on the heap of that library, which is not locked.
#pragma once

#include <cstdint>

namespace psp {

class Aes256 {
 public:
  // Uses the AES instructions of the CPU if it has them, otherwise libcrypto.
  explicit Aes256(const uint8_t key[32]);
  // Same, with the implementation chosen by the caller.
  Aes256(const uint8_t key[32], bool instructions);
  ~Aes256();
  Aes256(const Aes256&) = delete;
  Aes256& operator=(const Aes256&) = delete;

  // `out` may be the same memory as `in`.
  void encrypt(const uint8_t in[16], uint8_t out[16]) const;

  // Whether this build and this CPU support AES instructions.
  static bool has_instructions();

 private:
  static constexpr int kRoundKeys = 15;

  // The key schedule in the format of the implementation in use; large enough for that of libcrypto.
  alignas(16) uint8_t schedule_[kRoundKeys * 16 + 16];
  bool instructions_;
};

}  // namespace psp
