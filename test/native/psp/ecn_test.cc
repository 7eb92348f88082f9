// SPDX-License-Identifier: Apache-2.0
// The decapsulation table of RFC 6040, cell by cell, and the bits in the headers of both families.
#include "psp/ecn.h"

#include <gtest/gtest.h>

#include "ip_build.h"

namespace psp::test {
namespace {

TEST(Ecn, FollowsEveryCellOfTheTableOfRfc6040) {
  constexpr int kDrop = -1;
  // Figure 4: rows are the inner, columns the outer field: Not-ECT, ECT(0), ECT(1), CE.
  constexpr uint8_t kOrder[] = {0b00, 0b10, 0b01, 0b11};
  constexpr int kTable[4][4] = {{0b00, 0b00, 0b00, kDrop},
                                {0b10, 0b10, 0b01, 0b11},
                                {0b01, 0b01, 0b01, 0b11},
                                {0b11, 0b11, 0b11, 0b11}};
  for (size_t inner = 0; inner < 4; inner++) {
    for (size_t outer = 0; outer < 4; outer++) {
      const auto result = decapsulated_ecn(kOrder[outer], kOrder[inner]);
      EXPECT_EQ(result ? *result : kDrop, kTable[inner][outer]) << "inner " << inner << " outer " << outer;
    }
  }
}

TEST(Ecn, IsSetInIpv4WithoutOtherChangesExceptTheChecksum) {
  Octets base = ipv4(kProtocolUdp, Octets(8));
  for (uint32_t round = 0; round < 0x10000; round++) {
    base[1] = static_cast<uint8_t>(round);
    store_u16(base.data() + 4, static_cast<uint16_t>(round));  // every checksum in turn
    fix_ipv4_checksum(base);
    Octets octets = base;
    IpPacket packet;
    ASSERT_EQ(read_ip(octets.data(), octets.size(), &packet), IpFault::kNone);
    const auto ecn = static_cast<uint8_t>(round >> 8 & 3);
    set_ecn(ecn, &packet, octets.data());
    Octets expected = base;
    expected[1] = static_cast<uint8_t>((expected[1] & 0xfc) | ecn);
    fix_ipv4_checksum(expected);
    ASSERT_EQ(hex(octets), hex(expected));
    ASSERT_EQ(packet.traffic_class, expected[1]);
  }
}

TEST(Ecn, IsSetInIpv6WithoutOtherChanges) {
  for (uint32_t traffic_class = 0; traffic_class < 256; traffic_class++) {
    for (const uint8_t ecn : {0, 1, 2, 3}) {
      Octets octets = ipv6(kProtocolUdp, Octets(8));
      store_u32(octets.data(), 0x600abcde | traffic_class << 20);
      Octets expected = octets;
      store_u32(expected.data(), 0x600abcde | ((traffic_class & 0xfc) | ecn) << 20);
      IpPacket packet;
      ASSERT_EQ(read_ip(octets.data(), octets.size(), &packet), IpFault::kNone);
      set_ecn(ecn, &packet, octets.data());
      ASSERT_EQ(hex(octets), hex(expected));
      ASSERT_EQ(packet.traffic_class, (traffic_class & 0xfc) | ecn);
    }
  }
}

}  // namespace
}  // namespace psp::test
