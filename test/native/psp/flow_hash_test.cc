// SPDX-License-Identifier: Apache-2.0
// The hash that spreads flows over ECMP paths: its inputs, fragments, symmetry and distribution.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "ip_build.h"

namespace psp::test {
namespace {

TEST(FlowHash, DependsOnAddressesProtocolPortsAndSeed) {
  const auto hash = [](const Octets& octets, uint32_t seed = 1) {
    return flow_hash(read(octets), octets.data(), seed);
  };
  const Octets base = ipv4(kProtocolUdp, udp(1, 2, Octets(8)));
  Octets other_host = base;
  other_host[15]++;
  fix_ipv4_checksum(other_host);
  EXPECT_EQ(hash(base), hash(ipv4(kProtocolUdp, udp(1, 2, Octets(80)))));
  EXPECT_NE(hash(base), hash(base, 2));
  EXPECT_NE(hash(base), hash(other_host));
  EXPECT_NE(hash(base), hash(ipv4(kProtocolUdp, udp(1, 3, Octets(8)))));
  EXPECT_NE(hash(base), hash(ipv4(kProtocolTcp, udp(1, 2, Octets(8)))));
}

TEST(FlowHash, IsTheSameForAllFragmentsOfAPacket) {
  const Octets first = ipv6(kFragment, join({fragment(kProtocolUdp, 0, true), udp(1, 2, Octets(8))}));
  const Octets later = ipv6(kFragment, join({fragment(kProtocolUdp, 16, false), Octets(8, 0x55)}));
  EXPECT_EQ(flow_hash(read(first), first.data(), 1), flow_hash(read(later), later.data(), 1));
}

TEST(FlowHash, IsTheSameForBothDirectionsWhenSymmetric) {
  const auto hash = [](const Octets& octets, bool symmetric) {
    return flow_hash(read(octets), octets.data(), 1, symmetric);
  };
  const auto swapped = [](Octets octets) {
    if (octets[0] >> 4 == 4) {
      std::swap_ranges(octets.begin() + 12, octets.begin() + 16, octets.begin() + 16);
    } else {
      std::swap_ranges(octets.begin() + 8, octets.begin() + 24, octets.begin() + 24);
    }
    return octets;
  };
  for (const uint8_t protocol : {kProtocolTcp, kProtocolUdp, kProtocolSctp, kProtocolIcmp}) {
    for (const auto& make : {+[](uint8_t p, const Octets&o) { return ipv4(p, o); }, +ipv6}) {
      for (const auto& [from, to] : {std::pair{1, 2}, {2, 1}, {7, 7}}) {
        const auto one = static_cast<uint16_t>(from), other = static_cast<uint16_t>(to);
        const Octets forward = make(protocol, udp(one, other, Octets(8)));
        const Octets reverse = swapped(make(protocol, udp(other, one, Octets(8))));
        EXPECT_EQ(hash(forward, true), hash(reverse, true));
        EXPECT_NE(hash(forward, false), hash(reverse, false));
      }
    }
  }
  // Ports belong to their addresses: swapping only the ports gives another conversation.
  EXPECT_NE(hash(ipv4(kProtocolUdp, udp(1, 2, {})), true), hash(ipv4(kProtocolUdp, udp(2, 1, {})), true));
  // If source and destination are equal, only the ports distinguish the directions.
  Octets self = ipv4(kProtocolUdp, udp(1, 2, {})), answer = ipv4(kProtocolUdp, udp(2, 1, {}));
  for (Octets* octets : {&self, &answer}) {
    std::copy(octets->begin() + 12, octets->begin() + 16, octets->begin() + 16);
    fix_ipv4_checksum(*octets);
  }
  EXPECT_EQ(hash(self, true), hash(answer, true));
  EXPECT_NE(hash(self, false), hash(answer, false));
}

TEST(FlowHash, SpreadsNeighbouringPortsOverAllBuckets) {
  std::array<int, 16> buckets{};
  for (uint16_t port = 0; port < 1600; port++) {
    const Octets octets = ipv4(kProtocolUdp, udp(port, 443, {}));
    buckets[flow_hash(read(octets), octets.data(), 1) % 16]++;
  }
  for (const int count : buckets) EXPECT_NEAR(count, 100, 60);
}

}  // namespace
}  // namespace psp::test
