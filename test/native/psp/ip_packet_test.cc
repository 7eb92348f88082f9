// SPDX-License-Identifier: Apache-2.0
// The parser against packets of every kind, every truncation of them, and seeded random data. Packets are in
// memory of exactly their length, so that the sanitizers detect any read beyond it.
#include "psp/ip_packet.h"

#include <gtest/gtest.h>

#include <random>

#include "ip_build.h"

namespace psp::test {
namespace {

IpFault fault_of(const Octets& octets) {
  const std::unique_ptr<uint8_t[]> exact(new uint8_t[octets.size()]);
  std::copy(octets.begin(), octets.end(), exact.get());
  IpPacket packet;
  return read_ip(exact.get(), octets.size(), &packet);
}

Octets chain_of_all() {
  return ipv6(kHopByHop,
              join({extension(kDestinationOptions, 8), extension(kRouting, 24), extension(kAuthentication, 8),
                    authentication(kFragment, 24), fragment(kProtocolUdp, 0, true), udp(1, 2, Octets(8))}));
}

TEST(IpPacket, ReadsIpv4WithAndWithoutOptions) {
  for (const size_t options : {0, 4, 40}) {
    const IpPacket packet = read(ipv4(kProtocolUdp, udp(1000, 2000, Octets(5)), options));
    EXPECT_EQ(packet.version, 4);
    EXPECT_EQ(packet.protocol, kProtocolUdp);
    EXPECT_EQ(packet.traffic_class, 0xb9);
    EXPECT_EQ(packet.payload_offset, 20 + options);
    EXPECT_EQ(packet.length, 20 + options + 13);
    EXPECT_FALSE(packet.fragment);
    EXPECT_EQ(hex(packet.source.data(), 16), "00000000000000000000ffff0a010005");
    EXPECT_EQ(hex(packet.destination.data(), 16), "00000000000000000000ffff0a020009");
  }
}

TEST(IpPacket, ReadsIpv6) {
  const IpPacket packet = read(ipv6(kProtocolTcp, Octets(20)));
  EXPECT_EQ(packet.version, 6);
  EXPECT_EQ(packet.protocol, kProtocolTcp);
  EXPECT_EQ(packet.traffic_class, 0xb9);
  EXPECT_EQ(packet.payload_offset, 40);
  EXPECT_EQ(packet.length, 60u);
  EXPECT_EQ(hex(packet.source.data(), 16), "fd0100000000000000000000000000a5");
  EXPECT_EQ(hex(packet.destination.data(), 16), "fd020000000000000000000000000019");
}

TEST(IpPacket, ParsesEveryKindOfExtensionHeader) {
  const IpPacket packet = read(chain_of_all());
  EXPECT_EQ(packet.protocol, kProtocolUdp);
  EXPECT_EQ(packet.payload_offset, 40 + 8 + 24 + 8 + 24 + 8);
  EXPECT_TRUE(packet.fragment);
  EXPECT_FALSE(packet.later_fragment);
}

TEST(IpPacket, MarksFragmentsOfBothFamilies) {
  for (const auto& [field, fragmented, later] : {std::tuple{0x0000, false, false},
                                                 {0x4000, false, false},
                                                 {0x2000, true, false},
                                                 {0x2001, true, true},
                                                 {0x0001, true, true}}) {
    Octets octets = ipv4(kProtocolUdp, udp(1, 2, Octets(8)));
    store_u16(octets.data() + 6, static_cast<uint16_t>(field));
    fix_ipv4_checksum(octets);
    const IpPacket packet = read(octets);
    EXPECT_EQ(packet.fragment, fragmented) << field;
    EXPECT_EQ(packet.later_fragment, later) << field;
  }
  // The payload of a later fragment does not start with a header.
  const IpPacket packet = read(ipv6(kFragment, join({fragment(kRouting, 8, true), Octets(16, 0xff)})));
  EXPECT_TRUE(packet.later_fragment);
  EXPECT_EQ(packet.protocol, kRouting);
  EXPECT_EQ(packet.payload_offset, 48);
}

TEST(IpPacket, TreatsAnAtomicFragmentAsUnfragmented) {
  const Octets datagram = udp(1000, 2000, Octets(8));
  for (const uint8_t reserved : {0, 2, 4, 6}) {
    Octets octets = ipv6(kFragment, join({fragment(kProtocolUdp, 0, false), datagram}));
    octets[43] = reserved;
    const IpPacket packet = read(octets);
    EXPECT_FALSE(packet.fragment);
    EXPECT_FALSE(packet.later_fragment);
    EXPECT_EQ(packet.payload_offset, 48);
    EXPECT_EQ(read_ports(packet, octets.data()).source, 1000);
  }
}

TEST(IpPacket, ReportsTheOffsetOfTheProtocol) {
  EXPECT_EQ(read(ipv4(kProtocolUdp, udp(1, 2, {}), 8)).protocol_offset, 9);
  EXPECT_EQ(read(ipv6(kProtocolUdp, udp(1, 2, {}))).protocol_offset, 6);
  EXPECT_EQ(read(chain_of_all()).protocol_offset, 40 + 8 + 24 + 8 + 24);
  const Octets later = ipv6(kHopByHop, join({extension(kFragment, 8), fragment(99, 8, true), Octets(16)}));
  EXPECT_EQ(read(later).protocol_offset, 48);
}

TEST(IpPacket, ExcludesLinkPadding) {
  for (Octets octets : {ipv4(kProtocolUdp, udp(1, 2, {})), ipv6(kProtocolUdp, udp(1, 2, {}))}) {
    const size_t length = octets.size();
    octets.resize(length + 18);
    EXPECT_EQ(read(octets).length, length);
  }
}

TEST(IpPacket, IsTruncatedAtEveryShorterLength) {
  for (const Octets& whole :
       {ipv4(kProtocolUdp, udp(1, 2, Octets(8)), 12), ipv6(kProtocolTcp, Octets(33)), chain_of_all()}) {
    for (size_t length = 0; length < whole.size(); length++) {
      const Octets octets(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(length));
      ASSERT_EQ(fault_of(octets), IpFault::kTruncated) << length;
    }
    EXPECT_EQ(fault_of(whole), IpFault::kNone);
  }
}

TEST(IpPacket, RejectsImpossibleIpv4Headers) {
  const Octets good = ipv4(kProtocolUdp, udp(1, 2, Octets(8)));
  Octets octets = good;
  octets[0] = 0x44;
  EXPECT_EQ(fault_of(octets), IpFault::kMalformed);
  octets = good;
  store_u16(octets.data() + 2, 19);
  EXPECT_EQ(fault_of(octets), IpFault::kMalformed);
  octets = good;
  octets[8]--;
  EXPECT_EQ(fault_of(octets), IpFault::kChecksum);
  for (const int version : {0, 1, 5, 7, 15}) {
    octets = good;
    octets[0] = static_cast<uint8_t>(version << 4 | 5);
    EXPECT_EQ(fault_of(octets), IpFault::kMalformed) << version;
  }
}

TEST(IpPacket, RejectsExtensionChainsThatEndOutsideThePacket) {
  // Every payload length below that of the chain; the IPv6 length field matches it.
  const Octets long_header_last = ipv6(kDestinationOptions, extension(59, 24));
  for (const auto& [whole, chain_end] :
       {std::pair{chain_of_all(), size_t{40 + 8 + 24 + 8 + 24 + 8}}, {long_header_last, size_t{40 + 24}}}) {
    for (size_t length = 40; length < chain_end; length++) {
      Octets octets(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(length));
      store_u16(octets.data() + 4, static_cast<uint16_t>(length - 40));
      ASSERT_EQ(fault_of(octets), IpFault::kMalformed) << length;
    }
  }
}

TEST(IpPacket, RejectsMisplacedHopByHopOptionsAndUnalignedAuthenticationHeaders) {
  EXPECT_EQ(fault_of(ipv6(kDestinationOptions, join({extension(kHopByHop, 8), extension(59, 8)}))),
            IpFault::kMalformed);
  EXPECT_EQ(fault_of(ipv6(kAuthentication, join({authentication(59, 12), Octets(12)}))), IpFault::kMalformed);
}

TEST(IpPacket, RejectsASecondFragmentHeader) {
  const Octets datagram = udp(1000, 2000, Octets(8));
  const Octets both = join({fragment(kFragment, 0, false), fragment(kProtocolUdp, 0, false), datagram});
  EXPECT_EQ(fault_of(ipv6(kFragment, both)), IpFault::kMalformed);
}

TEST(IpPacket, ParsesAtMostEightExtensionHeadersAndAFragmentHeader) {
  const auto chain = [](int headers, uint8_t behind, const Octets& rest) {
    Octets octets;
    for (int i = 0; i < headers; i++) {
      octets = join({octets, extension(i + 1 == headers ? behind : kDestinationOptions, 8)});
    }
    return ipv6(kDestinationOptions, join({octets, rest}));
  };
  const Octets datagram = udp(1, 2, {});
  EXPECT_EQ(fault_of(chain(8, kProtocolUdp, datagram)), IpFault::kNone);
  EXPECT_EQ(fault_of(chain(9, kProtocolUdp, datagram)), IpFault::kMalformed);
  const Octets first = join({fragment(kProtocolUdp, 0, true), datagram});
  EXPECT_EQ(fault_of(chain(8, kFragment, first)), IpFault::kNone);
  EXPECT_EQ(fault_of(chain(9, kFragment, first)), IpFault::kMalformed);
  const auto around = [&](int headers) {
    const Octets behind = join({extension(kProtocolUdp, 8), datagram});
    return chain(headers, kFragment, join({fragment(kDestinationOptions, 0, true), behind}));
  };
  EXPECT_EQ(fault_of(around(7)), IpFault::kNone);
  EXPECT_EQ(fault_of(around(8)), IpFault::kMalformed);
}

TEST(IpPacket, RejectsIpv4MappedAddressesInIpv6) {
  for (const size_t address : {8, 24}) {
    Octets octets = ipv6(kProtocolUdp, udp(1, 2, {}));
    std::copy(kMappedPrefix.begin(), kMappedPrefix.end(), octets.begin() + static_cast<ptrdiff_t>(address));
    EXPECT_EQ(fault_of(octets), IpFault::kMalformed) << address;
  }
}

TEST(IpPacket, AcceptsAnIpv4HeaderExactlyIfItsChecksumIsCorrect) {
  std::mt19937 random(5);
  // Octets of 0xff produce carries, and sums of 0xffff.
  const auto octet = [&] {
    const uint32_t draw = random();
    return static_cast<uint8_t>(draw % 3 == 0 ? 0xff : draw % 3 == 1 ? 0 : draw >> 8);
  };
  size_t correct = 0, wrong_count = 0;
  for (int round = 0; round < 100000; ++round) {
    Octets header(20);
    for (size_t i = 8; i < header.size(); ++i) header[i] = octet();
    header[0] = 0x45;
    header[1] = octet();
    store_u16(&header[2], 20);
    store_u16(&header[4], static_cast<uint16_t>(octet() << 8 | octet()));
    store_u16(&header[10], 0);
    const uint16_t right = plain_checksum(header);
    const uint16_t wrong[] = {static_cast<uint16_t>(right + 1), static_cast<uint16_t>(~right),
                              static_cast<uint16_t>(right << 8 | right >> 8), static_cast<uint16_t>(random()),
                              0};
    store_u16(&header[10], round % 2 == 0 ? right : wrong[round / 2 % std::size(wrong)]);
    const bool is_correct = plain_checksum(header) == 0;
    ++(is_correct ? correct : wrong_count);
    ASSERT_EQ(fault_of(header), is_correct ? IpFault::kNone : IpFault::kChecksum) << hex(header);
  }
  EXPECT_GT(correct, 40000u);
  EXPECT_GT(wrong_count, 40000u);
}

TEST(IpPacket, StaysInsideItsMemoryOnRandomData) {
  std::mt19937 random(1);
  const Octets seeds[] = {ipv4(kProtocolUdp, udp(1, 2, Octets(40)), 8), chain_of_all(),
                          ipv6(kProtocolTcp, Octets(60))};
  size_t passed = 0;
  for (int round = 0; round < 200000; round++) {
    Octets octets = round % 4 == 3 ? Octets(random() % 200) : seeds[round % 4];
    const size_t changes = round % 4 == 3 ? octets.size() : 1 + random() % 6;
    for (size_t i = 0; i < changes && !octets.empty(); i++) {
      octets[random() % octets.size()] = static_cast<uint8_t>(random());
    }
    if (octets.size() >= 20 && octets[0] >> 4 == 4) fix_ipv4_checksum(octets);
    if (!octets.empty() && random() % 4 == 0) octets.resize(random() % octets.size());
    const std::unique_ptr<uint8_t[]> exact(new uint8_t[octets.size()]);
    std::copy(octets.begin(), octets.end(), exact.get());
    IpPacket packet;
    if (read_ip(exact.get(), octets.size(), &packet) != IpFault::kNone) continue;
    passed++;
    ASSERT_LE(packet.length, octets.size());
    ASSERT_LE(packet.payload_offset, packet.length);
    flow_hash(packet, exact.get(), 1);
    complete_checksum(packet, exact.get());
  }
  EXPECT_GT(passed, 10000u);
}

TEST(Ports, AreReadAfterOptionsAndExtensionHeaders) {
  const auto ports_of = [](const Octets& octets) {
    const Ports ports = read_ports(read(octets), octets.data());
    return std::pair(ports.source, ports.destination);
  };
  const std::pair<uint16_t, uint16_t> both(1000, 2000), none(0, 0);
  const Octets datagram = udp(1000, 2000, Octets(5));
  for (const uint8_t protocol :
       {kProtocolTcp, kProtocolUdp, kProtocolDccp, kProtocolSctp, kProtocolUdpLite}) {
    EXPECT_EQ(ports_of(ipv4(protocol, datagram)), both);
    EXPECT_EQ(ports_of(ipv4(protocol, datagram, 8)), both);
    EXPECT_EQ(ports_of(ipv6(protocol, datagram)), both);
  }
  EXPECT_EQ(ports_of(ipv6(kHopByHop,
                          join({extension(kDestinationOptions, 8), extension(kProtocolUdp, 16), datagram}))),
            both);
  EXPECT_EQ(ports_of(ipv6(kFragment, join({fragment(kProtocolUdp, 0, true), datagram}))), both);
}

TEST(Ports, AreZeroIfThereAreNone) {
  const auto expect_none = [](const Octets& octets) {
    const Ports ports = read_ports(read(octets), octets.data());
    EXPECT_EQ(ports.source, 0) << hex(octets);
    EXPECT_EQ(ports.destination, 0) << hex(octets);
  };
  const Octets datagram = udp(1000, 2000, Octets(8));
  expect_none(ipv4(kProtocolIcmp, datagram));
  expect_none(ipv6(kProtocolIcmpv6, datagram));
  expect_none(ipv4(kProtocolUdp, Octets(3, 9)));
  expect_none(ipv6(kFragment, join({fragment(kProtocolUdp, 8, false), datagram})));
  Octets later = ipv4(kProtocolUdp, datagram);
  later[7] = 1;
  fix_ipv4_checksum(later);
  expect_none(later);
}

}  // namespace
}  // namespace psp::test
