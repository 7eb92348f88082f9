// SPDX-License-Identifier: Apache-2.0
// The link header before IP, for every link type.
#include "pcap/link.h"

#include <gtest/gtest.h>

#include "capture.h"

namespace psp::test {
namespace {

const Octets kPacket4 = udp4(1, 2, 10), kPacket6 = udp6(1, 2, 10);

TEST(Link, FindsIpAfterEthernetAndVlanTags) {
  const Octets tag = {0x81, 0, 0, 5}, service = {0x88, 0xa8, 0, 6}, old = {0x91, 0, 0, 7},
               older = {0x92, 0, 0, 7}, oldest = {0x93, 0, 0, 7};
  for (const Octets& tags : {Octets(), tag, service + tag, old + service + tag, older, oldest + tag}) {
    for (const Octets& packet : {kPacket4, kPacket6}) {
      const auto header = read_link(1, ethernet(packet, tags));
      ASSERT_TRUE(header);
      EXPECT_EQ(header->length, 14 + tags.size());
      EXPECT_EQ(header->ip_version, packet[0] >> 4);
    }
  }
}

TEST(Link, FindsIpAfterLinuxCookedHeaders) {
  const Octets cooked = Octets(14, 0) + Octets{0x08, 0x00},
               tagged = Octets(14, 0) + Octets{0x81, 0, 0, 9, 0x86, 0xdd};
  EXPECT_EQ(read_link(113, cooked + kPacket4)->length, 16u);
  EXPECT_EQ(read_link(113, cooked + kPacket4)->ip_version, 4);
  EXPECT_EQ(read_link(113, tagged + kPacket6)->length, 20u);
  EXPECT_EQ(read_link(113, tagged + kPacket6)->ip_version, 6);
  const Octets second = Octets{0x86, 0xdd} + Octets(18, 0);
  EXPECT_EQ(read_link(276, second + kPacket6)->length, 20u);
  EXPECT_EQ(read_link(276, second + kPacket6)->ip_version, 6);
}

TEST(Link, FindsRawIp) {
  for (const uint16_t type : {101, 12, 14}) {
    EXPECT_EQ(read_link(type, kPacket4)->ip_version, 4);
    EXPECT_EQ(read_link(type, kPacket6)->ip_version, 6);
    EXPECT_EQ(read_link(type, Octets{0x50})->ip_version, 0);
  }
  EXPECT_EQ(read_link(228, kPacket4)->ip_version, 4);
  EXPECT_EQ(read_link(229, kPacket6)->ip_version, 6);
}

TEST(Link, FindsNoIpInOtherFrames) {
  EXPECT_EQ(read_link(1, arp())->ip_version, 0);
  EXPECT_EQ(read_link(1, ethernet(kPacket4, {}, 0x05dc))->ip_version, 0);
  for (const uint16_t type : {1, 113, 276, 101, 228}) EXPECT_EQ(read_link(type, Octets())->ip_version, 0);
  const Octets frame = ethernet(kPacket4, {0x81, 0, 0, 5});
  for (size_t length = 0; length < 18; length++) {
    EXPECT_EQ(read_link(1, std::span(frame).first(length))->ip_version, 0) << length;
  }
}

TEST(Link, RejectsOtherLinkTypes) {
  for (const uint16_t type : {0, 105, 127, 227}) EXPECT_FALSE(read_link(type, kPacket4)) << type;
}

}  // namespace
}  // namespace psp::test
