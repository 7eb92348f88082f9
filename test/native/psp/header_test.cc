// SPDX-License-Identifier: Apache-2.0
// The PSP header octet by octet: what is written, read and rejected.
#include "psp/header.h"

#include <gtest/gtest.h>

#include "hex.h"

namespace psp::test {
namespace {

// A header without cookie, 8 octets of payload, ICV.
Octets plain_packet() {
  Octets octets = unhex("04010001123456780102030405060708");
  octets.resize(kHeaderLength + 8 + kIcvLength);
  return octets;
}
Octets cookie_packet() {
  Octets octets = unhex("29020dc79a3456780000000000000001c00c1e5500112233");
  octets.resize(kHeaderLength + kCookieLength + 64 + kIcvLength);
  return octets;
}

HeaderFault fault_of(const Octets& octets) {
  Header header;
  return read_header(octets.data(), octets.size(), &header);
}

TEST(Header, ReadsEveryField) {
  const Octets octets = cookie_packet();
  Header header;
  ASSERT_EQ(read_header(octets.data(), octets.size(), &header), HeaderFault::kNone);
  EXPECT_EQ(header.next_header, kNextHeaderIpv6);
  EXPECT_EQ(header.ext_length, 2);
  EXPECT_EQ(header.crypt_offset, 13);
  EXPECT_TRUE(header.sample);
  EXPECT_TRUE(header.drop);
  EXPECT_EQ(header.version, 1);
  EXPECT_TRUE(header.has_cookie);
  EXPECT_EQ(header.spi, 0x9a345678);
  EXPECT_EQ(header.iv, 1u);
  EXPECT_EQ(header.cookie, 0xc00c1e5500112233);
  EXPECT_EQ(header.length(), 24u);
}

TEST(Header, WritesWhatItReads) {
  for (const Octets& octets : {plain_packet(), cookie_packet()}) {
    Header header;
    ASSERT_EQ(read_header(octets.data(), octets.size(), &header), HeaderFault::kNone);
    Octets written(header.length());
    EXPECT_EQ(write_header(header, written.data()), header.length());
    EXPECT_EQ(hex(written), hex(octets.data(), header.length()));
  }
}

TEST(Header, IgnoresReservedBitsAndSendsThemAsZero) {
  Octets octets = plain_packet();
  octets[2] |= 0xc0;
  Header header;
  ASSERT_EQ(read_header(octets.data(), octets.size(), &header), HeaderFault::kNone);
  EXPECT_EQ(header.crypt_offset, 0);
  uint8_t written[kHeaderLength];
  write_header(header, written);
  EXPECT_EQ(written[2], 0);
}

TEST(Header, LeavesUnknownVersionsToTheCaller) {
  Octets octets = plain_packet();
  octets[3] = 0x3d;
  Header header;
  EXPECT_EQ(read_header(octets.data(), octets.size(), &header), HeaderFault::kNone);
  EXPECT_EQ(header.version, 15);
}

TEST(Header, HasFourKnownVersionsOfWhichTwoEncrypt) {
  for (int version = 0; version < 256; version++) {
    EXPECT_EQ(is_known_version(static_cast<uint8_t>(version)), version < 4) << version;
    EXPECT_EQ(is_encrypting(static_cast<uint8_t>(version)), version < 2) << version;
  }
}

TEST(Header, ValidatesTheCryptOffsetOfEncryptingVersionsOnly) {
  for (uint8_t version = 0; version < 16; version++) {
    Octets octets = plain_packet();
    octets[2] = 63;
    octets[3] = static_cast<uint8_t>(version << 2 | 1);
    EXPECT_EQ(fault_of(octets), version < 2 ? HeaderFault::kCryptOffset : HeaderFault::kNone) << int{version};
  }
}

TEST(Header, SkipsExtensionWords) {
  for (const bool cookie : {false, true}) {
    Octets octets = cookie ? cookie_packet() : plain_packet();
    octets[2] = 0;
    octets[1] = 7;
    octets.resize(64 + kIcvLength);
    Header header;
    ASSERT_EQ(read_header(octets.data(), octets.size(), &header), HeaderFault::kNone);
    EXPECT_EQ(header.length(), 64u);
    EXPECT_EQ(header.cookie, cookie ? 0xc00c1e5500112233 : 0);
    octets.pop_back();
    EXPECT_EQ(fault_of(octets), HeaderFault::kTruncated);
  }
}

TEST(Header, IsTruncatedAtEveryLengthBelowHeaderAndIcv) {
  for (const Octets& whole : {plain_packet(), cookie_packet()}) {
    const size_t min_length = whole[1] * 8u + 8 + kIcvLength;
    for (size_t length = 0; length < min_length; length++) {
      const Octets octets(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(length));
      EXPECT_EQ(fault_of(octets), HeaderFault::kTruncated) << length;
    }
  }
}

TEST(Header, IsMalformedWithoutTheBitThatIsAlwaysOne) {
  Octets octets = plain_packet();
  octets[3] &= 0xfe;
  EXPECT_EQ(fault_of(octets), HeaderFault::kMalformed);
}

TEST(Header, IsMalformedWhenItsLengthIsTooSmallForIvOrCookie) {
  Octets octets = plain_packet();
  octets[1] = 0;
  EXPECT_EQ(fault_of(octets), HeaderFault::kMalformed);
  octets = cookie_packet();
  octets[1] = 1;
  EXPECT_EQ(fault_of(octets), HeaderFault::kMalformed);
}

TEST(Header, IsTruncatedWhenItsExtensionsReachPastThePacket) {
  Octets octets = plain_packet();
  octets[1] = 255;
  EXPECT_EQ(fault_of(octets), HeaderFault::kTruncated);
}

TEST(Header, AllowsACryptOffsetUpToTheEndOfThePayload) {
  Octets octets = plain_packet();
  octets[2] = 2;
  EXPECT_EQ(fault_of(octets), HeaderFault::kNone);
  octets[2] = 3;
  EXPECT_EQ(fault_of(octets), HeaderFault::kCryptOffset);
}

}  // namespace
}  // namespace psp::test
