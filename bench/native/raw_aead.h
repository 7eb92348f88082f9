// SPDX-License-Identifier: Apache-2.0
// AES-GCM by direct calls of the libraries: the limit for any gateway on this core. Packets in rotation are
// encrypted or decrypted in place under one key, each with its own nonce and the 16 octets of a PSP header as
// associated data. A header is written 32 packets before it is used: a library that reads data that was just
// stored waits for that store, which costs about as much as a short packet.
#pragma once

#ifdef PSP_HAVE_IPSEC_MB
#include <intel-ipsec-mb.h>
#endif
#include <openssl/evp.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "measure.h"

namespace psp {

class RawAead {
 public:
  virtual ~RawAead() = default;
  virtual std::string name() const = 0;
  virtual void set_key(const uint8_t* key, bool long_key) = 0;
  virtual void seal(const uint8_t* nonce, const uint8_t* aad, uint8_t* data, size_t length, uint8_t* tag) = 0;
  virtual void open(const uint8_t* nonce, const uint8_t* aad, uint8_t* data, size_t length, uint8_t* tag) = 0;

  // Nanoseconds per packet of `octets`, over `count` packets; headers are written this many packets ahead.
  double measure(bool seals, size_t octets, uint64_t count, uint64_t ahead = 32) {
    constexpr size_t kPackets = 64, kStride = 2048, kAad = 16;
    if (memory_ == nullptr) memory_.reset(static_cast<uint8_t*>(std::aligned_alloc(64, kPackets * kStride)));
    return ns_per(count, [&] {
      for (uint64_t i = 0; i < count; ++i) {
        std::memcpy(memory_.get() + (i + ahead) % kPackets * kStride + 8, &i, sizeof i);
        uint8_t* const aad = memory_.get() + i % kPackets * kStride;
        uint8_t* const data = aad + kAad;
        if (seals) {
          seal(aad + 4, aad, data, octets, data + octets);
        } else {
          open(aad + 4, aad, data, octets, data + octets);
        }
      }
    });
  }

 private:
  struct Free {
    void operator()(uint8_t* memory) const { std::free(memory); }
  };
  std::unique_ptr<uint8_t, Free> memory_;
};

#ifdef PSP_HAVE_IPSEC_MB
class RawIpsecMb final : public RawAead {
 public:
  RawIpsecMb() : manager_(alloc_mb_mgr(0)) { init_mb_mgr_auto(manager_, nullptr); }
  ~RawIpsecMb() override { free_mb_mgr(manager_); }
  std::string name() const override { return std::string("libipsec-mb ") + imb_get_version_str(); }
  void set_key(const uint8_t* key, bool long_key) override {
    long_key_ = long_key;
    if (long_key) {
      IMB_AES256_GCM_PRE(manager_, key, &key_);
    } else {
      IMB_AES128_GCM_PRE(manager_, key, &key_);
    }
  }
  void seal(const uint8_t* nonce, const uint8_t* aad, uint8_t* data, size_t length, uint8_t* tag) override {
    if (long_key_) {
      IMB_AES256_GCM_ENC(manager_, &key_, &context_, data, data, length, nonce, aad, 16, tag, 16);
    } else {
      IMB_AES128_GCM_ENC(manager_, &key_, &context_, data, data, length, nonce, aad, 16, tag, 16);
    }
  }
  // The library does not compare tags.
  void open(const uint8_t* nonce, const uint8_t* aad, uint8_t* data, size_t length, uint8_t*) override {
    uint8_t computed[16];
    if (long_key_) {
      IMB_AES256_GCM_DEC(manager_, &key_, &context_, data, data, length, nonce, aad, 16, computed, 16);
    } else {
      IMB_AES128_GCM_DEC(manager_, &key_, &context_, data, data, length, nonce, aad, 16, computed, 16);
    }
  }

 private:
  IMB_MGR* manager_;
  alignas(64) gcm_key_data key_;
  alignas(64) gcm_context_data context_;
  bool long_key_ = false;
};
#endif

class RawOpenssl final : public RawAead {
 public:
  ~RawOpenssl() override { EVP_CIPHER_CTX_free(context_); }
  std::string name() const override {
    return std::string("openssl ") + OpenSSL_version(OPENSSL_VERSION_STRING);
  }
  void set_key(const uint8_t* key, bool long_key) override {
    EVP_CipherInit_ex(context_, long_key ? EVP_aes_256_gcm() : EVP_aes_128_gcm(), nullptr, key, nullptr, 1);
  }
  void seal(const uint8_t* nonce, const uint8_t* aad, uint8_t* data, size_t length, uint8_t* tag) override {
    run(1, nonce, aad, data, length, tag);
    EVP_CIPHER_CTX_ctrl(context_, EVP_CTRL_AEAD_GET_TAG, 16, tag);
  }
  // The tag is wrong, which costs the same.
  void open(const uint8_t* nonce, const uint8_t* aad, uint8_t* data, size_t length, uint8_t* tag) override {
    run(0, nonce, aad, data, length, tag);
  }

 private:
  void run(int seals, const uint8_t* nonce, const uint8_t* aad, uint8_t* data, size_t length, uint8_t* tag) {
    int written;
    EVP_CipherInit_ex(context_, nullptr, nullptr, nullptr, nonce, seals);
    if (seals == 0) EVP_CIPHER_CTX_ctrl(context_, EVP_CTRL_AEAD_SET_TAG, 16, tag);
    EVP_CipherUpdate(context_, nullptr, &written, aad, 16);
    EVP_CipherUpdate(context_, data, &written, data, static_cast<int>(length));
    uint8_t none[16];
    EVP_CipherFinal_ex(context_, none, &written);
  }
  EVP_CIPHER_CTX* context_ = EVP_CIPHER_CTX_new();
};

// The faster library of this build.
inline std::unique_ptr<RawAead> raw_limit() {
#ifdef PSP_HAVE_IPSEC_MB
  return std::make_unique<RawIpsecMb>();
#else
  return std::make_unique<RawOpenssl>();
#endif
}

}  // namespace psp
