// SPDX-License-Identifier: Apache-2.0
// The outer headers of tunnel mode. modes_test.cc tests what is sealed payload them.
#include "psp/tunnel.h"

#include <gtest/gtest.h>

#include "sealing.h"

namespace psp::test {
namespace {

// Seals an inner packet with an outer header, without encryption.
Octets seal_with_outer(const Outer& outer, const Octets& inner) {
  const auto aead = make_aead_libcrypto();
  const ExpandedKey key(*aead, key_of(2), 2);
  const size_t headroom = tunnel_headroom(!is_ipv4(outer.source), false);
  Octets memory = join({Octets(headroom), inner, Octets(kIcvLength)});
  const Header header = header_of({false, false, false, false, 2, 0});
  EXPECT_EQ(seal_tunnel(*aead, key.get(), outer, read(inner), header, memory.data() + headroom),
            memory.data());
  return memory;
}

TEST(Tunnel, WritesAnOuterIpv4HeaderThatReadsBack) {
  const Octets wire = seal_with_outer(outer_of(false), inner_packet(true));
  const IpPacket packet = read(wire);
  EXPECT_EQ(packet.length, wire.size());
  EXPECT_EQ(packet.payload_offset, 20);
  EXPECT_EQ(packet.protocol, kProtocolUdp);
  EXPECT_EQ(packet.traffic_class, 0xb9) << "the inner packet's DSCP and ECN";
  EXPECT_EQ(load_u16(wire.data() + 4), 0) << "identification";
  EXPECT_EQ(load_u16(wire.data() + 6), 0x4000) << "don't fragment";
  EXPECT_EQ(wire[8], 64);
  EXPECT_EQ(packet.source, outer_of(false).source);
  EXPECT_EQ(packet.destination, outer_of(false).destination);
}

TEST(Tunnel, WritesAnOuterIpv6HeaderThatReadsBack) {
  const Octets wire = seal_with_outer(outer_of(true), inner_packet(false));
  const IpPacket packet = read(wire);
  EXPECT_EQ(packet.length, wire.size());
  EXPECT_EQ(packet.payload_offset, 40);
  EXPECT_EQ(packet.protocol, kProtocolUdp);
  EXPECT_EQ(packet.traffic_class, 0xb9);
  EXPECT_EQ(load_u32(wire.data()) & 0xfffff, 0u) << "flow label";
  EXPECT_EQ(wire[7], 64);
  EXPECT_EQ(packet.source, outer_of(true).source);
  EXPECT_EQ(packet.destination, outer_of(true).destination);
}

TEST(Tunnel, SetsTheOuterHopLimitAndKeepsTheInnerOne) {
  for (const bool outer_ipv6 : {false, true}) {
    for (const bool inner_ipv6 : {false, true}) {
      Outer outer = outer_of(outer_ipv6);
      outer.hop_limit = 7;
      const Octets inner = inner_packet(inner_ipv6);
      const Octets wire = seal_with_outer(outer, inner);
      read(wire);
      EXPECT_EQ(wire[outer_ipv6 ? 7 : 8], 7);
      EXPECT_EQ(hex(wire.data() + psp_offset(wire) + kHeaderLength, inner.size()), hex(inner));
    }
  }
}

TEST(Tunnel, CopiesOrFixesTheDscpAndAlwaysCopiesEcn) {
  for (const bool outer_ipv6 : {false, true}) {
    for (const bool inner_ipv6 : {false, true}) {
      for (uint32_t marks = 0; marks < 256; marks++) {
        Octets inner = inner_packet(inner_ipv6, 1);
        if (inner_ipv6) {
          store_u32(inner.data(), 0x60000000 | marks << 20);
        } else {
          inner[1] = static_cast<uint8_t>(marks);
          fix_ipv4_checksum(inner);
        }
        Outer outer = outer_of(outer_ipv6);
        ASSERT_EQ(read(seal_with_outer(outer, inner)).traffic_class, marks);
        for (const uint8_t dscp : {0, 46, 63}) {
          outer.dscp = dscp;
          ASSERT_EQ(read(seal_with_outer(outer, inner)).traffic_class, dscp << 2 | (marks & 3));
        }
      }
    }
  }
}

TEST(Tunnel, SendsAnIdentificationOnlyIfThePacketMayBeFragmented) {
  Outer outer = outer_of(false);
  outer.identification = 0x1234;
  EXPECT_EQ(load_u16(seal_with_outer(outer, inner_packet(false)).data() + 4), 0);
  outer.dont_fragment = false;
  const Octets wire = seal_with_outer(outer, inner_packet(false));
  EXPECT_FALSE(read(wire).fragment);
  EXPECT_EQ(load_u16(wire.data() + 4), 0x1234);
  EXPECT_EQ(load_u16(wire.data() + 6), 0);
}

TEST(Tunnel, RejectsPacketsThatExceedTheLengthFields) {
  const auto aead = make_aead_libcrypto();
  const ExpandedKey key(*aead, key_of(2), 2);
  for (const bool outer_ipv6 : {false, true}) {
    for (const bool cookie : {false, true}) {
      const size_t headroom = tunnel_headroom(outer_ipv6, cookie);
      const size_t max_length = 65535 - (outer_ipv6 ? 8 : 28) - 16 - (cookie ? 8 : 0) - 16;
      for (const size_t length : {max_length, max_length + 1}) {
        const Octets inner = ipv6(253, Octets(length - 40));
        Octets memory = join({Octets(headroom, 0xdb), inner, Octets(kIcvLength, 0xdb)});
        const Octets before = memory;
        const Header header = header_of({false, true, outer_ipv6, cookie, 2, 0});
        const uint8_t* start = seal_tunnel(*aead, key.get(), outer_of(outer_ipv6), read(inner), header,
                                           memory.data() + headroom);
        if (length > max_length) {
          EXPECT_EQ(start, nullptr);
          EXPECT_EQ(memory, before);
        } else {
          ASSERT_EQ(start, memory.data());
          EXPECT_TRUE(opened(*aead, key.get(), false, memory).good());
        }
      }
    }
  }
}

// A peer may seal octets that are no packet, or a packet other than its next header and lengths announce.
TEST(Tunnel, ReportsATrailerFaultWhenThePayloadIsNoPacket) {
  const auto aead = make_aead_libcrypto();
  const ExpandedKey key(*aead, key_of(0), 0);
  const auto fault = [&](uint8_t next_header, const Octets& payload) {
    Header header = header_of({false, false, false, false, 0, 0});
    header.next_header = next_header;
    return opened(*aead, key.get(), false, on_the_wire(false, specified_psp(header, {}, payload))).fault;
  };
  EXPECT_EQ(fault(4, inner_packet(false)), OpenFault::kNone);
  EXPECT_EQ(fault(41, inner_packet(true)), OpenFault::kNone);
  EXPECT_EQ(fault(41, inner_packet(false)), OpenFault::kTrailer);
  EXPECT_EQ(fault(4, inner_packet(true)), OpenFault::kTrailer);
  EXPECT_EQ(fault(59, {}), OpenFault::kTrailer);
  EXPECT_EQ(fault(4, {}), OpenFault::kTrailer);
  for (const bool inner_ipv6 : {false, true}) {
    const uint8_t next_header = inner_ipv6 ? 41 : 4;
    const Octets inner = inner_packet(inner_ipv6);
    EXPECT_EQ(fault(next_header, join({inner, Octets(1)})), OpenFault::kTrailer) << "longer than it says";
    EXPECT_EQ(fault(next_header, Octets(inner.begin(), inner.end() - 1)), OpenFault::kTrailer);
  }
}

}  // namespace
}  // namespace psp::test
