// SPDX-License-Identifier: Apache-2.0
// Hosts whose MTU is smaller than that of the hosts behind the peer: what fits no longer once it is opened is
// fragmented, or its source receives an ICMP error through the tunnel.
#include "engine/ip/oversize.h"
#include "lcores.h"
#include "wire_frames.h"

namespace psp {
namespace {

constexpr uint16_t kHostsMtu = 1400, kWireMtu = 9200;
constexpr uint32_t kSpi = 17, kBackSpi = 5;

struct FarMtuCase {
  Mode mode;
  bool ipv6;
};

EngineConfig far_config(Mode mode) {
  EngineConfig config = gateway_config();
  config.peers[0].mode = mode;
  return config;
}

// Packets of host .7 behind the peer to our host .5, whose answers are keyed.
struct FarMtu : Gateway {
  explicit FarMtu(const FarMtuCase& axes, uint16_t hosts_mtu = kHostsMtu, uint16_t wire_mtu = kWireMtu)
      : Gateway(far_config(axes.mode), hosts_mtu, wire_mtu),
        inbound(axes.ipv6 ? flow("fd00:2::7", "fd00:1::5") : flow("10.2.0.7", "10.1.0.5")),
        key(mode_key(kSpi, 0, axes.mode)),
        back(egress_key(kBackSpi)) {
    back.mode = axes.mode;
    if (axes.mode == Mode::kTransport) back.outer_destination = address("192.0.2.2");
    know_next_hop();
    know_host(axes.ipv6 ? "fd00:1::5" : "10.1.0.5");
    admit(inbound, kSpi, 0, 0, axes.mode);
    sources = axes.ipv6 ? "fd00:2::7" : "10.2.0.7";
    destinations = axes.ipv6 ? "fd00:1::5" : "10.1.0.5";
  }
  Frame packet(size_t length) const {
    const Frame plain = long_packet(sources, destinations, length);
    return plain[0] >> 4 == 4 ? with_df(plain) : plain;
  }
  void peer_sends(const Frame& inner) {
    secured.sent.clear();
    unsecured.sent.clear();
    wire_sends(on_wire(key, inner));
  }

  FlowKey inbound;
  EgressKey key, back;
  std::string sources, destinations;
};

// An ICMP error as it reached the host that sent the packet.
void expect_error(const Frame& error, const FlowKey& inbound, uint32_t mtu, const Frame& about) {
  IpPacket packet;
  ASSERT_EQ(read_ip(error.data(), error.size(), &packet), IpFault::kNone);
  EXPECT_EQ(packet.source, inbound.destination);
  EXPECT_EQ(packet.destination, inbound.source);
  const bool ipv6 = packet.version == 6;
  EXPECT_EQ(packet.protocol, ipv6 ? kProtocolIcmpv6 : kProtocolIcmp);
  const uint8_t* icmp = &error[packet.payload_offset];
  const uint32_t length = packet.length - packet.payload_offset;
  EXPECT_EQ(icmp[0], ipv6 ? 2 : 3);
  EXPECT_EQ(icmp[1], ipv6 ? 0 : 4);
  EXPECT_EQ(ipv6 ? load_u32(icmp + 4) : load_u16(icmp + 6), mtu);
  EXPECT_EQ(checksum_fold(checksum_add(icmp, length, ipv6 ? pseudo_header_sum(packet, length) : 0)), 0);
  ASSERT_GE(length, 8u + (ipv6 ? 40 : 20) + 8);
  EXPECT_TRUE(std::equal(icmp + 8, icmp + length, about.begin()));
}

class FarMtuTest : public testing::TestWithParam<FarMtuCase> {};

TEST_P(FarMtuTest, TheSourceOfAPacketThatMustNotBeFragmentedReceivesTheHostsMtuThroughTheTunnel) {
  FarMtu gateway(GetParam());
  gateway.install(gateway.inbound.reversed(), gateway.back);
  gateway.peer_sends(gateway.packet(kHostsMtu));
  EXPECT_EQ(gateway.unsecured.sent.size(), 1u);
  EXPECT_TRUE(gateway.secured.sent.empty());
  EXPECT_EQ(gateway.value(Value::kIcmpSent), 0u);

  const Frame longer = gateway.packet(8000);
  gateway.peer_sends(longer);
  ASSERT_EQ(gateway.secured.sent.size(), 1u);
  const Unsealed left = unseal(gateway.secured.sent[0], gateway.back);
  ASSERT_TRUE(left.opened);
  EXPECT_EQ(left.header.spi, kBackSpi);
  expect_error(left.inner, gateway.inbound, kHostsMtu, longer);
  EXPECT_EQ(gateway.value(Value::kIcmpSent), 1u);
  EXPECT_EQ(gateway.value(Value::kForwardedEgress), 1u);
  // In transport mode the peer may have reassembled an IPv6 packet, so it is fragmented for its host as well.
  const bool cut = GetParam().ipv6 && GetParam().mode == Mode::kTransport;
  EXPECT_EQ(gateway.dropped(Drop::kIngressTooBig), cut ? 0u : 1u);
  if (cut) {
    EXPECT_EQ(ip_of(joined({gateway.unsecured.sent.begin(), gateway.unsecured.sent.end()})), longer);
  } else {
    EXPECT_TRUE(gateway.unsecured.sent.empty());
  }
  gateway.expect_conservation();
}

TEST_P(FarMtuTest, TheErrorIsHeldWhereItsFlowHasNoKeyYet) {
  FarMtu gateway(GetParam());
  gateway.peer_sends(gateway.packet(1401));
  EXPECT_TRUE(gateway.secured.sent.empty());
  EXPECT_EQ(gateway.value(Value::kHeld), 1u);
  const auto missed = gateway.missed();
  ASSERT_EQ(missed.size(), 1u);
  EXPECT_EQ(missed[0].flow, gateway.inbound.reversed());
  EXPECT_EQ(missed[0].peer, 0);
  gateway.install(gateway.inbound.reversed(), gateway.back);
  gateway.turn(1);
  ASSERT_EQ(gateway.secured.sent.size(), 1u);
  const Unsealed left = unseal(gateway.secured.sent[0], gateway.back);
  ASSERT_TRUE(left.opened);
  expect_error(left.inner, gateway.inbound, kHostsMtu, gateway.packet(1401));
  gateway.expect_conservation();
}

TEST_P(FarMtuTest, AnErrorFitsTheSmallestPathThatThereMayBe) {
  FarMtu gateway(GetParam(), 500, 1600);
  gateway.config.peers[0].mtu = kLeastMtuIpv4;
  gateway.install(gateway.inbound.reversed(), gateway.back);
  const size_t length = GetParam().ipv6 ? 1400 : 1000;
  gateway.peer_sends(gateway.packet(length));
  ASSERT_EQ(gateway.secured.sent.size(), 1u);
  EXPECT_LE(gateway.secured.sent[0].size(), 14u + kLeastMtuIpv4);
  const Unsealed left = unseal(gateway.secured.sent[0], gateway.back);
  ASSERT_TRUE(left.opened);
  expect_error(left.inner, gateway.inbound, GetParam().ipv6 ? 1280 : 500, gateway.packet(length));
  gateway.expect_conservation();
}

TEST_P(FarMtuTest, ErrorsToOneHostAreLimitedByRate) {
  FarMtu gateway(GetParam());
  gateway.install(gateway.inbound.reversed(), gateway.back);
  for (int i = 0; i < 100; ++i)
    gateway.secured.received.push_back(on_wire(gateway.key, gateway.packet(1401)));
  gateway.settle();
  const uint64_t burst = gateway.value(Value::kIcmpSent);
  EXPECT_GE(burst, 1u);
  EXPECT_LE(burst, 10u);
  EXPECT_EQ(gateway.value(Value::kIcmpSuppressed), 100 - burst);
  gateway.turn(1000);
  gateway.peer_sends(gateway.packet(1401));
  EXPECT_EQ(gateway.value(Value::kIcmpSent), burst + 1);
  gateway.expect_conservation();
}

TEST_P(FarMtuTest, NoErrorIsSentAboutErrorsOrLaterFragments) {
  FarMtu gateway(GetParam());
  gateway.install(gateway.inbound.reversed(), gateway.back);
  Frame error(1500 - (GetParam().ipv6 ? 40 : 20));
  error[0] = GetParam().ipv6 ? 1 : 3;
  Frame about_error = ip_of(ethernet({}, {}, 0, icmp_packet(gateway.sources, gateway.destinations, error)));
  if (!GetParam().ipv6) about_error = with_df(about_error);
  gateway.peer_sends(about_error);
  EXPECT_TRUE(gateway.secured.sent.empty());
  EXPECT_EQ(gateway.value(Value::kIcmpSuppressed), 1u);
  if (GetParam().mode == Mode::kTunnel) {
    Frame later = gateway.packet(1500);
    if (GetParam().ipv6) {
      later[6] = kProtocolFragment;
      std::fill_n(later.begin() + 40, 8, 0);
      later[40] = kProtocolUdp;
      put16(later, 42, 1480);
    } else {
      later = ipv4_marked(later, 9, 0x4000 | 185);
    }
    gateway.peer_sends(later);
    EXPECT_TRUE(gateway.secured.sent.empty());
    EXPECT_EQ(gateway.value(Value::kIcmpSuppressed), 2u);
    EXPECT_EQ(gateway.dropped(Drop::kIngressTooBig), 2u);
  }
  EXPECT_EQ(gateway.value(Value::kIcmpSent), 0u);
  gateway.expect_conservation();
}

TEST_P(FarMtuTest, ALaterLcoreSealsTheErrorItselfOrLeavesItToTheFirst) {
  const FarMtuCase& axes = GetParam();
  TwoLcores gateway(far_config(axes.mode), kHostsMtu, kWireMtu);
  gateway.know_next_hop();
  FarMtu as(axes);  // for its packets and keys
  gateway.admit(as.inbound, kSpi, 0, 0, axes.mode);
  // The first packet of an SPI goes by the first lcore.
  gateway.know_host(as.destinations);
  gateway.wire_sends(on_wire(as.key, as.packet(100)));
  gateway.seen();
  gateway.turn();
  const auto sealed_error = [&](const std::deque<Frame>& sent) {
    ASSERT_EQ(sent.size(), 1u);
    const Unsealed left = unseal(sent[0], as.back);
    ASSERT_TRUE(left.opened);
    expect_error(left.inner, as.inbound, kHostsMtu, as.packet(1401));
  };
  gateway.wire_sends_to_worker(on_wire(as.key, as.packet(1401)));
  gateway.settle_both();
  EXPECT_EQ(gateway.value(Value::kHeld), 1u);
  gateway.install(as.inbound.reversed(), as.back);
  gateway.settle_both();
  sealed_error(gateway.secured.sent);
  gateway.turn(1000);
  gateway.settle_both();
  gateway.secured.sent.clear();
  gateway.wire_sends_to_worker(on_wire(as.key, as.packet(1401)));
  gateway.settle_both();
  sealed_error(gateway.wire_queue.sent);
  EXPECT_EQ(gateway.counts().values[static_cast<size_t>(Value::kIcmpSent)].value, 2u);
}

INSTANTIATE_TEST_SUITE_P(ModesAndFamilies, FarMtuTest,
                         testing::Values(FarMtuCase{Mode::kTunnel, false}, FarMtuCase{Mode::kTunnel, true},
                                         FarMtuCase{Mode::kTransport, false},
                                         FarMtuCase{Mode::kTransport, true}),
                         [](const auto& info) {
                           return std::string(info.param.mode == Mode::kTunnel ? "tunnel" : "transport") +
                                  (info.param.ipv6 ? "_v6" : "_v4");
                         });

TEST(FarMtuInTheClear, TheErrorLeavesInTheClearOnlyWhereTheBypassNamesIt) {
  for (const bool names_icmp : {false, true}) {
    EngineConfig config = gateway_config();
    config.bypass = {{prefix("192.0.2.2/32"), names_icmp ? uint8_t{0} : kProtocolUdp, 0}};
    Gateway gateway(config, kHostsMtu, kWireMtu);
    gateway.know_host("10.1.0.5");
    gateway.know_next_hop();
    const Frame packet = with_df(long_packet("192.0.2.2", "10.1.0.5", 1401));
    gateway.wire_sends(from_wire(packet));
    EXPECT_EQ(gateway.dropped(Drop::kIngressTooBig), 1u);
    EXPECT_EQ(gateway.dropped(Drop::kEgressNoPeer), names_icmp ? 0u : 1u);
    ASSERT_EQ(gateway.secured.sent.size(), names_icmp ? 1u : 0u);
    if (names_icmp) {
      expect_error(ip_of(gateway.secured.sent[0]), flow("192.0.2.2", "10.1.0.5"), kHostsMtu, packet);
    }
    gateway.expect_conservation();
  }
}

}  // namespace
}  // namespace psp
