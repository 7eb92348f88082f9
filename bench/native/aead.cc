// SPDX-License-Identifier: Apache-2.0
// What the AEAD alone seals on one core: packets of so many octets a second under one key, in place, each
// with a nonce of its own. Prints the library and the rate.
//   cmake --build build/native --target aead_bench && build/native/aead_bench OCTETS
#include "psp/aead.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "psp/octets.h"

int main(int count, char** words) {
  using Clock = std::chrono::steady_clock;
  const size_t length = count > 1 ? std::strtoul(words[1], nullptr, 10) : 1400;
  std::unique_ptr<psp::Aead> aead = psp::make_aead_ipsec_mb();
  if (!aead) aead = psp::make_aead_libcrypto();
  void* const key = std::aligned_alloc(psp::kAeadKeyAlignment, (aead->expanded_size() + 63) / 64 * 64);
  aead->construct(key);
  const uint8_t octets[32] = {1, 2, 3};
  aead->expand(key, octets, 0);

  std::vector<uint8_t> packet(16 + length + psp::kIcvLength);
  uint64_t sealed = 0;
  const auto start = Clock::now();
  double seconds = 0;
  while (seconds < 2) {
    for (int i = 0; i < 10000; i++, sealed++) {
      uint8_t nonce[psp::kNonceLength] = {};
      psp::store_u64(nonce + 4, sealed);
      aead->seal(key, nonce, packet.data(), 16, packet.data() + 16, length, packet.data() + 16 + length);
    }
    seconds = std::chrono::duration<double>(Clock::now() - start).count();
  }
  std::printf("%s\n%.0f\n", aead->name().c_str(), static_cast<double>(sealed) / seconds);
  aead->destroy(key);
  std::free(key);
}
