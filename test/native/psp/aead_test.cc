// SPDX-License-Identifier: Apache-2.0
// Both AEAD libraries against the test cases of the GCM specification (McGrew and Viega, appendix B) and
// against each other.
#include "psp/aead.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "hex.h"

namespace psp::test {
namespace {

struct GcmCase {
  const char *key, *plain, *aad, *nonce, *cipher, *tag;
};

constexpr char kPlain[] =
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5"
    "aa0de657ba637b39";
constexpr char kAad[] = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
constexpr char kZero[] = "00000000000000000000000000000000";
constexpr char kZeroNonce[] = "000000000000000000000000";
constexpr GcmCase kCases[] = {
    {kZero, "", "", kZeroNonce, "", "58e2fccefa7e3061367f1d57a4e7455a"},
    {kZero, kZero, "", kZeroNonce, "0388dace60b6a392f328c2b971b2fe78", "ab6e47d42cec13bdf53a67b21257bddf"},
    {"feffe9928665731c6d6a8f9467308308", kPlain, kAad, "cafebabefacedbaddecaf888",
     "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b3"
     "9"
     "6a0aac973d58e091",
     "5bc94fbc3221a5db94fae95ae7121a47"},
    {"0000000000000000000000000000000000000000000000000000000000000000", "", "", kZeroNonce, "",
     "530f8afbc74536b9a963b4f1c4cb738b"},
    {"0000000000000000000000000000000000000000000000000000000000000000", kZero, "", kZeroNonce,
     "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919"},
    {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", kPlain, kAad,
     "cafebabefacedbaddecaf888",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6"
     "3"
     "93ba7a0abcc9f662",
     "76fc6ece0f4e1768cddf8853bb2d551b"},
};

uint8_t version_of(const Octets& key) {
  return key.size() == 32 ? 1 : 0;
}

TEST(Aead, SealsAndOpensTheCasesOfTheGcmSpecification) {
  for (const auto& aead : all_aeads()) {
    SCOPED_TRACE(aead->name());
    for (const GcmCase& one : kCases) {
      const Octets key = unhex(one.key), aad = unhex(one.aad), nonce = unhex(one.nonce);
      const ExpandedKey expanded(*aead, key, version_of(key));
      Octets data = unhex(one.plain);
      uint8_t tag[kIcvLength];
      aead->seal(expanded.get(), nonce.data(), aad.data(), aad.size(), data.data(), data.size(), tag);
      EXPECT_EQ(hex(data), one.cipher);
      EXPECT_EQ(hex(tag, sizeof tag), one.tag);
      EXPECT_TRUE(
          aead->open(expanded.get(), nonce.data(), aad.data(), aad.size(), data.data(), data.size(), tag));
      EXPECT_EQ(hex(data), one.plain);
    }
  }
}

TEST(Aead, RejectsAnyFlippedBit) {
  for (const auto& aead : all_aeads()) {
    SCOPED_TRACE(aead->name());
    for (const uint8_t version : {0, 1}) {
      Octets key(key_length(version));
      std::iota(key.begin(), key.end(), 1);
      const ExpandedKey expanded(*aead, key, version);
      // Nonce, associated data, data and tag, one after another.
      constexpr size_t kAadLength = 24, kDataLength = 37, kData = kNonceLength + kAadLength;
      Octets all(kData + kDataLength + kIcvLength);
      std::iota(all.begin(), all.end(), 100);
      aead->seal(expanded.get(), all.data(), all.data() + kNonceLength, kAadLength, all.data() + kData,
                 kDataLength, all.data() + kData + kDataLength);
      const auto opens = [&](Octets copy) {
        return aead->open(expanded.get(), copy.data(), copy.data() + kNonceLength, kAadLength,
                          copy.data() + kData, kDataLength, copy.data() + kData + kDataLength);
      };
      ASSERT_TRUE(opens(all));
      for (size_t bit = 0; bit < all.size() * 8; bit++) {
        Octets flipped = all;
        flipped[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
        ASSERT_FALSE(opens(flipped)) << "bit " << bit;
      }
    }
  }
}

TEST(Aead, ProducesTheSameOctetsWithBothLibrariesAtEveryLength) {
  const auto slow = make_aead_libcrypto();
  const auto fast = make_aead_ipsec_mb();
  if (!fast) GTEST_SKIP() << "this machine does not support libipsec-mb";
  std::mt19937 random(7);
  for (const uint8_t version : {0, 1}) {
    for (size_t length = 0; length <= 2048; length += length < 300 ? 1 : 61) {
      Octets key(key_length(version)), nonce(kNonceLength), aad(length % 70), data(length);
      for (Octets* octets : {&key, &nonce, &aad, &data}) {
        for (uint8_t& octet : *octets) octet = static_cast<uint8_t>(random());
      }
      const ExpandedKey slow_key(*slow, key, version), fast_key(*fast, key, version);
      Octets copy = data;
      uint8_t slow_tag[kIcvLength], fast_tag[kIcvLength];
      slow->seal(slow_key.get(), nonce.data(), aad.data(), aad.size(), data.data(), length, slow_tag);
      fast->seal(fast_key.get(), nonce.data(), aad.data(), aad.size(), copy.data(), length, fast_tag);
      ASSERT_EQ(hex(data), hex(copy)) << length;
      ASSERT_EQ(hex(slow_tag, kIcvLength), hex(fast_tag, kIcvLength)) << length;
      ASSERT_TRUE(
          fast->open(fast_key.get(), nonce.data(), aad.data(), aad.size(), data.data(), length, slow_tag));
      ASSERT_TRUE(
          slow->open(slow_key.get(), nonce.data(), aad.data(), aad.size(), copy.data(), length, fast_tag));
      ASSERT_EQ(hex(data), hex(copy)) << length;
    }
  }
}

TEST(Aead, ExpandsOneKeyOverAnotherOfAnyLength) {
  for (const auto& aead : all_aeads()) {
    SCOPED_TRACE(aead->name());
    const Octets long_key = unhex(kCases[3].key), short_key = unhex(kCases[0].key), nonce = unhex(kZeroNonce);
    const ExpandedKey expanded(*aead, long_key, 1);
    uint8_t tag[kIcvLength];
    for (const GcmCase* one : {&kCases[3], &kCases[0], &kCases[3]}) {
      const Octets key = unhex(one->key);
      aead->expand(expanded.get(), key.data(), version_of(key));
      aead->seal(expanded.get(), nonce.data(), nullptr, 0, nullptr, 0, tag);
      EXPECT_EQ(hex(tag, sizeof tag), one->tag);
    }
  }
}

TEST(Aead, ReportsTheNameOfTheLibrary) {
  EXPECT_EQ(make_aead_libcrypto()->name().rfind("libcrypto", 0), 0u);
  if (const auto fast = make_aead_ipsec_mb()) {
    EXPECT_EQ(fast->name().rfind("libipsec-mb", 0), 0u);
  }
}

}  // namespace
}  // namespace psp::test
