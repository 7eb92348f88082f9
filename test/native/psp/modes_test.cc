// SPDX-License-Identifier: Apache-2.0
// Both modes with every combination of version, families, cookie and crypt offset, and every AEAD: a sealed
// packet matches the specification, opens to the original, and does not open after any change.
#include <gtest/gtest.h>

#include <random>

#include "sealing.h"

namespace psp::test {
namespace {

// The header of a sealed packet according to the specification.
Header expected_header(const Axes& axes, size_t length_after_iv) {
  Header header = header_of(axes);
  header.next_header = axes.transport ? kProtocolUdp : axes.inner_ipv6 ? 41 : 4;
  header.crypt_offset = static_cast<uint8_t>(std::min<size_t>(axes.crypt_offset, length_after_iv / 4));
  return header;
}

Octets cookie_octets(const Axes& axes) {
  return axes.cookie ? unhex("c00c1e5500112233") : Octets{};
}

class Modes : public testing::TestWithParam<Axes> {};

TEST_P(Modes, SealAsSpecifiedAndOpenToTheOriginal) {
  const Axes& axes = GetParam();
  for (const size_t data : {0, 1, 15, 33, 1400}) {
    const Octets packet = inner_packet(axes.inner_ipv6, data);
    const size_t header_length = axes.transport ? read(packet).payload_offset : 0;
    const Octets payload(packet.begin() + static_cast<ptrdiff_t>(header_length), packet.end());
    const Header header = expected_header(axes, payload.size() + (axes.cookie ? 8 : 0));
    const std::string specified = hex(specified_psp(header, cookie_octets(axes), payload));
    for (const auto& aead : all_aeads()) {
      SCOPED_TRACE(aead->name());
      const ExpandedKey key(*aead, key_of(axes.version), axes.version);
      const Octets wire = sealed(*aead, key.get(), axes, packet);
      ASSERT_EQ(wire.size(),
                packet.size() + (axes.transport ? transport_overhead(axes.cookie)
                                                : tunnel_overhead(axes.outer_ipv6, axes.cookie)));
      ASSERT_EQ(hex(psp_of(wire)), specified);
      const Opened result = opened(*aead, key.get(), axes.transport, wire);
      ASSERT_TRUE(result.good());
      ASSERT_EQ(hex(result.packet), hex(packet));
      ASSERT_EQ(result.header.cookie, axes.cookie ? kTestCookie : 0);
    }
  }
}

TEST_P(Modes, RejectAnyFlippedBitFromThePspHeaderToTheIcv) {
  const Axes& axes = GetParam();
  const Octets packet = inner_packet(axes.inner_ipv6, 5);
  for (const auto& aead : all_aeads()) {
    const ExpandedKey key(*aead, key_of(axes.version), axes.version);
    const Octets wire = sealed(*aead, key.get(), axes, packet);
    ASSERT_TRUE(opened(*aead, key.get(), axes.transport, wire).good());
    for (size_t bit = psp_offset(wire) * 8; bit < wire.size() * 8; bit++) {
      Octets flipped = wire;
      flipped[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
      const Opened result = opened(*aead, key.get(), axes.transport, flipped);
      ASSERT_TRUE(result.header_fault != HeaderFault::kNone || result.fault == OpenFault::kIcv)
          << "bit " << bit - psp_offset(wire) * 8;
    }
  }
}

TEST_P(Modes, RejectEveryTruncation) {
  const Axes& axes = GetParam();
  const auto aead = make_aead_libcrypto();
  const ExpandedKey key(*aead, key_of(axes.version), axes.version);
  const Octets psp = psp_of(sealed(*aead, key.get(), axes, inner_packet(axes.inner_ipv6)));
  for (size_t length = 0; length < psp.size(); length++) {
    const Octets truncated(psp.begin(), psp.begin() + static_cast<ptrdiff_t>(length));
    const Opened result = opened(*aead, key.get(), axes.transport, on_the_wire(axes.outer_ipv6, truncated));
    ASSERT_TRUE(result.header_fault != HeaderFault::kNone || result.fault == OpenFault::kIcv) << length;
  }
}

TEST_P(Modes, EncryptExactlyTheOctetsAfterTheCryptOffset) {
  const Axes& axes = GetParam();
  const auto aead = make_aead_libcrypto();
  const ExpandedKey key(*aead, key_of(axes.version), axes.version);
  // Compares every word of the packet with the plaintext.
  const Octets packet = inner_packet(axes.inner_ipv6, 400);
  const Octets psp = psp_of(sealed(*aead, key.get(), axes, packet));
  const size_t header_length = axes.transport ? read(packet).payload_offset : 0;
  const Octets clear = join(
      {cookie_octets(axes), Octets(packet.begin() + static_cast<ptrdiff_t>(header_length), packet.end())});
  for (size_t word = 0; 4 * word + 4 <= clear.size(); word++) {
    const bool visible = std::equal(clear.begin() + static_cast<ptrdiff_t>(4 * word),
                                    clear.begin() + static_cast<ptrdiff_t>(4 * word + 4),
                                    psp.begin() + static_cast<ptrdiff_t>(kHeaderLength + 4 * word));
    ASSERT_EQ(visible, axes.version >= 2 || word < axes.crypt_offset) << "word " << word;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Modes, testing::ValuesIn(all_axes()),
                         [](const auto& info) { return info.param.name(); });

// All packet sizes that a host may send; all libraries produce the same octets.
TEST(AllSizes, SealTheSameInEveryLibraryAndOpen) {
  const auto aeads = all_aeads();
  for (const bool transport : {false, true}) {
    for (const uint8_t version : {0, 1, 2, 3}) {
      const Axes axes{transport, version % 2 == 0, version % 2 == 0, true, version, 0};
      std::vector<std::unique_ptr<ExpandedKey>> keys;
      for (const auto& aead : aeads)
        keys.push_back(std::make_unique<ExpandedKey>(*aead, key_of(version), version));
      const auto check = [&](size_t data) {
        Octets body(data);
        std::iota(body.begin(), body.end(), 3);
        const Octets packet = axes.inner_ipv6 ? ipv6(253, body) : ipv4(253, body);
        const Octets wire = sealed(*aeads[0], keys[0]->get(), axes, packet);
        for (size_t i = 0; i < aeads.size(); i++) {
          ASSERT_EQ(sealed(*aeads[i], keys[i]->get(), axes, packet), wire) << data;
          const Opened result = opened(*aeads[i], keys[i]->get(), transport, wire);
          ASSERT_TRUE(result.good()) << data;
          ASSERT_EQ(result.packet, packet) << data;
        }
      };
      for (size_t data = 0; data <= 2000; data++) check(data);
      for (const size_t data : {8959, 8960, 9000, 65000}) check(data);
    }
  }
}

TEST(Mode, IsNeverInferredFromTheNextHeader) {
  const auto aead = make_aead_libcrypto();
  for (const Axes& axes : all_axes()) {
    const ExpandedKey key(*aead, key_of(axes.version), axes.version);
    const Octets wire = sealed(*aead, key.get(), axes, inner_packet(axes.inner_ipv6));
    EXPECT_EQ(opened(*aead, key.get(), !axes.transport, wire).fault, OpenFault::kTrailer) << axes.name();
  }
}

// A peer may seal any octets.
TEST(SealedPayload, OfAnyContentStaysInsideItsMemory) {
  const auto aead = make_aead_libcrypto();
  std::mt19937 random(7);
  size_t good = 0, trailers = 0;
  const Octets seeds[] = {inner_packet(false), inner_packet(true),
                          ipv6(kRouting, join({extension(kHopByHop, 24), Octets(8)}))};
  for (int round = 0; round < 20000; round++) {
    const bool transport = random() % 2, outer_ipv6 = random() % 2;
    Header header =
        header_of({transport, false, outer_ipv6, random() % 2 == 0, static_cast<uint8_t>(random() % 4), 0});
    constexpr uint8_t kNext[] = {0, 4, 41, 43, 44, 50, 51, 59, 60, 6, 17};
    header.next_header = kNext[random() % std::size(kNext)];
    Octets extension_words((header.has_cookie ? 8 : 0) + 8 * (random() % 4));
    Octets payload = seeds[random() % 3];
    for (size_t changes = random() % 4; changes > 0; changes--)
      payload[random() % payload.size()] = static_cast<uint8_t>(random());
    payload.resize(random() % (payload.size() + 1) + random() % 2);
    const size_t length_after_iv = extension_words.size() + payload.size();
    if (header.version < 2)
      header.crypt_offset = static_cast<uint8_t>(random() % std::min<size_t>(64, length_after_iv / 4 + 1));
    const ExpandedKey key(*aead, key_of(header.version), header.version);
    const Opened result = opened(*aead, key.get(), transport,
                                 on_the_wire(outer_ipv6, specified_psp(header, extension_words, payload)));
    ASSERT_EQ(result.header_fault, HeaderFault::kNone);
    ASSERT_NE(result.fault, OpenFault::kIcv);
    good += result.good();
    trailers += result.fault == OpenFault::kTrailer;
    if (!result.good()) continue;
    const IpPacket packet = read(result.packet);
    ASSERT_EQ(packet.length, result.packet.size());
    TransportLayout layout;
    if (read_transport_layout(packet, result.packet.data(), &layout) == TransportFault::kNone) {
      ASSERT_LE(layout.header_length, packet.payload_offset);
    }
  }
  EXPECT_GT(good, 1000u);
  EXPECT_GT(trailers, 1000u);
}

TEST(RandomPackets, DoNotOpen) {
  const auto aead = make_aead_libcrypto();
  std::mt19937 random(5);
  size_t reached = 0;
  const ExpandedKey key(*aead, key_of(0), 0);
  for (int round = 0; round < 50000; round++) {
    Octets psp(random() % 300);
    for (uint8_t& octet : psp) octet = static_cast<uint8_t>(random());
    if (psp.size() > 3) psp[1] %= 8;
    const Opened result = opened(*aead, key.get(), round % 2, on_the_wire(round % 4 > 1, psp));
    ASSERT_TRUE(result.header_fault != HeaderFault::kNone || result.fault == OpenFault::kIcv);
    reached += result.fault == OpenFault::kIcv;
  }
  EXPECT_GT(reached, 5000u);
}

// Extension words that this implementation does not use: they are authenticated, encrypted after the crypt
// offset, and skipped.
TEST(ExtensionWords, AreSkippedInEveryVersionAndMode) {
  const auto aead = make_aead_libcrypto();
  for (const uint8_t version : {0, 1, 2, 3}) {
    for (const bool transport : {false, true}) {
      for (const bool cookie : {false, true}) {
        for (const size_t words : {1, 2, 29}) {
          for (const int offset : {0, 1, 3, 4, 7, 12}) {
            const Axes axes{transport, transport, true, cookie, version, 0};
            const Octets packet = inner_packet(axes.inner_ipv6);
            const Octets payload(packet.begin() + (transport ? 40 : 0), packet.end());
            Header header = expected_header(axes, 0);
            header.crypt_offset = static_cast<uint8_t>(offset);
            const Octets extension_words = join({cookie_octets(axes), Octets(8 * words, 0x77)});
            const Octets psp = specified_psp(header, extension_words, payload);
            const ExpandedKey key(*aead, key_of(version), version);
            // In transport mode the IP header on the wire is that of the inner packet.
            Octets wire = on_the_wire(true, psp);
            const Opened result = opened(*aead, key.get(), transport, wire);
            ASSERT_TRUE(result.good());
            ASSERT_EQ(hex(result.packet), hex(packet));
            ASSERT_EQ(result.header.cookie, cookie ? kTestCookie : 0);
            wire[psp_offset(wire) + kHeaderLength + extension_words.size() - 1] ^= 1;
            ASSERT_EQ(opened(*aead, key.get(), transport, wire).fault, OpenFault::kIcv);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace psp::test
