// SPDX-License-Identifier: Apache-2.0
// AES-GCM with libcrypto, for every machine. An expanded key is a pair of cipher contexts, one per key
// length. construct() allocates them; afterwards they only get new keys and nonces, because changing the
// cipher of a context would allocate. If libcrypto fails for any reason other than a wrong tag, the process
// aborts: a packet must never leave half sealed.
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <cstdlib>
#include <new>

#include "psp/aead.h"

namespace psp {

namespace {

struct Expanded {
  EVP_CIPHER_CTX* contexts[2];  // by lowest bit of the version
  EVP_CIPHER_CTX* current;
};

void require(int ok) {
  if (ok != 1) std::abort();
}

class LibcryptoAead final : public Aead {
 public:
  LibcryptoAead()
      : ciphers_{EVP_CIPHER_fetch(nullptr, "AES-128-GCM", nullptr),
                 EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr)} {
    if (!ciphers_[0] || !ciphers_[1]) throw std::bad_alloc();
  }
  ~LibcryptoAead() override {
    for (EVP_CIPHER* cipher : ciphers_) EVP_CIPHER_free(cipher);
  }

  std::string name() const override { return std::string("libcrypto, ") + OpenSSL_version(OPENSSL_VERSION); }

  size_t expanded_size() const override { return sizeof(Expanded); }

  bool is_plain_memory() const override { return false; }
  void prefetch(const void* expanded, uint8_t, size_t) const override { __builtin_prefetch(expanded); }
  void construct(void* memory) const override {
    Expanded* expanded = new (memory) Expanded{};
    for (int i = 0; i < 2; i++) {
      expanded->contexts[i] = EVP_CIPHER_CTX_new();
      if (!expanded->contexts[i]) throw std::bad_alloc();
      require(EVP_CipherInit_ex(expanded->contexts[i], ciphers_[i], nullptr, nullptr, nullptr, 1));
    }
    expanded->current = expanded->contexts[0];
  }

  // libcrypto wipes the contexts that it frees.
  void destroy(void* memory) const override {
    Expanded* expanded = static_cast<Expanded*>(memory);
    for (EVP_CIPHER_CTX* context : expanded->contexts) EVP_CIPHER_CTX_free(context);
    *expanded = {};
  }

  void expand(void* memory, const uint8_t* key, uint8_t version) const override {
    Expanded* expanded = static_cast<Expanded*>(memory);
    expanded->current = expanded->contexts[version & 1];
    require(EVP_CipherInit_ex(expanded->current, nullptr, nullptr, key, nullptr, 1));
  }

  void seal(void* memory, const uint8_t nonce[kNonceLength], const uint8_t* aad, size_t aad_length,
            uint8_t* data, size_t length, uint8_t tag[kIcvLength]) const override {
    EVP_CIPHER_CTX* context = static_cast<Expanded*>(memory)->current;
    require(EVP_CipherInit_ex(context, nullptr, nullptr, nullptr, nonce, 1));
    process(context, aad, aad_length, data, length);
    int written = 0;
    require(EVP_CipherFinal_ex(context, tag, &written));
    require(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kIcvLength, tag));
  }

  bool open(void* memory, const uint8_t nonce[kNonceLength], const uint8_t* aad, size_t aad_length,
            uint8_t* data, size_t length, const uint8_t tag[kIcvLength]) const override {
    EVP_CIPHER_CTX* context = static_cast<Expanded*>(memory)->current;
    require(EVP_CipherInit_ex(context, nullptr, nullptr, nullptr, nonce, 0));
    require(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kIcvLength, const_cast<uint8_t*>(tag)));
    process(context, aad, aad_length, data, length);
    int written = 0;
    uint8_t none[kIcvLength];
    return EVP_CipherFinal_ex(context, none, &written) == 1;
  }

 private:
  static void process(EVP_CIPHER_CTX* context, const uint8_t* aad, size_t aad_length, uint8_t* data,
                      size_t length) {
    int written = 0;
    if (aad_length > 0)
      require(EVP_CipherUpdate(context, nullptr, &written, aad, static_cast<int>(aad_length)));
    if (length > 0) require(EVP_CipherUpdate(context, data, &written, data, static_cast<int>(length)));
  }

  EVP_CIPHER* ciphers_[2];
};

}  // namespace

std::unique_ptr<Aead> make_aead_libcrypto() {
  return std::make_unique<LibcryptoAead>();
}

#ifndef PSP_HAVE_IPSEC_MB
std::unique_ptr<Aead> make_aead_ipsec_mb() {
  return nullptr;
}
std::unique_ptr<Aead> make_aead_ipsec_mb_avx2() {
  return nullptr;
}
#endif

}  // namespace psp
