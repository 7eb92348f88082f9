// SPDX-License-Identifier: Apache-2.0
// FIPS 197 with the AES instructions of x86-64, whose timing does not depend on the key. Other machines use
// the block function of libcrypto. It is deprecated, but its successor offers no key schedule in memory of
// the caller.
#define OPENSSL_API_COMPAT 0x10100000L
#include "psp/aes256.h"

#include <openssl/aes.h>

#include <new>

#include "psp/secret.h"

#ifdef __x86_64__
#include <wmmintrin.h>
#endif

namespace psp {

namespace {

#ifdef __x86_64__

#define PSP_AES __attribute__((target("aes,sse2")))

// XORs each of the four words of a round key into the words after it.
PSP_AES __m128i spread(__m128i words) {
  words = _mm_xor_si128(words, _mm_slli_si128(words, 4));
  return _mm_xor_si128(words, _mm_slli_si128(words, 8));
}

// The next even round key: with rotation and round constant.
template <int kConstant>
PSP_AES __m128i next_even(__m128i two_back, __m128i one_back) {
  const __m128i assist = _mm_shuffle_epi32(_mm_aeskeygenassist_si128(one_back, kConstant), 0xff);
  return _mm_xor_si128(spread(two_back), assist);
}

// The next odd round key: substitution only.
PSP_AES __m128i next_odd(__m128i two_back, __m128i one_back) {
  const __m128i assist = _mm_shuffle_epi32(_mm_aeskeygenassist_si128(one_back, 0), 0xaa);
  return _mm_xor_si128(spread(two_back), assist);
}

PSP_AES void expand_by_instructions(const uint8_t* key, uint8_t* schedule) {
  __m128i* keys = reinterpret_cast<__m128i*>(schedule);
  keys[0] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(key));
  keys[1] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(key + 16));
  keys[2] = next_even<0x01>(keys[0], keys[1]);
  keys[3] = next_odd(keys[1], keys[2]);
  keys[4] = next_even<0x02>(keys[2], keys[3]);
  keys[5] = next_odd(keys[3], keys[4]);
  keys[6] = next_even<0x04>(keys[4], keys[5]);
  keys[7] = next_odd(keys[5], keys[6]);
  keys[8] = next_even<0x08>(keys[6], keys[7]);
  keys[9] = next_odd(keys[7], keys[8]);
  keys[10] = next_even<0x10>(keys[8], keys[9]);
  keys[11] = next_odd(keys[9], keys[10]);
  keys[12] = next_even<0x20>(keys[10], keys[11]);
  keys[13] = next_odd(keys[11], keys[12]);
  keys[14] = next_even<0x40>(keys[12], keys[13]);
}

PSP_AES void encrypt_by_instructions(const uint8_t* schedule, int last, const uint8_t* in, uint8_t* out) {
  const __m128i* keys = reinterpret_cast<const __m128i*>(schedule);
  __m128i state = _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in)), keys[0]);
  for (int round = 1; round < last; round++) state = _mm_aesenc_si128(state, keys[round]);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_aesenclast_si128(state, keys[last]));
}

#else

void expand_by_instructions(const uint8_t*, uint8_t*) {}
void encrypt_by_instructions(const uint8_t*, int, const uint8_t*, uint8_t*) {}

#endif

}  // namespace

bool Aes256::has_instructions() {
#ifdef __x86_64__
  return __builtin_cpu_supports("aes");
#else
  return false;
#endif
}

Aes256::Aes256(const uint8_t key[32]) : Aes256(key, has_instructions()) {}

Aes256::Aes256(const uint8_t key[32], bool instructions) : instructions_(instructions) {
  static_assert(sizeof(AES_KEY) <= sizeof schedule_ && alignof(AES_KEY) <= 16);
  if (instructions_) {
    expand_by_instructions(key, schedule_);
  } else {
    AES_set_encrypt_key(key, 256, new (schedule_) AES_KEY);
  }
}

Aes256::~Aes256() {
  wipe(schedule_, sizeof schedule_);
}

void Aes256::encrypt(const uint8_t in[16], uint8_t out[16]) const {
  if (instructions_) {
    encrypt_by_instructions(schedule_, kRoundKeys - 1, in, out);
  } else {
    AES_encrypt(in, out, reinterpret_cast<const AES_KEY*>(schedule_));
  }
}

}  // namespace psp
