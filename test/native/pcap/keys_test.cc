// SPDX-License-Identifier: Apache-2.0
// The keys of a capture are those that the master keys derive, in any order and number of requests.
#include "pcap/keys.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

#include "psp/secret.h"

namespace psp::test {
namespace {

TEST(CaptureKeys, MatchTheMasterKeysForMoreSpisThanSlots) {
  uint8_t master_keys[kMasterKeysLength];
  for (size_t i = 0; i < sizeof master_keys; i++) master_keys[i] = static_cast<uint8_t>(i * 11 + 5);
  const std::span<const uint8_t, kMasterKeysLength> both(master_keys);
  const MasterKey first(both.first<32>()), second(both.last<32>());
  CaptureKeys keys(both);
  const Aead& aead = keys.aead();
  void* const expected = allocate_secret(aead.expanded_size());
  aead.construct(expected);

  const uint8_t nonce[kNonceLength] = {};
  for (uint32_t i = 0; i < 2000; i++) {
    // More SPIs than slots, each in two versions with keys of the same length, and under both master keys.
    const uint32_t spi = (1 + i / 2 % 150) | (i % 7 < 3 ? 0x80000000 : 0);
    const auto version = static_cast<uint8_t>(i % 2 * 2 + i % 3 % 2);
    uint8_t key[32], tag[kIcvLength], expected_tag[kIcvLength];
    (spi >> 31 ? second : first).derive(spi, version, key);
    aead.expand(expected, key, version);
    aead.seal(expected, nonce, nonce, sizeof nonce, nullptr, 0, expected_tag);
    aead.seal(keys.expanded(spi, version), nonce, nonce, sizeof nonce, nullptr, 0, tag);
    ASSERT_EQ(std::memcmp(tag, expected_tag, sizeof tag), 0) << spi << " version " << int{version};
  }
  aead.destroy(expected);
  free_secret(expected, aead.expanded_size());
}

// SPI 0 must not match a slot that has no key yet.
TEST(CaptureKeys, MatchTheMasterKeysForSpi0) {
  uint8_t master_keys[kMasterKeysLength] = {1, 2, 3};
  CaptureKeys keys((std::span<const uint8_t, kMasterKeysLength>(master_keys)));
  const Aead& aead = keys.aead();
  void* const expected = allocate_secret(aead.expanded_size());
  aead.construct(expected);
  uint8_t key[32], tag[kIcvLength] = {}, expected_tag[kIcvLength];
  MasterKey(std::span<const uint8_t, kMasterKeysLength>(master_keys).first<32>()).derive(0, 0, key);
  aead.expand(expected, key, 0);
  const uint8_t nonce[kNonceLength] = {};
  aead.seal(expected, nonce, nonce, sizeof nonce, nullptr, 0, expected_tag);
  aead.seal(keys.expanded(0, 0), nonce, nonce, sizeof nonce, nullptr, 0, tag);
  EXPECT_EQ(std::memcmp(tag, expected_tag, sizeof tag), 0);
  aead.destroy(expected);
  free_secret(expected, aead.expanded_size());
}

}  // namespace
}  // namespace psp::test
