// SPDX-License-Identifier: Apache-2.0
// Which packets pass in the clear, and how.
#include "engine/ip/bypass.h"

#include "sealed_frames.h"

namespace psp {
namespace {

Frame tcp(const std::string& source, const std::string& destination, uint16_t from, uint16_t to) {
  Frame segment(20);
  put16(segment, 0, from);
  put16(segment, 2, to);
  segment[12] = 0x50;
  return ip_packet(address(source), address(destination), kProtocolTcp, segment);
}

struct Asked {
  std::optional<uint32_t> to_wire, from_wire;
};

Asked ask(const Bypass& bypass, const Frame& packet) {
  IpPacket ip;
  EXPECT_EQ(read_ip(packet.data(), packet.size(), &ip), IpFault::kNone);
  return {bypass.matches_to_wire(ip, packet.data()), bypass.matches_from_wire(ip, packet.data())};
}

TEST(Bypass, MatchesPrefixProtocolAndPortOfTheFarEnd) {
  const Bypass bypass({{prefix("192.168.1.0/24"), kProtocolTcp, 179},
                       {prefix("192.168.2.0/24"), kProtocolIcmp, 0},
                       {prefix("192.168.3.7/32"), 0, 0},
                       {prefix("fd00:7::/32"), 0, 53}});
  const auto to = [&](const Frame& packet) { return ask(bypass, packet).to_wire; };
  const auto from = [&](const Frame& packet) { return ask(bypass, packet).from_wire; };
  EXPECT_EQ(to(tcp("10.1.0.5", "192.168.1.9", 40000, 179)), 0u);
  EXPECT_EQ(to(tcp("10.1.0.5", "192.168.1.9", 179, 40000)), std::nullopt);
  EXPECT_EQ(to(tcp("10.1.0.5", "192.168.4.9", 40000, 179)), std::nullopt);
  EXPECT_EQ(to(udp_packet("10.1.0.5", "192.168.1.9", "x")), std::nullopt);
  EXPECT_EQ(from(tcp("192.168.1.9", "10.1.0.5", 179, 40000)), 0u);
  EXPECT_EQ(from(tcp("192.168.1.9", "10.1.0.5", 40000, 179)), std::nullopt);
  EXPECT_EQ(from(tcp("10.1.0.5", "192.168.1.9", 40000, 179)), std::nullopt);

  const Frame echo = ip_packet(address("10.1.0.5"), address("192.168.2.2"), 1, {8, 0, 0, 0, 0, 0, 0, 0});
  EXPECT_EQ(to(echo), 1u);
  EXPECT_EQ(from(echo), std::nullopt);
  EXPECT_EQ(to(udp_packet("10.1.0.5", "192.168.2.2", "x")), std::nullopt);
  EXPECT_EQ(to(udp_packet("10.1.0.5", "192.168.3.7", "x")), 2u);
  EXPECT_EQ(to(ip_packet(address("10.1.0.5"), address("192.168.3.7"), 253, {})), 2u);
  EXPECT_EQ(to(udp_packet("10.1.0.5", "192.168.3.8", "x")), std::nullopt);

  // Ports of UDP, SCTP, DCCP and UDP-Lite; protocols without ports never fit a rule with one.
  for (const uint8_t protocol : {kProtocolUdp, kProtocolSctp, kProtocolDccp, kProtocolUdpLite}) {
    EXPECT_EQ(to(ip_packet(address("fd00:1::5"), address("fd00:7::1"), protocol, {9, 9, 0, 53, 0, 0, 0, 0})),
              3u);
  }
  EXPECT_EQ(to(ip_packet(address("fd00:1::5"), address("fd00:7::1"), 58, {128, 0, 0, 53, 0, 0, 0, 0})),
            std::nullopt);
  EXPECT_EQ(to(ip_packet(address("fd00:1::5"), address("fd00:7::1"), 17, {9, 9})), std::nullopt);
}

TEST(Bypass, ALaterFragmentFitsOnlyRulesWithoutAPort) {
  const Frame later = ipv4_marked(
      ip_packet(address("10.1.0.5"), address("192.168.1.9"), 17, {0, 53, 0, 53, 0, 0, 0, 0}), 1, 5);
  const Frame first = ipv4_marked(
      ip_packet(address("10.1.0.5"), address("192.168.1.9"), 17, {0, 53, 0, 53, 0, 0, 0, 0}), 1, 0x2000);
  const Bypass with_port({{prefix("192.168.1.0/24"), 17, 53}});
  EXPECT_EQ(ask(with_port, first).to_wire, 0u);
  EXPECT_EQ(ask(with_port, later).to_wire, std::nullopt);
  const Bypass without({{prefix("192.168.1.0/24"), 17, 0}});
  EXPECT_EQ(ask(without, later).to_wire, 0u);
}

TEST(Bypass, KeepsFamiliesApartAndTakesTheFirstRuleThatFits) {
  const Bypass bypass({{prefix("::/0"), 17, 0}, {prefix("0.0.0.0/0"), 17, 0}, {prefix("0.0.0.0/0"), 0, 0}});
  EXPECT_EQ(ask(bypass, udp_packet("10.1.0.5", "192.168.1.9", "x")).to_wire, 1u);
  EXPECT_EQ(ask(bypass, udp_packet("fd00:1::5", "fd00:7::1", "x")).to_wire, 0u);
  EXPECT_EQ(ask(bypass, tcp("10.1.0.5", "192.168.1.9", 1, 2)).to_wire, 2u);
  EXPECT_EQ(ask(Bypass({}), udp_packet("10.1.0.5", "192.168.1.9", "x")).to_wire, std::nullopt);
}

struct Open : Gateway {
  explicit Open(std::vector<BypassRule> rules, uint16_t secured_mtu = 1600)
      : Gateway(config_of(std::move(rules)), 1500, secured_mtu) {
    know_next_hop();
    know_host("10.1.0.5");
    wire_sends(arp(true, kRouter, "192.0.2.254", "192.0.2.1"));
    secured.sent.clear();
  }
  static EngineConfig config_of(std::vector<BypassRule> rules) {
    EngineConfig config = gateway_config();
    config.bypass = std::move(rules);
    config.secured_gateway = address("192.0.2.254");
    return config;
  }
  std::vector<Frame> sends(const Frame& packet) {
    secured.sent.clear();
    unsecured.sent.clear();
    host_sends(from_host(packet));
    expect_conservation();
    return {secured.sent.begin(), secured.sent.end()};
  }
  static constexpr MacAddress kRouter = {2, 0, 0, 0, 9, 254};
};

Frame clear(const MacAddress& to, const Frame& packet) {
  return ethernet(to, kSecuredMac, packet[0] >> 4 == 4 ? 0x0800 : 0x86dd, packet);
}

TEST(Bypass, SendsWhatFitsInTheClearToItsNextHopAndCountsByRule) {
  Open gateway({{prefix("172.16.0.0/12"), kProtocolUdp, 5000},
                {prefix("192.0.2.2/32"), 0, 0},
                {prefix("fd00:7::/32"), 0, 0}});
  const Frame beyond = udp_packet("10.1.0.5", "172.16.0.1", "far");
  const Frame on_link = udp_packet("10.1.0.5", "192.0.2.2", "near");
  const Frame beyond6 = udp_packet("fd00:1::5", "fd00:7::1", "far");
  EXPECT_EQ(gateway.sends(beyond), std::vector<Frame>{clear(Open::kRouter, beyond)});
  EXPECT_EQ(gateway.sends(on_link), std::vector<Frame>{clear(kPeerMac, on_link)});
  EXPECT_EQ(gateway.sends(on_link), std::vector<Frame>{clear(kPeerMac, on_link)});
  EXPECT_EQ(gateway.sends(beyond6), std::vector<Frame>{clear(Open::kRouter, beyond6)});
  const EngineCounts counts = gateway.counters.read();
  ASSERT_EQ(counts.bypass.size(), kBypassRulesAtMost);
  EXPECT_EQ(counts.bypass[0].egress_packets, 1u);
  EXPECT_EQ(counts.bypass[1].egress_packets, 2u);
  EXPECT_EQ(counts.bypass[2].egress_packets, 1u);
  EXPECT_EQ(counts.bypass[0].ingress_packets, 0u);
  EXPECT_TRUE(gateway.missed().empty());
}

TEST(Bypass, ComesBeforeThePeerAndLeavesEverythingElseToIt) {
  Open gateway({{prefix("10.2.0.0/24"), kProtocolTcp, 22}});
  const Frame ssh = tcp("10.1.0.5", "10.2.0.7", 40000, 22);
  EXPECT_EQ(gateway.sends(ssh), std::vector<Frame>{clear(Open::kRouter, ssh)});
  EXPECT_TRUE(gateway.missed().empty());
  EXPECT_TRUE(gateway.sends(tcp("10.1.0.5", "10.2.0.7", 40000, 23)).empty());
  EXPECT_EQ(gateway.missed().size(), 1u);
  EXPECT_EQ(gateway.value(Value::kHeld), 1u);
}

TEST(Bypass, LetsNobodyOutWhoIsNoHostOfOursAndNothingToOurOwnHostsOrMany) {
  Open gateway({{prefix("0.0.0.0/0"), 0, 0}, {prefix("::/0"), 0, 0}});
  EXPECT_TRUE(gateway.sends(udp_packet("10.9.0.5", "172.16.0.1", "x")).empty());
  EXPECT_TRUE(gateway.sends(udp_packet("fe80::5", "fd00:7::1", "x")).empty());
  EXPECT_EQ(gateway.dropped(Drop::kEgressNotLocalSource), 2u);
  EXPECT_TRUE(gateway.sends(udp_packet("10.1.0.5", "10.1.0.6", "x")).empty());
  EXPECT_EQ(gateway.dropped(Drop::kEgressLocalDestination), 1u);
  EXPECT_TRUE(gateway.sends(udp_packet("10.1.0.5", "224.0.0.5", "x")).empty());
  EXPECT_TRUE(gateway.sends(udp_packet("fd00:1::5", "ff02::5", "x")).empty());
  EXPECT_EQ(gateway.dropped(Drop::kEgressMulticast), 2u);
  EXPECT_TRUE(gateway.sends(udp_packet("10.1.0.5", "169.254.0.5", "x")).empty());
  EXPECT_EQ(gateway.dropped(Drop::kEgressNoPeer), 1u);
  EXPECT_EQ(gateway.counters.read().bypass[0].egress_packets, 0u);
}

TEST(Bypass, CompletesAPartialChecksumAndFragmentsOrReportsPacketsThatDoNotFit) {
  Open gateway({{prefix("172.16.0.0/12"), 0, 0}, {prefix("fd00:7::/32"), 0, 0}}, 1300);
  Frame large = ipv4_marked(long_packet("10.1.0.5", "172.16.0.1", 1500), 77, 0);
  IpPacket ip;
  ASSERT_EQ(read_ip(large.data(), large.size(), &ip), IpFault::kNone);
  put16(large, 26, static_cast<uint16_t>(~checksum_fold(pseudo_header_sum(ip, 1480))));
  const auto pieces = gateway.sends(large);
  ASSERT_EQ(pieces.size(), 2u);
  for (const Frame& piece : pieces) {
    EXPECT_LE(piece.size(), 1314u);
    EXPECT_EQ(std::memcmp(piece.data(), Open::kRouter.data(), 6), 0);
    EXPECT_EQ(std::memcmp(piece.data() + 6, kSecuredMac.data(), 6), 0);
  }
  const Frame whole = joined(pieces);
  EXPECT_EQ(checksum_fold(checksum_add(&whole[34], 1480, pseudo_header_sum(ip, 1480))), 0);
  EXPECT_EQ(gateway.counters.read().bypass[0].egress_packets, 1u);

  EXPECT_TRUE(gateway.sends(with_df(large)).empty());
  ASSERT_EQ(gateway.unsecured.sent.size(), 1u);
  EXPECT_EQ(get16(gateway.unsecured.sent[0], 14 + 26), 1300);
  gateway.know_host("fd00:1::5");
  EXPECT_TRUE(gateway.sends(long_packet("fd00:1::5", "fd00:7::1", 1301)).empty());
  ASSERT_EQ(gateway.unsecured.sent.size(), 1u);
  EXPECT_EQ(load_u32(&gateway.unsecured.sent[0][14 + 44]), 1300u);
  EXPECT_EQ(gateway.dropped(Drop::kEgressTooBig), 2u);
  EXPECT_EQ(gateway.counters.read().bypass[1].egress_packets, 0u);
}

TEST(Bypass, WithoutANextHopGoesNowhere) {
  EngineConfig config = gateway_config();
  config.bypass = {{prefix("172.16.0.0/12"), 0, 0}};
  Gateway gateway(config);
  gateway.host_sends(from_host("10.1.0.5", "172.16.0.1", "x"));
  EXPECT_EQ(gateway.dropped(Drop::kEgressNoNextHop), 1u);
  EXPECT_TRUE(gateway.secured.sent.empty());
}

}  // namespace
}  // namespace psp
