// SPDX-License-Identifier: Apache-2.0
// Key derivation against the values of the PSP specification, and the block cipher against FIPS 197.
#include "psp/master_key.h"

#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "hex.h"
#include "psp/aes256.h"

namespace psp::test {
namespace {

MasterKey master(const char* digits) {
  const Octets octets = unhex(digits);
  return MasterKey(std::span<const uint8_t, 32>(octets));
}

std::string derived(const MasterKey& key, uint32_t spi, uint8_t version) {
  Octets out(key_length(version));
  key.derive(spi, version, out.data());
  return hex(out);
}

constexpr char kKey0[] = "34448a064292601b11a0978f56a2d34cf3fc35ede1a6bc04f8db3e5243a2b0ca";
constexpr char kKey1[] = "563952565d3a78ae773ec1b779f2f2d99f4a7f53a6fbb9b07d5b71f39364d739";

TEST(MasterKey, DerivesTheKeysOfTheSpecification) {
  const MasterKey k0 = master(kKey0), k1 = master(kKey1);
  EXPECT_EQ(derived(k0, 0x12345678, 0), "96c22dc799198090b74b70ae468e4e30");
  EXPECT_EQ(derived(k1, 0x9a345678, 0), "3946da2554eae46ad1ef77a64372edc4");
  EXPECT_EQ(derived(k0, 0x12345678, 1), "2b7d72074e42ca334487f2990e3f8c4037e436f38283449b76463e9b7fb2e3de");
}

// The derivation of NIST SP 800-108 with the CMAC of libcrypto.
std::string derived_by_libcrypto(const char* master_key, uint32_t spi, const char* label, uint32_t bits) {
  const Octets key = unhex(master_key);
  EVP_MAC* const mac = EVP_MAC_fetch(nullptr, "CMAC", nullptr);
  std::string digits;
  for (uint8_t counter = 1; counter <= bits / 128; counter++) {
    Octets block = {0, 0, 0, counter};
    for (int i = 0; i < 4; i++) block.push_back(static_cast<uint8_t>(label[i]));  // with its zero octet
    for (const uint32_t field : {spi, bits})
      for (int shift = 24; shift >= 0; shift -= 8) block.push_back(static_cast<uint8_t>(field >> shift));
    char cipher[] = "AES-256-CBC";
    const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string("cipher", cipher, 0),
                                     OSSL_PARAM_construct_end()};
    EVP_MAC_CTX* const context = EVP_MAC_CTX_new(mac);
    Octets out(16);
    size_t length = 0;
    EXPECT_EQ(EVP_MAC_init(context, key.data(), key.size(), parameters), 1);
    EXPECT_EQ(EVP_MAC_update(context, block.data(), block.size()), 1);
    EXPECT_EQ(EVP_MAC_final(context, out.data(), &length, out.size()), 1);
    EVP_MAC_CTX_free(context);
    digits += hex(out);
  }
  EVP_MAC_free(mac);
  return digits;
}

TEST(MasterKey, DerivesWithTheLabelOfEachVersion) {
  const MasterKey k0 = master(kKey0), k1 = master(kKey1);
  for (const uint32_t spi : {0x00000001u, 0x12345678u, 0x9a345678u, 0xffffffffu}) {
    uint8_t version = 0;
    for (const char* label : {"Pv0", "Pv1", "Pv2", "Pv3"}) {
      const uint32_t bits = version % 2 == 0 ? 128 : 256;
      EXPECT_EQ(derived(k0, spi, version), derived_by_libcrypto(kKey0, spi, label, bits)) << label;
      EXPECT_EQ(derived(k1, spi, version), derived_by_libcrypto(kKey1, spi, label, bits)) << label;
      version++;
    }
  }
}

TEST(MasterKey, WritesNoOctetBeyondTheKeyOfItsVersion) {
  const MasterKey k0 = master(kKey0);
  Octets out(key_length(0) + 1, 0xee);
  k0.derive(0x12345678, 0, out.data());
  EXPECT_EQ(out.back(), 0xee);
}

TEST(MasterKey, IsSelectedByTheTopBitOfTheSpi) {
  EXPECT_EQ(slot_of(0x7fffffff), 0);
  EXPECT_EQ(slot_of(0x80000001), 1);
}

TEST(Aes256, EncryptsTheBlockOfFips197WithAndWithoutAesInstructions) {
  const Octets key = unhex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
  const Octets plain = unhex("00112233445566778899aabbccddeeff");
  for (const bool instructions : {false, true}) {
    if (instructions && !Aes256::has_instructions()) continue;
    const Aes256 cipher(key.data(), instructions);
    uint8_t block[16];
    cipher.encrypt(plain.data(), block);
    EXPECT_EQ(hex(block, 16), "8ea2b7ca516745bfeafc49904b496089") << instructions;
  }
}

}  // namespace
}  // namespace psp::test
