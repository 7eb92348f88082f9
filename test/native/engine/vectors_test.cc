// SPDX-License-Identifier: Apache-2.0
// The packets of test/vectors through the pipes of the engine: every combination of mode, families, version,
// cookie and kind of crypt offset. What a host sends leaves with the PSP octets of the row, which an
// implementation of its own made; what the row has on the wire reaches the host as it was, and not at all
// with one bit of it wrong.
#include <algorithm>
#include <regex>

#include "../psp/hex.h"
#include "../psp/vector_table.h"
#include "wire_frames.h"

namespace psp {
namespace {

using test::Row;
using test::unhex;

std::vector<Row> matrix() {
  static const std::regex kName("(tunnel_v[46]_in|transport)_v[46]_[0-3](_vc)?_offset[0-9]+");
  std::vector<Row> rows;
  for (const char* const table : {"test/vectors/tunnel.txt", "test/vectors/transport.txt"}) {
    for (const Row& row : test::read_table(table)) {
      if (row.at("direction") == "both" && std::regex_match(row.at("name"), kName)) rows.push_back(row);
    }
  }
  return rows;
}

uint64_t number(const Row& row, const char* key, int base) {
  return row.at(key) == test::kAbsent ? 0 : std::stoull(row.at(key), nullptr, base);
}

class EngineVector : public testing::TestWithParam<Row> {
 protected:
  const Row row = GetParam();
  const Mode mode = row.at("mode") == "tunnel" ? Mode::kTunnel : Mode::kTransport;
  const Frame clear = unhex(row.at("clear")), wire = unhex(row.at("sealed"));
  const bool ipv6 = clear[0] >> 4 == 6, outer_ipv6 = wire[0] >> 4 == 6;
  const uint32_t spi = static_cast<uint32_t>(number(row, "spi", 16));
  const uint8_t version = static_cast<uint8_t>(number(row, "version", 10));
  const uint64_t cookie = number(row, "cookie", 16);
  // Of the PSP header in the packet on the wire.
  const size_t psp = (outer_ipv6 ? 40 : 20) + 8;
  FlowKey hosts;

  EngineVector() {
    IpPacket packet;
    EXPECT_EQ(read_ip(clear.data(), clear.size(), &packet), IpFault::kNone);
    hosts = {packet.source, packet.destination};
  }

  // The gateway in front of `own`, whose peer has `far`.
  EngineConfig config_for(const Address& own, const Address& far, const Address& outer) const {
    const uint8_t bits = ipv6 ? 128 : 120;
    EngineConfig config = gateway_config();
    config.gateways = {};
    config.vips = {{own, bits}};
    config.peers = {{.vips = {{far, bits}}}};
    config.peers[0].mode = mode;
    config.peers[0].crypt_offset = static_cast<uint8_t>(number(row, "crypt_offset", 10));
    config.secured_address = {outer, static_cast<uint8_t>(is_ipv4(outer) ? 120 : 64)};
    return config;
  }
};

TEST_P(EngineVector, LeavesWithThePspOctetsOfTheRow) {
  const bool tunnel = mode == Mode::kTunnel;
  const Address own = tunnel ? test::address_of(row.at("outer_source")) : prefix("192.0.2.1/24").address;
  Gateway gateway(config_for(hosts.source, hosts.destination, own));
  EgressKey key;
  key.spi = spi;
  key.version = version;
  key.mode = mode;
  key.cookie = cookie;
  key.first_iv = number(row, "iv", 16);
  key.outer_destination =
      tunnel ? test::address_of(row.at("outer_destination")) : prefix("192.0.2.2/24").address;
  key.mac = kPeerMac;
  std::ranges::copy(unhex(row.at("key")), key.key.begin());
  ASSERT_EQ(gateway.install(hosts, key), InstallResult::kInstalled);
  gateway.turn();
  gateway.secured.sent.clear();
  gateway.host_sends(from_host(clear));
  ASSERT_EQ(gateway.secured.sent.size(), 1u);
  const Frame& frame = gateway.secured.sent[0];
  ASSERT_EQ(frame.size(), 14 + wire.size());
  EXPECT_EQ(test::hex(Frame(frame.begin() + 14 + static_cast<ptrdiff_t>(psp), frame.end())),
            test::hex(Frame(wire.begin() + static_cast<ptrdiff_t>(psp), wire.end())));
  gateway.expect_conservation();
}

TEST_P(EngineVector, ReachesTheHostAsItWasAndNotWithOneBitWrong) {
  const bool tunnel = mode == Mode::kTunnel;
  const Address own = tunnel ? test::address_of(row.at("outer_destination")) : prefix("192.0.2.1/24").address;
  Gateway gateway(config_for(hosts.destination, hosts.source, own));
  const Frame master = unhex(row.at(spi >> 31 ? "master1" : "master0"));
  gateway.rotate(slot_of(spi), std::span<const uint8_t, 32>(master));
  ASSERT_TRUE(gateway.admit(hosts, spi, version, cookie, mode));
  gateway.host_sends(ipv6 ? solicitation(kHostMac, "fd02::19", "fd01::a5")
                          : arp(true, kHostMac, "10.2.0.9", "10.1.0.5"));
  const auto got = [&](const Frame& packet) {
    gateway.unsecured.sent.clear();
    gateway.wire_sends(ethernet(kSecuredMac, kPeerMac, outer_ipv6 ? 0x86dd : 0x0800, packet));
    return std::vector<Frame>(gateway.unsecured.sent.begin(), gateway.unsecured.sent.end());
  };
  for (size_t bit = psp * 8; bit < wire.size() * 8; ++bit) {
    Frame wrong = wire;
    wrong[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    ASSERT_TRUE(got(wrong).empty()) << "octet " << bit / 8 - psp << " bit " << bit % 8;
  }
  EXPECT_EQ(gateway.value(Value::kRxPackets), 0u);
  EXPECT_GT(gateway.value(Value::kRxAuthFail), kIcvLength * 8);
  const std::vector<Frame> delivered = got(wire);
  ASSERT_EQ(delivered.size(), 1u);
  EXPECT_EQ(test::hex(ip_of(delivered[0])), test::hex(clear));
  EXPECT_EQ(gateway.value(Value::kRxPackets), 1u);
  gateway.expect_conservation();
}

TEST(EngineVectors, AreEveryCombination) {
  EXPECT_GE(matrix().size(), 120u);
}

INSTANTIATE_TEST_SUITE_P(Table, EngineVector, testing::ValuesIn(matrix()),
                         [](const auto& info) { return info.param.at("name"); });

}  // namespace
}  // namespace psp
