// SPDX-License-Identifier: Apache-2.0
// AES-GCM by libipsec-mb's direct calls, the fastest on x86-64. An expanded key is plain memory: the
// library's key data and a mark of its length. The manager is a table of functions chosen for this processor
// once; the direct calls only read it, so all threads share it. The library computes tags but compares none:
// that is done here, in constant time.
#include <intel-ipsec-mb.h>
#include <openssl/crypto.h>

#include <new>

#include "psp/aead.h"
#include "psp/secret.h"

namespace psp {

namespace {

struct alignas(kAeadKeyAlignment) Expanded {
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
    const Expanded* expanded = static_cast<Expanded*>(memory);
    alignas(64) gcm_context_data context;
    if (expanded->long_key) {
      IMB_AES256_GCM_ENC(manager_, &expanded->data, &context, data, data, length, nonce, aad, aad_length, tag,
                         kIcvLength);
    } else {
      IMB_AES128_GCM_ENC(manager_, &expanded->data, &context, data, data, length, nonce, aad, aad_length, tag,
                         kIcvLength);
    }
  }

  bool open(void* memory, const uint8_t nonce[kNonceLength], const uint8_t* aad, size_t aad_length,
            uint8_t* data, size_t length, const uint8_t tag[kIcvLength]) const override {
    const Expanded* expanded = static_cast<Expanded*>(memory);
    alignas(64) gcm_context_data context;
    uint8_t computed[kIcvLength];
    if (expanded->long_key) {
      IMB_AES256_GCM_DEC(manager_, &expanded->data, &context, data, data, length, nonce, aad, aad_length,
                         computed, kIcvLength);
    } else {
      IMB_AES128_GCM_DEC(manager_, &expanded->data, &context, data, data, length, nonce, aad, aad_length,
                         computed, kIcvLength);
    }
    return CRYPTO_memcmp(computed, tag, kIcvLength) == 0;
  }

 private:
  IMB_MGR* manager_;
  IMB_ARCH arch_;
};

}  // namespace

std::unique_ptr<Aead> make_aead_ipsec_mb() {
  IMB_MGR* manager = alloc_mb_mgr(0);
  if (!manager) return nullptr;
  IMB_ARCH arch = IMB_ARCH_NONE;
  if (manager->features & IMB_FEATURE_AESNI) init_mb_mgr_auto(manager, &arch);
  if (arch < IMB_ARCH_SSE || imb_get_errno(manager) != 0) {
    free_mb_mgr(manager);
    return nullptr;
  }
  return std::make_unique<IpsecMbAead>(manager, arch);
}

}  // namespace psp
