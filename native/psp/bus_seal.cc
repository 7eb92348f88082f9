// SPDX-License-Identifier: Apache-2.0
// HKDF-SHA256 and AES-256-GCM with libcrypto. Derived keys and the keys inside seals are in secret memory;
// libcrypto wipes its contexts. If libcrypto fails for any reason other than a wrong tag, an exception is
// thrown.
#include "psp/bus_seal.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include <algorithm>
#include <list>
#include <stdexcept>

#include "psp/aead.h"
#include "psp/bus_seal_data.h"
#include "psp/octets.h"
#include "psp/replay_window.h"

namespace psp {

namespace {

constexpr size_t kKeyLength = 32;
constexpr size_t kMaxStarts = 64;

using SecretKey = SecretVector<uint8_t>;
using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

void require(bool ok) {
  if (!ok) throw std::runtime_error("libcrypto refused a bus seal operation");
}

SecretKey copy(std::span<const uint8_t> octets) {
  return SecretKey(octets.begin(), octets.end());
}

SecretKey key_of(const SecretKey& secret, const std::array<uint8_t, 32>& start, const std::string& node,
                 const std::string& sender) {
  const std::unique_ptr<EVP_KDF, decltype(&EVP_KDF_free)> kdf(EVP_KDF_fetch(nullptr, "HKDF", nullptr),
                                                              EVP_KDF_free);
  require(kdf != nullptr);
  const std::unique_ptr<EVP_KDF_CTX, decltype(&EVP_KDF_CTX_free)> context(EVP_KDF_CTX_new(kdf.get()),
                                                                          EVP_KDF_CTX_free);
  require(context != nullptr);
  std::string digest = "SHA256";
  std::string info = "psp bus seal v1|" + node + "|" + sender;
  const auto octets = [](const char* name, const void* data, size_t length) {
    return OSSL_PARAM_construct_octet_string(name, const_cast<void*>(data), length);
  };
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest.data(), 0),
      octets(OSSL_KDF_PARAM_KEY, secret.data(), secret.size()),
      octets(OSSL_KDF_PARAM_SALT, start.data(), start.size()),
      octets(OSSL_KDF_PARAM_INFO, info.data(), info.size()),
      OSSL_PARAM_construct_end(),
  };
  SecretKey key(kKeyLength);
  require(EVP_KDF_derive(context.get(), key.data(), key.size(), parameters) == 1);
  return key;
}

// A context with key, nonce and associated data set.
CipherContext start_cipher(const SecretKey& key, uint64_t counter, std::span<const uint8_t> associated,
                           bool seal) {
  uint8_t nonce[kNonceLength] = {};
  store_u64(nonce + 4, counter);
  CipherContext context(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
  int written = 0;
  require(context != nullptr &&
          EVP_CipherInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, key.data(), nonce, seal) == 1 &&
          EVP_CipherUpdate(context.get(), nullptr, &written, associated.data(),
                           static_cast<int>(associated.size())) == 1);
  return context;
}

// Opens the box of a seal under this key. Returns whether its tag is right.
bool decrypt(const SecretKey& key, const Seal& seal, std::span<const uint8_t> associated,
             SecretVector<uint8_t>* plain) {
  const CipherContext cipher = start_cipher(key, seal.id.counter, associated, false);
  plain->resize(seal.box.size() - kIcvLength);
  uint8_t tag[kIcvLength];
  std::copy_n(seal.box.end() - kIcvLength, kIcvLength, tag);
  int written = 0;
  require(EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_AEAD_SET_TAG, kIcvLength, tag) == 1 &&
          (plain->empty() || EVP_CipherUpdate(cipher.get(), plain->data(), &written, seal.box.data(),
                                              static_cast<int>(plain->size())) == 1));
  return EVP_CipherFinal_ex(cipher.get(), tag, &written) == 1;
}

size_t keys_length(std::span<const Offer> offers) {
  size_t length = 0;
  for (const Offer& offer : offers) length += key_length(offer.version);
  return length;
}

}  // namespace

struct BusSealer::State {
  std::string node, sender;
  RequestId last;
  SecretKey key;
};

BusSealer::BusSealer(std::span<const uint8_t, 32> secret, const std::string& node, const std::string& sender)
    : state_(new State{node, sender, {}, {}}) {
  random_octets(state_->last.start);
  state_->key = key_of(copy(secret), state_->last.start, node, sender);
}

BusSealer::~BusSealer() = default;
BusSealer& BusSealer::operator=(BusSealer&&) noexcept = default;

Seal BusSealer::seal(const SealContext& context, std::span<const uint8_t> keys) {
  state_->last.counter++;
  Seal seal{state_->last, std::vector<uint8_t>(keys.size() + kIcvLength)};
  const std::vector<uint8_t> associated = associated_data(context, state_->node, state_->sender, seal.id);
  const CipherContext cipher = start_cipher(state_->key, seal.id.counter, associated, true);
  uint8_t* const tag = seal.box.data() + keys.size();
  int written = 0;
  require((keys.empty() || EVP_CipherUpdate(cipher.get(), seal.box.data(), &written, keys.data(),
                                            static_cast<int>(keys.size())) == 1) &&
          EVP_CipherFinal_ex(cipher.get(), tag, &written) == 1 &&
          EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_AEAD_GET_TAG, kIcvLength, tag) == 1);
  return seal;
}

struct BusOpener::State {
  struct Secret {
    uint64_t number;
    SecretKey octets;
  };
  struct Start {
    std::array<uint8_t, 32> start;
    uint64_t secret;  // Secret::number
    SecretKey key;    // empty once that secret is retired
    ReplayWindow window;
  };

  std::list<Secret> secrets;  // newest first
  uint64_t last_number = 0;
  std::string node, sender;
  std::list<Start> starts;  // most recently used first
};

BusOpener::BusOpener(std::span<const uint8_t, 32> secret, const std::string& node, const std::string& sender)
    : state_(new State{{}, 0, node, sender, {}}) {
  add_secret(secret);
}

BusOpener::~BusOpener() = default;

void BusOpener::add_secret(std::span<const uint8_t, 32> secret) {
  state_->secrets.push_front({++state_->last_number, copy(secret)});
}

void BusOpener::retire_secret() {
  if (state_->secrets.size() < 2) return;
  for (State::Start& start : state_->starts) {
    if (start.secret == state_->secrets.back().number) SecretKey().swap(start.key);
  }
  state_->secrets.pop_back();
}

SealFault BusOpener::open(const SealContext& context, const Seal& seal, SecretVector<uint8_t>* keys) {
  if (seal.box.size() < kIcvLength) return SealFault::kInvalid;
  const std::vector<uint8_t> associated = associated_data(context, state_->node, state_->sender, seal.id);
  SecretVector<uint8_t> plain;
  std::list<State::Start> added;
  auto found = std::find_if(state_->starts.begin(), state_->starts.end(),
                            [&](const State::Start& known) { return known.start == seal.id.start; });
  const bool known = found != state_->starts.end();
  if (known) {
    if (found->key.empty() || !decrypt(found->key, seal, associated, &plain)) return SealFault::kInvalid;
  } else {
    for (const State::Secret& secret : state_->secrets) {
      SecretKey key = key_of(secret.octets, seal.id.start, state_->node, state_->sender);
      if (!decrypt(key, seal, associated, &plain)) continue;
      added.push_back({seal.id.start, secret.number, std::move(key), {}});
      break;
    }
    if (added.empty()) return SealFault::kInvalid;
    found = added.begin();
  }

  if (!found->window.admit(seal.id.counter)) return SealFault::kReplay;
  state_->starts.splice(state_->starts.begin(), known ? state_->starts : added, found);
  if (state_->starts.size() > kMaxStarts) state_->starts.pop_back();

  if (plain.size() != keys_length(context.offers)) return SealFault::kInvalid;
  *keys = std::move(plain);
  return SealFault::kNone;
}

}  // namespace psp
