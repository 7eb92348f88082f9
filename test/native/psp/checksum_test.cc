// SPDX-License-Identifier: Apache-2.0
// Checksums against a direct implementation of the RFC.
#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "ip_build.h"

namespace psp::test {
namespace {

Octets tcp(const Octets& payload) {
  Octets segment = join({Octets(20), payload});
  segment[0] = 0x9c;
  segment[3] = 80;
  segment[12] = 0x50;
  return segment;
}

size_t field_of(const IpPacket& packet) {
  return packet.payload_offset + (packet.protocol == kProtocolTcp ? 16u : 6u);
}

Octets pseudo_header(const IpPacket& packet) {
  const uint32_t length = packet.length - packet.payload_offset;
  const size_t skip = packet.version == 4 ? 12 : 0;
  Octets octets(packet.source.begin() + static_cast<ptrdiff_t>(skip), packet.source.end());
  octets.insert(octets.end(), packet.destination.begin() + static_cast<ptrdiff_t>(skip),
                packet.destination.end());
  Octets rest(8);
  store_u32(rest.data(), length);
  rest[7] = packet.protocol;
  return join({octets, rest});
}

// The correct value of the field according to the RFC, computed with the field as zero.
uint16_t correct_checksum(const IpPacket& packet, Octets octets) {
  store_u16(octets.data() + field_of(packet), 0);
  const Octets layer4(octets.begin() + packet.payload_offset, octets.begin() + packet.length);
  const uint16_t sum = plain_checksum(join({pseudo_header(packet), layer4}));
  return packet.protocol == kProtocolUdp && sum == 0 ? 0xffff : sum;
}

// Writes the partial checksum that a host leaves to its interface.
void make_partial(const IpPacket& packet, Octets& octets) {
  store_u16(octets.data() + field_of(packet), static_cast<uint16_t>(~plain_checksum(pseudo_header(packet))));
}

TEST(Checksum, EqualsThePlainSumAtEveryLengthAndAlignment) {
  std::mt19937 random(3);
  Octets memory(3000);
  for (uint8_t& octet : memory) octet = static_cast<uint8_t>(random());
  for (size_t start = 0; start < 9; start++) {
    for (size_t length = 0; length < 2900; length += length < 80 ? 1 : 97) {
      const auto from = memory.begin() + static_cast<ptrdiff_t>(start);
      ASSERT_EQ(checksum_fold(checksum_add(memory.data() + start, length, 0)),
                plain_checksum(Octets(from, from + static_cast<ptrdiff_t>(length))))
          << start << " " << length;
    }
  }
  const Octets ones(65535, 0xff);
  EXPECT_EQ(checksum_fold(checksum_add(ones.data(), ones.size(), 0xffffffff)),
            checksum_fold(checksum_add(ones.data(), ones.size(), 0)));
}

TEST(Checksum, IsTheSameInOnePartAndInMany) {
  Octets memory(1500);
  std::iota(memory.begin(), memory.end(), 0);
  uint32_t sum = 0;
  for (size_t i = 0; i < memory.size(); i += 6) sum = checksum_add(memory.data() + i, 6, sum);
  EXPECT_EQ(checksum_fold(sum), plain_checksum(memory));
}

TEST(Checksum, CompletesAChecksumThatAHostLeftToItsInterface) {
  for (size_t length = 0; length < 64; length++) {
    Octets data(length);
    std::iota(data.begin(), data.end(), 200);
    for (Octets octets : {ipv4(kProtocolTcp, tcp(data)), ipv4(kProtocolUdp, udp(7, 8, data), 8),
                          ipv6(kProtocolTcp, tcp(data)), ipv6(kProtocolUdp, udp(7, 8, data)),
                          ipv6(kDestinationOptions, join({extension(kProtocolTcp, 16), tcp(data)}))}) {
      const IpPacket packet = read(octets);
      make_partial(packet, octets);
      octets.resize(octets.size() + 6, 0xaa);  // link padding is not included
      ASSERT_TRUE(complete_checksum(packet, octets.data()));
      ASSERT_EQ(load_u16(octets.data() + field_of(packet)), correct_checksum(packet, octets)) << hex(octets);
    }
  }
}

TEST(Checksum, WritesAUdpChecksumOfZeroAsAllOnes) {
  Octets octets = ipv4(kProtocolUdp, udp(7, 8, Octets(2)));
  const IpPacket packet = read(octets);
  // Data for which the sum is all ones.
  store_u16(octets.data() + packet.length - 2, correct_checksum(packet, octets));
  make_partial(packet, octets);
  ASSERT_TRUE(complete_checksum(packet, octets.data()));
  EXPECT_EQ(load_u16(octets.data() + field_of(packet)), 0xffff);
}

TEST(Checksum, LeavesAUdpPacketWithoutChecksumAlone) {
  for (const Octets& octets :
       {ipv4(kProtocolUdp, udp(7, 8, Octets(9))), ipv6(kProtocolUdp, udp(7, 8, Octets(9)))}) {
    Octets copy = octets;
    EXPECT_FALSE(complete_checksum(read(copy), copy.data()));
    EXPECT_EQ(copy, octets);
  }
}

TEST(Checksum, LeavesCorrectAndWrongChecksumsAlone) {
  for (const uint16_t error : {0, 1}) {
    Octets octets = ipv6(kProtocolTcp, tcp(Octets(100, 0x31)));
    const IpPacket packet = read(octets);
    store_u16(octets.data() + field_of(packet),
              static_cast<uint16_t>(correct_checksum(packet, octets) + error));
    const Octets before = octets;
    EXPECT_FALSE(complete_checksum(packet, octets.data()));
    EXPECT_EQ(octets, before);
  }
}

TEST(Checksum, KeepsACorrectChecksumThatLooksPartial) {
  // Among all values of two octets of data there is one whose correct checksum equals the pseudo-header sum.
  Octets octets = ipv4(kProtocolTcp, tcp(Octets(2)));
  const IpPacket packet = read(octets);
  make_partial(packet, octets);
  const uint16_t partial = load_u16(octets.data() + field_of(packet));
  uint32_t value = 0;
  while (value < 0x10000 && correct_checksum(packet, octets) != partial) {
    store_u16(octets.data() + packet.length - 2, static_cast<uint16_t>(value++));
  }
  ASSERT_EQ(correct_checksum(packet, octets), partial);
  complete_checksum(packet, octets.data());
  EXPECT_EQ(load_u16(octets.data() + field_of(packet)), partial);
}

TEST(Checksum, LooksPartialExactlyWhenTheFieldIsTheFoldedPseudoHeader) {
  std::mt19937 random(6);
  size_t all_ones = 0;
  for (int round = 0; round < 20000; ++round) {
    Octets octets = ipv4(kProtocolUdp, udp(1, 2, Octets(round % 40)));
    for (size_t i = 12; i < 20; ++i) octets[i] = static_cast<uint8_t>(random() % 3 == 0 ? 0xff : random());
    if (round % 4 == 0) {
      // Completes the sum so that it folds to 0xffff, whose complement is 0.
      store_u16(&octets[18], 0);
      fix_ipv4_checksum(octets);
      store_u16(&octets[18], plain_checksum(pseudo_header(read(octets))));
    }
    fix_ipv4_checksum(octets);
    const IpPacket packet = read(octets);
    const auto partial = static_cast<uint16_t>(~plain_checksum(pseudo_header(packet)));
    all_ones += partial == 0xffff;
    for (const uint16_t field : {partial, static_cast<uint16_t>(~partial), static_cast<uint16_t>(partial + 1),
                                 static_cast<uint16_t>(random()), uint16_t{0}, uint16_t{0xffff}}) {
      store_u16(octets.data() + field_of(packet), field);
      ASSERT_EQ(looks_partial(packet, octets.data()), field == partial) << hex(octets);
    }
  }
  EXPECT_GT(all_ones, 4000u);
}

TEST(Checksum, LeavesFragmentsAndOtherProtocolsAlone) {
  Octets octets = ipv4(kProtocolUdp, udp(7, 8, Octets(16)));
  make_partial(read(octets), octets);
  store_u16(octets.data() + 6, 0x2000);
  fix_ipv4_checksum(octets);
  EXPECT_FALSE(complete_checksum(read(octets), octets.data()));
  octets = ipv4(kProtocolIcmp, Octets(40));
  EXPECT_FALSE(complete_checksum(read(octets), octets.data()));
}

TEST(Checksum, LeavesAUdpLengthThatDisagreesWithThePacketAlone) {
  for (const uint16_t length : {0, 7, 15, 25}) {
    Octets octets = ipv4(kProtocolUdp, udp(7, 8, Octets(16)));
    make_partial(read(octets), octets);
    store_u16(octets.data() + 24, length);
    EXPECT_FALSE(complete_checksum(read(octets), octets.data())) << length;
  }
}

TEST(Checksum, LeavesSegmentsAloneThatAreTooShortForAChecksum) {
  for (size_t length = 0; length < 18; length++) {
    Octets octets = ipv4(kProtocolTcp, Octets(length));
    const IpPacket packet = read(octets);
    octets.resize(octets.size() + 18);
    make_partial(packet, octets);  // partly or completely outside the packet
    EXPECT_FALSE(complete_checksum(packet, octets.data())) << length;
  }
}

}  // namespace
}  // namespace psp::test
