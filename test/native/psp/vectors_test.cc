// SPDX-License-Identifier: Apache-2.0
// Seals and opens the packets of test/vectors/{tunnel,transport}.txt with every AEAD, and flips each of their
// bits. test/vectors/packets.test.ts does the same with an independent implementation.
#include <gtest/gtest.h>

#include <algorithm>

#include "hex.h"
#include "psp/master_key.h"
#include "psp/mode.h"
#include "psp/octets.h"
#include "psp/transport.h"
#include "psp/tunnel.h"
#include "vector_table.h"

namespace psp::test {
namespace {

uint64_t number(const Row& row, const char* key, int base = 10) {
  return std::stoull(row.at(key), nullptr, base);
}

bool is_absent(const Row& row, const char* key) {
  return row.at(key) == kAbsent;
}

Mode mode_of(const Row& row) {
  return row.at("mode") == "tunnel" ? Mode::kTunnel : Mode::kTransport;
}

Header header_of(const Row& row) {
  Header header;
  header.version = static_cast<uint8_t>(number(row, "version"));
  header.spi = static_cast<uint32_t>(number(row, "spi", 16));
  header.iv = number(row, "iv", 16);
  header.crypt_offset = static_cast<uint8_t>(number(row, "crypt_offset"));
  header.sample = row.at("sample") == "1";
  header.drop = row.at("drop") == "1";
  header.has_cookie = !is_absent(row, "cookie");
  if (header.has_cookie) header.cookie = number(row, "cookie", 16);
  return header;
}

Outer outer_of(const Row& row) {
  Outer outer;
  outer.source = address_of(row.at("outer_source"));
  outer.destination = address_of(row.at("outer_destination"));
  outer.hop_limit = static_cast<uint8_t>(number(row, "hop_limit"));
  if (!is_absent(row, "dscp")) outer.dscp = static_cast<uint8_t>(number(row, "dscp"));
  outer.dont_fragment = row.at("dont_fragment") == "1";
  outer.identification = static_cast<uint16_t>(number(row, "identification"));
  outer.udp_source = static_cast<uint16_t>(number(row, "udp_source"));
  outer.udp_checksum = row.at("udp_checksum") == "computed";
  return outer;
}

// The receiver of a row: its master keys and mode.
struct Receiver {
  explicit Receiver(const Row& row)
      : octets{unhex(row.at("master0")), unhex(row.at("master1"))},
        masters{MasterKey(std::span<const uint8_t, 32>(octets[0])),
                MasterKey(std::span<const uint8_t, 32>(octets[1]))},
        mode(mode_of(row)) {}

  Octets key(uint32_t spi, uint8_t version) const {
    Octets key(key_length(version));
    masters[slot_of(spi)].derive(spi, version, key.data());
    return key;
  }

  const Octets octets[2];
  const MasterKey masters[2];
  const Mode mode;
};

struct Opened {
  std::string verdict;  // as the table names them
  Header header;
  uint16_t udp_source = 0;
  Octets packet;
};

// Opens a packet from the wire and returns the verdict.
Opened open(const Aead& aead, const Receiver& receiver, Octets wire) {
  Opened opened;
  const auto refused = [&](const char* verdict) {
    opened.verdict = verdict;
    return opened;
  };
  IpPacket outer;
  if (read_ip(wire.data(), wire.size(), &outer) != IpFault::kNone || outer.protocol != kProtocolUdp ||
      outer.fragment || !udp_checksum_ok(outer, wire.data())) {
    return refused("udp");
  }
  uint8_t* const udp = wire.data() + outer.payload_offset;
  uint8_t* const payload = udp + kUdpHeaderLength;
  const size_t length = load_u16(udp + 4) - kUdpHeaderLength;
  opened.udp_source = load_u16(udp);

  Header& header = opened.header;
  switch (read_header(payload, length, &header)) {
    case HeaderFault::kTruncated:
      return refused("truncated");
    case HeaderFault::kMalformed:
      return refused("malformed");
    case HeaderFault::kCryptOffset:
      return refused("crypt_offset");
    case HeaderFault::kNone:
      break;
  }
  if (!is_known_version(header.version)) return refused("version");

  const ExpandedKey key(aead, receiver.key(header.spi, header.version), header.version);
  uint8_t* inner = nullptr;
  IpPacket packet;
  const OpenFault fault =
      receiver.mode == Mode::kTunnel
          ? open_tunnel(aead, key.get(), &header, payload, length, &inner, &packet)
          : open_transport(aead, key.get(), &header, outer, wire.data(), length, &inner, &packet);
  if (fault == OpenFault::kIcv) return refused("icv");
  if (fault == OpenFault::kTrailer) return refused("trailer");
  opened.packet.assign(inner, inner + packet.length);
  opened.verdict = "opened";
  return opened;
}

std::vector<Row> all_rows() {
  std::vector<Row> rows = read_table("test/vectors/tunnel.txt");
  std::ranges::copy(read_table("test/vectors/transport.txt"), std::back_inserter(rows));
  return rows;
}

std::vector<Row> sent_rows() {
  std::vector<Row> rows = all_rows();
  std::erase_if(rows, [](const Row& row) { return row.at("direction") == "open"; });
  return rows;
}

// Rows that open, without those so long that testing every bit takes too long.
std::vector<Row> opened_rows() {
  std::vector<Row> rows = all_rows();
  std::erase_if(rows, [](const Row& row) {
    return row.at("verdict") != "opened" || row.at("sealed").size() > 2 * 1000;
  });
  return rows;
}

class PacketVector : public testing::TestWithParam<Row> {};
class SentPacketVector : public testing::TestWithParam<Row> {};
class VectorBits : public testing::TestWithParam<Row> {};

TEST_P(PacketVector, DerivesItsKey) {
  const Row& row = GetParam();
  const Header header = header_of(row);
  EXPECT_EQ(hex(Receiver(row).key(header.spi, header.version)), row.at("key"));
}

// Seals the packet of a row with this header, in memory of exactly its length. Returns nothing if it cannot
// be sealed.
Octets seal(const Aead& aead, const Row& row, const Header& header) {
  const Octets clear = unhex(row.at("clear"));
  const ExpandedKey key(aead, unhex(row.at("key")), header.version);
  IpPacket packet;
  if (read_ip(clear.data(), clear.size(), &packet) != IpFault::kNone) return {};
  const bool tunnel = mode_of(row) == Mode::kTunnel;
  const size_t headroom = tunnel ? tunnel_headroom(!is_ipv4(outer_of(row).source), header.has_cookie)
                                 : transport_headroom(header.has_cookie);
  Octets memory(headroom + clear.size() + kIcvLength, 0xa5);
  uint8_t* const inner = memory.data() + headroom;
  std::ranges::copy(clear, inner);
  const uint8_t* start = nullptr;
  if (tunnel) {
    start = seal_tunnel(aead, key.get(), outer_of(row), packet, header, inner);
  } else {
    TransportLayout layout;
    if (read_transport_layout(packet, clear.data(), &layout) != TransportFault::kNone) return {};
    start = seal_transport(aead, key.get(), layout, static_cast<uint16_t>(number(row, "udp_source")),
                           row.at("udp_checksum") == "computed", header, inner);
  }
  return start == memory.data() ? memory : Octets();
}

TEST_P(SentPacketVector, SealsToTheSameOctets) {
  const Row& row = GetParam();
  Header header = header_of(row);
  for (const auto& aead : all_aeads()) {
    SCOPED_TRACE(aead->name());
    EXPECT_EQ(hex(seal(*aead, row, header)), row.at("sealed"));
  }
  if (is_encrypting(header.version)) return;
  header.crypt_offset = 1;  // reserved in this version: sent as 0
  EXPECT_EQ(hex(seal(*make_aead_libcrypto(), row, header)), row.at("sealed"));
}

TEST_P(PacketVector, OpensToItsVerdict) {
  const Row& row = GetParam();
  const Header expected = header_of(row);
  for (const auto& aead : all_aeads()) {
    SCOPED_TRACE(aead->name());
    const Opened opened = open(*aead, Receiver(row), unhex(row.at("sealed")));
    ASSERT_EQ(opened.verdict, row.at("verdict"));
    if (opened.verdict != "opened") continue;
    EXPECT_EQ(hex(opened.packet), row.at("clear"));
    EXPECT_EQ(opened.udp_source, number(row, "udp_source"));
    EXPECT_EQ(opened.header.spi, expected.spi);
    EXPECT_EQ(opened.header.iv, expected.iv);
    EXPECT_EQ(opened.header.sample, expected.sample);
    EXPECT_EQ(opened.header.drop, expected.drop);
    EXPECT_EQ(opened.header.has_cookie, expected.has_cookie);
    EXPECT_EQ(opened.header.cookie, expected.cookie);
    EXPECT_EQ(opened.header.crypt_offset, expected.crypt_offset);
  }
}

TEST_P(VectorBits, EveryFlippedBitIsRejected) {
  const Row& row = GetParam();
  const Octets wire = unhex(row.at("sealed"));
  IpPacket outer;
  ASSERT_EQ(read_ip(wire.data(), wire.size(), &outer), IpFault::kNone);
  const size_t psp = outer.payload_offset + kUdpHeaderLength;
  const size_t end = outer.payload_offset + load_u16(&wire[outer.payload_offset + size_t{4}]);
  const Receiver receiver(row);
  for (const auto& aead : all_aeads()) {
    SCOPED_TRACE(aead->name());
    ASSERT_EQ(open(*aead, receiver, wire).verdict, "opened");
    for (size_t bit = psp * 8; bit < end * 8; bit++) {
      Octets wrong = wire;
      wrong[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
      EXPECT_NE(open(*aead, receiver, wrong).verdict, "opened")
          << "octet " << bit / 8 - psp << ", bit " << bit % 8;
    }
  }
}

const auto name_of = [](const testing::TestParamInfo<Row>& info) { return info.param.at("name"); };
INSTANTIATE_TEST_SUITE_P(Table, PacketVector, testing::ValuesIn(all_rows()), name_of);
INSTANTIATE_TEST_SUITE_P(Table, SentPacketVector, testing::ValuesIn(sent_rows()), name_of);
INSTANTIATE_TEST_SUITE_P(Table, VectorBits, testing::ValuesIn(opened_rows()), name_of);

}  // namespace
}  // namespace psp::test
