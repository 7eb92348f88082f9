// SPDX-License-Identifier: Apache-2.0
// Code that both modes share: the limits of the crypt offset, UDP checksums against a separate
// implementation, and counted octets.
#include "psp/encapsulation.h"

#include <gtest/gtest.h>

#include "sealing.h"

namespace psp::test {
namespace {

// The UDP checksum of a packet, computed directly from RFC 768 and RFC 8200 section 8.1.
uint16_t plain_udp_checksum(const Octets& wire) {
  const IpPacket packet = read(wire);
  const size_t addresses = packet.version == 4 ? 12 : 8, at = packet.payload_offset;
  Octets summed(wire.begin() + static_cast<ptrdiff_t>(addresses),
                wire.begin() + (packet.version == 4 ? 20 : 40));
  const size_t length = load_u16(wire.data() + at + 4);
  summed = join({summed, Octets{0, 17, static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length)},
                 Octets(wire.begin() + static_cast<ptrdiff_t>(at),
                        wire.begin() + static_cast<ptrdiff_t>(at + length))});
  store_u16(summed.data() + summed.size() - length + 6, 0);
  const uint16_t checksum = plain_checksum(summed);
  return checksum == 0 ? 0xffff : checksum;
}

uint16_t checksum_of(const Octets& wire) {
  return load_u16(wire.data() + read(wire).payload_offset + 6);
}

TEST(UdpChecksum, IsZeroUnlessRequested) {
  const auto aead = make_aead_libcrypto();
  for (const Axes& axes : all_axes()) {
    const ExpandedKey key(*aead, key_of(axes.version), axes.version);
    const Octets wire = sealed(*aead, key.get(), axes, inner_packet(axes.inner_ipv6));
    const uint8_t* udp = wire.data() + psp_offset(wire) - 8;
    EXPECT_EQ(load_u16(udp), kTestUdpSource);
    EXPECT_EQ(load_u16(udp + 2), 1000);
    EXPECT_EQ(load_u16(udp + 4), psp_of(wire).size() + 8);
    EXPECT_EQ(load_u16(udp + 6), 0);
    EXPECT_TRUE(udp_checksum_ok(read(wire), wire.data()));
  }
}

TEST(UdpChecksum, MatchesTheReferenceForBothFamiliesAndModesAndAnyLength) {
  const auto aead = make_aead_libcrypto();
  for (const Axes& axes : all_axes()) {
    const ExpandedKey key(*aead, key_of(axes.version), axes.version);
    for (const size_t data : {0, 1, 2, 3, 33, 1400}) {
      const Octets wire =
          sealed(*aead, key.get(), axes, inner_packet(axes.inner_ipv6, data), header_of(axes), true);
      ASSERT_EQ(checksum_of(wire), plain_udp_checksum(wire)) << axes.name() << " " << data;
      ASSERT_TRUE(udp_checksum_ok(read(wire), wire.data()));
      ASSERT_TRUE(opened(*aead, key.get(), axes.transport, wire).good());
    }
  }
}

TEST(UdpChecksum, FailsWithAnyFlippedBitOfTheDatagram) {
  const auto aead = make_aead_libcrypto();
  const Axes axes{false, false, true, false, 0, 0};
  const ExpandedKey key(*aead, key_of(0), 0);
  const Octets wire = sealed(*aead, key.get(), axes, inner_packet(false), header_of(axes), true);
  for (size_t bit = 40 * 8; bit < wire.size() * 8; bit++) {
    if (bit / 8 == 44 || bit / 8 == 45) continue;  // the UDP length
    Octets flipped = wire;
    flipped[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    ASSERT_FALSE(udp_checksum_ok(read(flipped), flipped.data())) << bit;
  }
}

TEST(UdpChecksum, IsWrittenAsAllOnesWhenItIsZero) {
  for (const bool outer_ipv6 : {false, true}) {
    Octets wire = on_the_wire(outer_ipv6, Octets(40, 0x5a));
    const IpPacket packet = read(wire);
    uint8_t* const udp = wire.data() + packet.payload_offset;
    int all_ones = 0;
    for (uint32_t port = 0; port <= 0xffff; port++) {
      store_u16(udp, static_cast<uint16_t>(port));
      write_udp_checksum(packet.source, packet.destination, udp);
      ASSERT_NE(load_u16(udp + 6), 0);
      all_ones += load_u16(udp + 6) == 0xffff;
      if (load_u16(udp + 6) == 0xffff) {
        ASSERT_TRUE(udp_checksum_ok(packet, wire.data()));
      }
    }
    EXPECT_GE(all_ones, 1) << "one source port makes the sum come out as zero";
  }
}

TEST(UdpChecksum, IsWrongWhenTheUdpLengthIsImpossible) {
  for (const bool outer_ipv6 : {false, true}) {
    const Octets wire = on_the_wire(outer_ipv6, Octets(40));
    const size_t udp = read(wire).payload_offset;
    for (const int length : {0, 7, 49, 0xffff}) {
      Octets changed = wire;
      store_u16(changed.data() + udp + 4, static_cast<uint16_t>(length));
      EXPECT_FALSE(udp_checksum_ok(read(changed), changed.data())) << length;
    }
    for (size_t available = 0; available < 8; available++) {
      const Octets runt =
          outer_ipv6 ? ipv6(kProtocolUdp, Octets(available)) : ipv4(kProtocolUdp, Octets(available));
      EXPECT_FALSE(udp_checksum_ok(read(runt), runt.data())) << available;
    }
  }
}

// Seals a PSP packet with `length` octets of payload and the given crypt offset.
Octets with_offset(uint8_t version, bool cookie, uint8_t offset, size_t length) {
  const auto aead = make_aead_libcrypto();
  const ExpandedKey key(*aead, key_of(version), version);
  const size_t headroom = encapsulation_headroom(cookie);
  Octets memory(headroom + length + kIcvLength);
  Header header = header_of({true, false, false, cookie, version, offset});
  AeadJob job;
  EXPECT_EQ(lay_out_payload(key.get(), 1, &header, memory.data() + headroom, length, &job), memory.data());
  aead->seal(job);
  return Octets(memory.begin() + kUdpHeaderLength, memory.end());
}

TEST(CryptOffset, IsLimitedToThePayloadOnSend) {
  for (const uint8_t version : {0, 1}) {
    for (const bool cookie : {false, true}) {
      for (size_t length = 0; length <= 300; length++) {
        const size_t max_offset = std::min<size_t>(63, (length + (cookie ? 8 : 0)) / 4);
        for (const size_t requested : {size_t{0}, max_offset, max_offset + 1, size_t{63}}) {
          const Octets psp =
              with_offset(version, cookie, static_cast<uint8_t>(std::min<size_t>(requested, 63)), length);
          ASSERT_EQ(psp[2], std::min(requested, max_offset)) << length;
          Octets copy = psp;
          Header header;
          ASSERT_EQ(read_header(copy.data(), copy.size(), &header), HeaderFault::kNone);
          const auto aead = make_aead_libcrypto();
          const ExpandedKey key(*aead, key_of(version), version);
          AeadJob job;
          lay_out_opening(key.get(), header, copy.data(), copy.size(), &job);
          ASSERT_TRUE(aead->open(job));
        }
      }
    }
  }
}

TEST(CryptOffset, IsSentAsZeroAndIgnoredOnReceiptWithoutEncryption) {
  const auto aead = make_aead_libcrypto();
  for (const uint8_t version : {2, 3}) {
    for (const uint8_t offset : {1, 9, 63}) {
      EXPECT_EQ(with_offset(version, true, offset, 20)[2], 0);
      Header header = header_of({false, false, false, false, version, offset});
      header.next_header = 4;
      const Octets packet = inner_packet(false);
      const ExpandedKey key(*aead, key_of(version), version);
      const Opened result =
          opened(*aead, key.get(), false, on_the_wire(false, specified_psp(header, {}, packet)));
      ASSERT_TRUE(result.good());
      EXPECT_EQ(result.packet, packet);
    }
  }
}

TEST(SealedPayloadOctets, AreCountedFromTheEndOfTheIvToTheEndOfThePayload) {
  for (const bool cookie : {false, true}) {
    const Octets psp = with_offset(0, cookie, 0, 100);
    EXPECT_EQ(sealed_payload_octets(psp.size()), cookie ? 108 : 100);
    EXPECT_EQ(sealed_payload_octets(100, cookie), cookie ? 108 : 100);
  }
}

}  // namespace
}  // namespace psp::test
