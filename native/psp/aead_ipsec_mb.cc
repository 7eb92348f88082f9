// SPDX-License-Identifier: Apache-2.0
// AES-GCM with the direct API of libipsec-mb, the fastest on x86-64. An expanded key is plain memory: the key
// data of the library and the key length. The manager is a table of functions that is chosen once for this
// CPU; the direct API only reads it, so all threads share it. The library computes tags but does not compare
// them; this module compares them in constant time.
#include <intel-ipsec-mb.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "psp/aead.h"
#include "psp/secret.h"

namespace psp {

namespace {

struct Expanded {
  gcm_key_data data;
  bool long_key;
};

const char* instruction_set(IMB_ARCH arch, uint64_t features) {
  const bool vector_aes = (features & IMB_FEATURE_VAES) && (features & IMB_FEATURE_VPCLMULQDQ);
  switch (arch) {
    case IMB_ARCH_AVX512:
      return vector_aes ? "AVX-512 with VAES" : "AVX-512";
    case IMB_ARCH_AVX2:
      return "AVX2";
    case IMB_ARCH_AVX:
      return "AVX";
    default:
      return "SSE";
  }
}

class IpsecMbAead final : public Aead {
 public:
  IpsecMbAead(IMB_MGR* manager, IMB_ARCH arch) : manager_(manager), arch_(arch) {}
  ~IpsecMbAead() override { free_mb_mgr(manager_); }

  std::string name() const override {
    return std::string("libipsec-mb ") + imb_get_version_str() + ", " +
           instruction_set(arch_, manager_->features);
  }

  size_t expanded_size() const override { return sizeof(Expanded); }

  bool is_plain_memory() const override { return true; }
  // The round keys are at the start, then the powers of the hash key, the highest first: one per block, up to
  // 48.
  void prefetch(const void* memory, uint8_t version, size_t octets) const override {
    constexpr size_t kLine = 64, kRoundKeys = 240, kExtraBlocks = 3;
    const auto* const key = static_cast<const uint8_t*>(memory);
    const size_t rounds = key_length(version) == 16 ? 11 * kAesBlock : kRoundKeys;
    const size_t powers = std::min(octets + kExtraBlocks * kAesBlock, sizeof(gcm_key_data) - kRoundKeys);
    for (size_t at = 0; at < rounds; at += kLine) __builtin_prefetch(key + at);
    for (size_t at = 0; at < powers; at += kLine) __builtin_prefetch(key + sizeof(gcm_key_data) - 1 - at);
  }
  void construct(void* memory) const override { new (memory) Expanded{}; }
  void destroy(void* memory) const override { wipe(memory, sizeof(Expanded)); }

  void expand(void* memory, const uint8_t* key, uint8_t version) const override {
    Expanded* expanded = static_cast<Expanded*>(memory);
    expanded->long_key = version & 1;
    if (expanded->long_key) {
      IMB_AES256_GCM_PRE(manager_, key, &expanded->data);
    } else {
      IMB_AES128_GCM_PRE(manager_, key, &expanded->data);
    }
  }

  void seal(void* memory, const uint8_t nonce[kNonceLength], const uint8_t* aad, size_t aad_length,
            uint8_t* data, size_t length, uint8_t tag[kIcvLength]) const override {
    encrypt(memory, nonce, aad, aad_length, data, length, tag);
  }
  void seal_burst(const AeadJob* jobs, size_t count) const override {
    for (size_t i = 0; i < count; ++i) {
      const AeadJob& job = jobs[i];
      encrypt(job.expanded, job.nonce(), job.psp, job.aad, job.data(), job.length, job.tag());
    }
  }

  bool open(void* memory, const uint8_t nonce[kNonceLength], const uint8_t* aad, size_t aad_length,
            uint8_t* data, size_t length, const uint8_t tag[kIcvLength]) const override {
    uint8_t computed[kIcvLength];
    decrypt(memory, nonce, aad, aad_length, data, length, computed);
    return is_equal(computed, tag);
  }
  // Compares the tags after all packets are decrypted, so that no packet waits for its own tag.
  void open_burst(const AeadJob* jobs, size_t count, bool* opened) const override {
    uint8_t computed[kJobsAtOnce][kIcvLength];
    for (size_t done = 0; done < count; done += kJobsAtOnce) {
      const size_t end = std::min(count, done + kJobsAtOnce);
      for (size_t i = done; i < end; ++i) {
        const AeadJob& job = jobs[i];
        decrypt(job.expanded, job.nonce(), job.psp, job.aad, job.data(), job.length, computed[i - done]);
      }
      for (size_t i = done; i < end; ++i) opened[i] = is_equal(computed[i - done], jobs[i].tag());
    }
  }

 private:
  static constexpr size_t kJobsAtOnce = 32;

  static bool is_equal(const uint8_t* one, const uint8_t* other) {
    uint64_t a[2], b[2];
    static_assert(sizeof a == kIcvLength);
    std::memcpy(a, one, sizeof a);
    std::memcpy(b, other, sizeof b);
    return ((a[0] ^ b[0]) | (a[1] ^ b[1])) == 0;
  }

  void encrypt(const void* memory, const uint8_t* nonce, const uint8_t* aad, size_t aad_length, uint8_t* data,
               size_t length, uint8_t* tag) const {
    const auto* const expanded = static_cast<const Expanded*>(memory);
    const auto call = expanded->long_key ? manager_->gcm256_enc : manager_->gcm128_enc;
    alignas(64) gcm_context_data context;
    call(&expanded->data, &context, data, data, length, nonce, aad, aad_length, tag, kIcvLength);
  }
  void decrypt(const void* memory, const uint8_t* nonce, const uint8_t* aad, size_t aad_length, uint8_t* data,
               size_t length, uint8_t* computed) const {
    const auto* const expanded = static_cast<const Expanded*>(memory);
    const auto call = expanded->long_key ? manager_->gcm256_dec : manager_->gcm128_dec;
    alignas(64) gcm_context_data context;
    call(&expanded->data, &context, data, data, length, nonce, aad, aad_length, computed, kIcvLength);
  }

  IMB_MGR* manager_;
  IMB_ARCH arch_;
};

// Returns null if the CPU does not support it.
std::unique_ptr<Aead> make(bool avx2) {
  IMB_MGR* manager = alloc_mb_mgr(0);
  if (!manager) return nullptr;
  IMB_ARCH arch = IMB_ARCH_NONE;
  if (avx2 && (manager->features & IMB_FEATURE_AVX2)) {
    init_mb_mgr_avx2(manager);
    arch = IMB_ARCH_AVX2;
  } else if (!avx2 && (manager->features & IMB_FEATURE_AESNI)) {
    init_mb_mgr_auto(manager, &arch);
  }
  if (arch < IMB_ARCH_SSE || imb_get_errno(manager) != 0) {
    free_mb_mgr(manager);
    return nullptr;
  }
  return std::make_unique<IpsecMbAead>(manager, arch);
}

}  // namespace

std::unique_ptr<Aead> make_aead_ipsec_mb() {
  return make(false);
}

std::unique_ptr<Aead> make_aead_ipsec_mb_avx2() {
  return make(true);
}

}  // namespace psp
