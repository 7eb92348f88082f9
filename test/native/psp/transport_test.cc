// SPDX-License-Identifier: Apache-2.0
// Transport mode: where a packet is cut, what stays in front, what cannot be sealed, and what comes back. The
// sealed part itself is tested in modes_test.cc.
#include "psp/transport.h"

#include <gtest/gtest.h>

#include "sealing.h"

namespace psp::test {
namespace {

constexpr uint8_t kEsp = 50, kNoNextHeader = 59, kMobility = 135;

TransportFault fault_of(const Octets& octets) {
  TransportLayout cut;
  return read_transport_layout(read(octets), octets.data(), &cut);
}

const Octets kDatagram = udp(1, 2, unhex("00112233445566778899aabbcc"));

// An IPv6 packet with headers, and where it must be cut: octets kept, next header of PSP.
struct Chain {
  const char* name;
  Octets packet;
  size_t front;
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

TEST(Transport, CutsIpv6BehindTheHeadersThatTheWayReads) {
  for (const Chain& chain : chains()) {
    SCOPED_TRACE(chain.name);
    TransportLayout cut;
    ASSERT_EQ(read_transport_layout(read(chain.packet), chain.packet.data(), &cut), TransportFault::kNone);
    EXPECT_EQ(cut.header_length, chain.front);
    EXPECT_EQ(cut.protocol, chain.protocol);
    EXPECT_EQ(chain.packet[cut.protocol_offset], chain.protocol);
    EXPECT_EQ(cut.length, chain.packet.size());
    EXPECT_EQ(cut.final_destination, chain.final_destination);
  }
}

TEST(Transport, CarriesEveryChainOfIpv6Headers) {
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
        ASSERT_EQ(outer.payload_offset, chain.front) << "UDP behind what stays, and nothing else";
        ASSERT_EQ(load_u16(wire.data() + chain.front + 6) != 0, chain.final_destination) << "UDP checksum";
        ASSERT_TRUE(udp_checksum_ok(outer, wire.data()));
        ASSERT_EQ(wire[psp_offset(wire)], chain.protocol);
        // The front is the packet's own, but for lengths and the last next header.
        Octets front(wire.begin(), wire.begin() + static_cast<ptrdiff_t>(chain.front));
        std::copy(chain.packet.begin() + 4, chain.packet.begin() + 6, front.begin() + 4);
        front[outer.protocol_offset] = chain.protocol;
        ASSERT_EQ(hex(front), hex(chain.packet.data(), chain.front));
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
            // Options may hold a source route, and then the destination is not the final one.
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

TEST(Transport, RefusesFragments) {
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

TEST(Transport, RefusesWhatWouldReadAsTunnelMode) {
  for (const uint8_t protocol : {4, 41}) {
    EXPECT_EQ(fault_of(ipv4(protocol, inner_packet(false))), TransportFault::kTunnelProtocol);
    EXPECT_EQ(fault_of(ipv6(protocol, inner_packet(false))), TransportFault::kTunnelProtocol);
    EXPECT_EQ(fault_of(ipv6(kHopByHop, join({extension(protocol, 8), inner_packet(false)}))),
              TransportFault::kTunnelProtocol);
    EXPECT_EQ(fault_of(ipv6(kRouting, join({extension(protocol, 8), inner_packet(false)}))),
              TransportFault::kTunnelProtocol);
  }
}

TEST(Transport, RefusesWhatItsLengthFieldsCannotHold) {
  const size_t longest = 65535 - transport_overhead(true);
  EXPECT_EQ(fault_of(ipv4(253, Octets(longest - 20))), TransportFault::kNone);
  EXPECT_EQ(fault_of(ipv4(253, Octets(longest - 19))), TransportFault::kTooLong);
  EXPECT_EQ(fault_of(ipv6(253, Octets(longest))), TransportFault::kNone);
  EXPECT_EQ(fault_of(ipv6(253, Octets(longest + 1))), TransportFault::kTooLong);
  const auto aead = make_aead_libcrypto();
  const ExpandedKey key(*aead, key_of(0), 0);
  for (const Octets& packet : {ipv4(253, Octets(longest - 20)), ipv6(253, Octets(longest))}) {
    const Axes axes{true, packet[0] >> 4 == 6, false, true, 0, 0};
    const Octets wire = sealed(*aead, key.get(), axes, packet);
    EXPECT_EQ(load_u16(wire.data() + (axes.inner_ipv6 ? 4 : 2)), 65535);
    EXPECT_EQ(opened(*aead, key.get(), true, wire).packet, packet);
  }
}

TEST(Transport, LeavesTheIpHeaderOutOfTheIcv) {
  const auto aead = make_aead_libcrypto();
  const ExpandedKey key(*aead, key_of(0), 0);
  for (const bool inner_ipv6 : {false, true}) {
    const Axes axes{true, inner_ipv6, inner_ipv6, false, 0, 0};
    const Octets packet = inner_packet(inner_ipv6);
    Octets wire = sealed(*aead, key.get(), axes, packet), expected = packet;
    for (Octets* octets :
         {&wire, &expected}) {  // a router decrements, a queue marks, a translator translates
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

TEST(Transport, DropsOctetsBehindTheDatagram) {
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

// A peer seals what it should not: authentic, and yet no packet.
TEST(Transport, IsATrailerFaultWhenNoWholePacketResults) {
  const auto aead = make_aead_libcrypto();
  const ExpandedKey key(*aead, key_of(0), 0);
  const auto fault = [&](bool ipv6_outside, uint8_t next_header, const Octets& inside) {
    Header header = header_of({true, false, false, false, 0, 0});
    header.next_header = next_header;
    return opened(*aead, key.get(), true, on_the_wire(ipv6_outside, specified_psp(header, {}, inside))).fault;
  };
  EXPECT_EQ(fault(false, 17, kDatagram), OpenFault::kNone);
  EXPECT_EQ(fault(true, 17, kDatagram), OpenFault::kNone);
  for (const bool ipv6_outside : {false, true}) {
    EXPECT_EQ(fault(ipv6_outside, 4, inner_packet(false)), OpenFault::kTrailer);
    EXPECT_EQ(fault(ipv6_outside, 41, inner_packet(true)), OpenFault::kTrailer);
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

TEST(Transport, OpensIntoTheRecordOfTheOuterPacket) {
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
