// SPDX-License-Identifier: Apache-2.0
// Transport mode: how a packet is split, which headers stay in the clear, which packets cannot be sealed, and
// that opening restores the packet. modes_test.cc tests the sealed part.
#include "psp/transport.h"

#include <gtest/gtest.h>

#include "sealing.h"

namespace psp::test {
namespace {

constexpr uint8_t kEsp = 50, kNoNextHeader = 59, kMobility = 135;

TransportFault fault_of(const Octets& octets) {
  TransportLayout layout;
  return read_transport_layout(read(octets), octets.data(), &layout);
}

const Octets kDatagram = udp(1, 2, unhex("00112233445566778899aabbcc"));

// An IPv6 packet with extension headers and its expected layout: length of the headers in the clear, and the
// next header of PSP.
struct Chain {
  const char* name;
  Octets packet;
  size_t header_length;
  uint8_t protocol;
  bool final_destination = true;
};

std::vector<Chain> chains() {
  const auto hop = [](uint8_t next) { return extension(next, 16); };
  const auto routing = [](uint8_t next) { return extension(next, 24); };
  const auto options = [](uint8_t next) { return extension(next, 8); };
  constexpr uint8_t kUdp = kProtocolUdp;
  return {
      {"none", ipv6(kUdp, kDatagram), 40, kUdp},
      {"nothing_at_all", ipv6(kNoNextHeader, {}), 40, kNoNextHeader},
      {"hop", ipv6(kHopByHop, join({hop(kUdp), kDatagram})), 56, kUdp},
      {"hop_and_nothing", ipv6(kHopByHop, hop(kNoNextHeader)), 56, kNoNextHeader},
      {"routing", ipv6(kRouting, join({routing(kUdp), kDatagram})), 64, kUdp, false},
      {"hop_routing", ipv6(kHopByHop, join({hop(kRouting), routing(kUdp), kDatagram})), 80, kUdp, false},
      {"options", ipv6(kDestinationOptions, join({options(kUdp), kDatagram})), 40, kDestinationOptions},
      {"options_routing", ipv6(kDestinationOptions, join({options(kRouting), routing(kUdp), kDatagram})), 72,
       kUdp, false},
      {"options_options_routing",
       ipv6(kDestinationOptions,
            join({options(kDestinationOptions), options(kRouting), routing(kUdp), kDatagram})),
       80, kUdp, false},
      {"all",
       ipv6(kHopByHop, join({hop(kDestinationOptions), options(kRouting), routing(kDestinationOptions),
                             options(kAuthentication), authentication(kEsp, 24), Octets(20)})),
       88, kDestinationOptions, false},
      {"routing_routing", ipv6(kRouting, join({routing(kRouting), routing(kUdp), kDatagram})), 88, kUdp,
       false},
      {"authentication", ipv6(kAuthentication, join({authentication(kUdp, 24), kDatagram})), 40,
       kAuthentication},
      {"authentication_routing",
       ipv6(kAuthentication, join({authentication(kRouting, 24), routing(kUdp), kDatagram})), 40,
       kAuthentication},
      {"esp", ipv6(kEsp, Octets(37)), 40, kEsp},
      {"mobility", ipv6(kMobility, Octets(24)), 40, kMobility},
      {"atomic_fragment", ipv6(kFragment, join({fragment(kUdp, 0, false), kDatagram})), 40, kFragment},
      {"hop_atomic_fragment_options",
       ipv6(kHopByHop,
            join({hop(kFragment), fragment(kDestinationOptions, 0, false), options(kUdp), kDatagram})),
       56, kFragment},
      {"options_ipv6", ipv6(kDestinationOptions, join({options(41), inner_packet(true)})), 40,
       kDestinationOptions},
  };
}

TEST(Transport, SplitsIpv6AfterTheHeadersThatRoutersRead) {
  for (const Chain& chain : chains()) {
    SCOPED_TRACE(chain.name);
    TransportLayout layout;
    ASSERT_EQ(read_transport_layout(read(chain.packet), chain.packet.data(), &layout), TransportFault::kNone);
    EXPECT_EQ(layout.header_length, chain.header_length);
    EXPECT_EQ(layout.protocol, chain.protocol);
    EXPECT_EQ(chain.packet[layout.protocol_offset], chain.protocol);
    EXPECT_EQ(layout.length, chain.packet.size());
    EXPECT_EQ(layout.final_destination, chain.final_destination);
  }
}

TEST(Transport, RestoresEveryChainOfIpv6Headers) {
  for (const auto& aead : all_aeads()) {
    for (const Chain& chain : chains()) {
      for (const bool cookie : {false, true}) {
        SCOPED_TRACE(chain.name);
        const Axes axes{true, true, true, cookie, 1, 0};
        const ExpandedKey key(*aead, key_of(1), 1);
        const Octets wire = sealed(*aead, key.get(), axes, chain.packet, header_of(axes), true);
        const IpPacket outer = read(wire);
        ASSERT_EQ(outer.length, wire.size());
        ASSERT_EQ(outer.protocol, kProtocolUdp);
        ASSERT_EQ(outer.payload_offset, chain.header_length) << "UDP follows the headers in the clear";
        ASSERT_EQ(load_u16(wire.data() + chain.header_length + 6) != 0, chain.final_destination)
            << "UDP checksum";
        ASSERT_TRUE(udp_checksum_ok(outer, wire.data()));
        ASSERT_EQ(wire[psp_offset(wire)], chain.protocol);
        // The headers in the clear are those of the packet, except for lengths and the last next header.
        Octets headers(wire.begin(), wire.begin() + static_cast<ptrdiff_t>(chain.header_length));
        std::copy(chain.packet.begin() + 4, chain.packet.begin() + 6, headers.begin() + 4);
        headers[outer.protocol_offset] = chain.protocol;
        ASSERT_EQ(hex(headers), hex(chain.packet.data(), chain.header_length));
        const Opened result = opened(*aead, key.get(), true, wire);
        ASSERT_TRUE(result.good());
        ASSERT_EQ(hex(result.packet), hex(chain.packet));
      }
    }
  }
}

TEST(Transport, KeepsTheIpv4HeaderWithItsOptions) {
  for (const auto& aead : all_aeads()) {
    for (size_t options = 0; options <= 40; options += 4) {
      for (const uint8_t protocol : {1, 6, 17, 47, 50, 51, 132, 253}) {
        for (const bool cookie : {false, true}) {
          for (const size_t data : {0, 1, 8, 77}) {
            const Octets packet = ipv4(protocol, Octets(data, 0x3c), options);
            const Axes axes{true, false, false, cookie, 0, 0};
            const ExpandedKey key(*aead, key_of(0), 0);
            const Octets wire = sealed(*aead, key.get(), axes, packet, header_of(axes), true);
            Octets expected(packet.begin(), packet.begin() + static_cast<ptrdiff_t>(20 + options));
            expected[9] = 17;
            store_u16(expected.data() + 2, static_cast<uint16_t>(wire.size()));
            fix_ipv4_checksum(expected);
            ASSERT_EQ(hex(wire.data(), expected.size()), hex(expected));
            ASSERT_EQ(wire[psp_offset(wire)], protocol);
            // Options may contain a source route; the destination is then not the final one.
            ASSERT_EQ(load_u16(wire.data() + expected.size() + 6) != 0, options == 0);
            const Opened result = opened(*aead, key.get(), true, wire);
            ASSERT_TRUE(result.good());
            ASSERT_EQ(hex(result.packet), hex(packet));
          }
        }
      }
    }
  }
}

TEST(Transport, RejectsFragments) {
  for (const int field : {0x2000, 0x2001, 0x0001, 0x6000}) {
    Octets octets = ipv4(kProtocolUdp, kDatagram);
    store_u16(octets.data() + 6, static_cast<uint16_t>(field));
    fix_ipv4_checksum(octets);
    EXPECT_EQ(fault_of(octets), TransportFault::kFragment) << field;
  }
  for (const auto& [offset, more] : {std::pair{0, true}, {8, true}, {8, false}}) {
    const Octets part = join({fragment(kProtocolUdp, static_cast<uint16_t>(offset), more), kDatagram});
    EXPECT_EQ(fault_of(ipv6(kFragment, part)), TransportFault::kFragment);
    EXPECT_EQ(fault_of(ipv6(kRouting, join({extension(kFragment, 8), part}))), TransportFault::kFragment);
  }
}

TEST(Transport, RejectsPacketsThatWouldReadAsTunnelMode) {
  for (const uint8_t protocol : {4, 41}) {
    EXPECT_EQ(fault_of(ipv4(protocol, inner_packet(false))), TransportFault::kTunnelProtocol);
    EXPECT_EQ(fault_of(ipv6(protocol, inner_packet(false))), TransportFault::kTunnelProtocol);
    EXPECT_EQ(fault_of(ipv6(kHopByHop, join({extension(protocol, 8), inner_packet(false)}))),
              TransportFault::kTunnelProtocol);
    EXPECT_EQ(fault_of(ipv6(kRouting, join({extension(protocol, 8), inner_packet(false)}))),
              TransportFault::kTunnelProtocol);
  }
}

TEST(Transport, RejectsPacketsThatExceedTheLengthFields) {
  const size_t max_length = 65535 - transport_overhead(true);
  EXPECT_EQ(fault_of(ipv4(253, Octets(max_length - 20))), TransportFault::kNone);
  EXPECT_EQ(fault_of(ipv4(253, Octets(max_length - 19))), TransportFault::kTooLong);
  EXPECT_EQ(fault_of(ipv6(253, Octets(max_length))), TransportFault::kNone);
  EXPECT_EQ(fault_of(ipv6(253, Octets(max_length + 1))), TransportFault::kTooLong);
  const auto aead = make_aead_libcrypto();
  const ExpandedKey key(*aead, key_of(0), 0);
  for (const Octets& packet : {ipv4(253, Octets(max_length - 20)), ipv6(253, Octets(max_length))}) {
    const Axes axes{true, packet[0] >> 4 == 6, false, true, 0, 0};
    const Octets wire = sealed(*aead, key.get(), axes, packet);
    EXPECT_EQ(load_u16(wire.data() + (axes.inner_ipv6 ? 4 : 2)), 65535);
    EXPECT_EQ(opened(*aead, key.get(), true, wire).packet, packet);
  }
}

TEST(Transport, DoesNotAuthenticateTheIpHeader) {
  const auto aead = make_aead_libcrypto();
  const ExpandedKey key(*aead, key_of(0), 0);
  for (const bool inner_ipv6 : {false, true}) {
    const Axes axes{true, inner_ipv6, inner_ipv6, false, 0, 0};
    const Octets packet = inner_packet(inner_ipv6);
    Octets wire = sealed(*aead, key.get(), axes, packet), expected = packet;
    // Changes on the path: hop limit, ECN, and a translated address.
    for (Octets* octets : {&wire, &expected}) {
      (*octets)[inner_ipv6 ? 7 : 8]--;
      (*octets)[1] ^= inner_ipv6 ? 0x30 : 0x03;
      (*octets)[15] ^= 0xff;
      if (!inner_ipv6) fix_ipv4_checksum(*octets);
    }
    const Opened result = opened(*aead, key.get(), true, wire);
    ASSERT_TRUE(result.good());
    EXPECT_EQ(hex(result.packet), hex(expected));
  }
}

TEST(Transport, RemovesOctetsAfterTheDatagram) {
  const auto aead = make_aead_libcrypto();
  const ExpandedKey key(*aead, key_of(0), 0);
  for (const bool inner_ipv6 : {false, true}) {
    const Octets packet = inner_packet(inner_ipv6);
    Octets wire =
        join({sealed(*aead, key.get(), {true, inner_ipv6, inner_ipv6, false, 0, 0}, packet), Octets(9)});
    store_u16(wire.data() + (inner_ipv6 ? 4 : 2), static_cast<uint16_t>(wire.size() - (inner_ipv6 ? 40 : 0)));
    if (!inner_ipv6) fix_ipv4_checksum(wire);
    const Opened result = opened(*aead, key.get(), true, wire);
    ASSERT_TRUE(result.good());
    EXPECT_EQ(hex(result.packet), hex(packet));
  }
}

// A peer may seal payloads that are authentic but no valid packet.
TEST(Transport, ReportsATrailerFaultWhenNoUnfragmentedPacketResults) {
  const auto aead = make_aead_libcrypto();
  const ExpandedKey key(*aead, key_of(0), 0);
  const auto fault = [&](bool outer_ipv6, uint8_t next_header, const Octets& payload) {
    Header header = header_of({true, false, false, false, 0, 0});
    header.next_header = next_header;
    return opened(*aead, key.get(), true, on_the_wire(outer_ipv6, specified_psp(header, {}, payload))).fault;
  };
  EXPECT_EQ(fault(false, 17, kDatagram), OpenFault::kNone);
  EXPECT_EQ(fault(true, 17, kDatagram), OpenFault::kNone);
  for (const bool outer_ipv6 : {false, true}) {
    EXPECT_EQ(fault(outer_ipv6, 4, inner_packet(false)), OpenFault::kTrailer);
    EXPECT_EQ(fault(outer_ipv6, 41, inner_packet(true)), OpenFault::kTrailer);
  }
  EXPECT_EQ(fault(true, kFragment, join({fragment(17, 0, false), kDatagram})), OpenFault::kNone);
  EXPECT_EQ(fault(true, kFragment, join({fragment(17, 0, true), kDatagram})), OpenFault::kTrailer);
  EXPECT_EQ(fault(true, kFragment, join({fragment(17, 8, false), kDatagram})), OpenFault::kTrailer);
  EXPECT_EQ(fault(true, kDestinationOptions, extension(17, 16)), OpenFault::kNone);
  EXPECT_EQ(fault(true, kDestinationOptions, Octets(7)), OpenFault::kTrailer);
  Octets too_long = extension(17, 16);
  too_long[1] = 2;
  EXPECT_EQ(fault(true, kDestinationOptions, too_long), OpenFault::kTrailer);
}

TEST(Transport, MayWriteTheInnerPacketOverTheOuterOne) {
  const auto aead = make_aead_libcrypto();
  const ExpandedKey key(*aead, key_of(0), 0);
  for (const bool inner_ipv6 : {false, true}) {
    const Octets packet = inner_packet(inner_ipv6);
    Octets wire = sealed(*aead, key.get(), {true, inner_ipv6, inner_ipv6, false, 0, 0}, packet);
    IpPacket record = read(wire);
    const size_t length = psp_of(wire).size();
    Header header;
    ASSERT_EQ(read_header(wire.data() + psp_offset(wire), length, &header), HeaderFault::kNone);
    uint8_t* inner = nullptr;
    ASSERT_EQ(open_transport(*aead, key.get(), &header, record, wire.data(), length, &inner, &record),
              OpenFault::kNone);
    EXPECT_EQ(hex(inner, record.length), hex(packet));
  }
}

}  // namespace
}  // namespace psp::test
