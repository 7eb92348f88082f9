// SPDX-License-Identifier: Apache-2.0
// What leaves for the wire in each mode, version and family: opened by native/psp, it is what the host sent.
#include <set>

#include "sealed_frames.h"

namespace psp {
namespace {

const FlowKey kFlow = flow("10.1.0.5", "10.2.0.7");
const FlowKey kFlow6 = flow("fd00:1::5", "fd00:2::7");

struct Axes {
  bool inner_ipv6, outer_ipv6;
  Mode mode;
  uint8_t version;
  bool cookie;
  uint8_t crypt_offset;
};

std::string name_of(const testing::TestParamInfo<Axes>& info) {
  const Axes& axes = info.param;
  return std::string(axes.inner_ipv6 ? "v6" : "v4") + "_over_" + (axes.outer_ipv6 ? "v6" : "v4") + "_" +
         (axes.mode == Mode::kTunnel ? "tunnel" : "transport") + "_" + std::to_string(axes.version) +
         (axes.cookie ? "_vc" : "") + "_offset" + std::to_string(axes.crypt_offset);
}

std::vector<Axes> all_axes() {
  std::vector<Axes> all;
  for (const bool inner : {false, true}) {
    for (const bool outer : {false, true}) {
      for (const Mode mode : {Mode::kTunnel, Mode::kTransport}) {
        for (uint8_t version = 0; version < 4; ++version) {
          for (const bool cookie : {false, true}) {
            for (const uint8_t offset : {0, 5, 63})
              all.push_back({inner, outer, mode, version, cookie, offset});
          }
        }
      }
    }
  }
  return all;
}

EngineConfig config_of(const Axes& axes) {
  EngineConfig config = gateway_config();
  if (axes.outer_ipv6) config.secured_address = prefix("fd00:9::1/64");
  config.peers[0].crypt_offset = axes.crypt_offset;
  return config;
}

EgressKey key_for(const Axes& axes) {
  EgressKey key = egress_key(0x80000005);
  key.version = axes.version;
  key.mode = axes.mode;
  key.cookie = axes.cookie ? 0x1122334455667788 : 0;
  key.mac = kPeerMac;
  if (axes.outer_ipv6) key.outer_destination = address("fd00:9::2");
  return key;
}

class EgressModes : public testing::TestWithParam<Axes> {};

TEST_P(EgressModes, SealWhatTheHostSent) {
  const Axes& axes = GetParam();
  Gateway gateway(config_of(axes));
  const EgressKey key = key_for(axes);
  const Frame packet = axes.inner_ipv6 ? long_packet("fd00:1::5", "fd00:2::7", 600)
                                       : with_df(long_packet("10.1.0.5", "10.2.0.7", 600));
  // The first is held before its mode is known.
  gateway.host_sends(from_host(packet));
  EXPECT_EQ(gateway.install(axes.inner_ipv6 ? kFlow6 : kFlow, key), InstallResult::kInstalled);
  gateway.turn();
  gateway.host_sends(from_host(packet));
  gateway.secured.sent.erase(
      std::remove_if(gateway.secured.sent.begin(), gateway.secured.sent.end(),
                     [](const Frame& frame) { return (frame[0] & 1) != 0; }),  // the gateway asks who it is
      gateway.secured.sent.end());
  ASSERT_EQ(gateway.secured.sent.size(), 2u);
  std::set<uint64_t> ivs;
  for (const Frame& frame : gateway.secured.sent) {
    EXPECT_EQ(std::memcmp(frame.data(), kPeerMac.data(), 6), 0);
    EXPECT_EQ(std::memcmp(frame.data() + 6, kSecuredMac.data(), 6), 0);
    const Unsealed unsealed = unseal(frame, key);
    ASSERT_TRUE(unsealed.opened);
    EXPECT_EQ(unsealed.inner, packet);
    EXPECT_EQ(unsealed.header.version, axes.version);
    EXPECT_EQ(unsealed.header.spi, key.spi);
    EXPECT_EQ(unsealed.header.crypt_offset, axes.version < 2 ? axes.crypt_offset : 0);
    EXPECT_EQ(unsealed.header.has_cookie, axes.cookie);
    EXPECT_EQ(unsealed.header.cookie, key.cookie);
    if (axes.mode == Mode::kTunnel) {
      EXPECT_EQ(unsealed.outer.source, gateway.config.secured_address.address);
      EXPECT_EQ(unsealed.outer.destination, key.outer_destination);
      EXPECT_EQ(unsealed.header.next_header, axes.inner_ipv6 ? kNextHeaderIpv6 : kNextHeaderIpv4);
    } else {
      EXPECT_EQ(unsealed.outer.source, axes.inner_ipv6 ? kFlow6.source : kFlow.source);
      EXPECT_EQ(unsealed.outer.destination, axes.inner_ipv6 ? kFlow6.destination : kFlow.destination);
      EXPECT_EQ(unsealed.header.next_header, kProtocolUdp);
    }
    EXPECT_GE(unsealed.udp_source, 0xc000);
    EXPECT_EQ(unsealed.udp_checksum, 0);
    ivs.insert(unsealed.header.iv);
  }
  EXPECT_EQ(ivs.size(), 2u);
  gateway.expect_conservation();
}

INSTANTIATE_TEST_SUITE_P(All, EgressModes, testing::ValuesIn(all_axes()), name_of);

// A gateway with a key for the flows of both families, its next hop known.
struct Keyed : Gateway {
  explicit Keyed(Mode mode, EngineConfig engine_config = gateway_config(), uint16_t secured_mtu = 1600)
      : Gateway(std::move(engine_config), 1500, secured_mtu), key(egress_key(5)) {
    key.mode = mode;
    know_next_hop();
    install(kFlow, key);
    install(kFlow6, key);
  }
  // What leaves when the host sends this, opened.
  Unsealed sends(const Frame& packet) {
    secured.sent.clear();
    host_sends(from_host(packet));
    return secured.sent.size() == 1 ? unseal(secured.sent[0], key) : Unsealed{};
  }
  EgressKey key;
};

TEST(OuterHeader, HasTheConfiguredHopLimitAndCopiesDscpAndEcnOrHidesDscp) {
  EngineConfig config = gateway_config();
  config.outer.hop_limit = 17;
  Keyed copies(Mode::kTunnel, config);
  const Frame marked = ip_packet(kFlow.source, kFlow.destination, 17, udp(1, 2, text("x")), 0xb9, 3);
  const Unsealed copied = copies.sends(marked);
  EXPECT_EQ(copied.outer_octets[8], 17);
  EXPECT_EQ(copied.outer.traffic_class, 0xb9);  // DSCP 46, ECT(1)
  EXPECT_EQ(copied.inner, marked);              // its own hop limit is untouched
  config.outer.dscp = 10;
  Keyed hides(Mode::kTunnel, config);
  EXPECT_EQ(hides.sends(marked).outer.traffic_class, 10 << 2 | 1);
  // In transport mode the header is the host's own.
  Keyed transport(Mode::kTransport, config);
  const Unsealed own = transport.sends(marked);
  EXPECT_EQ(own.outer.traffic_class, 0xb9);
  EXPECT_EQ(own.outer_octets[8], 3);
}

TEST(OuterHeader, CarriesAUdpChecksumWhereConfigured) {
  EngineConfig config = gateway_config();
  config.outer.udp_checksum = true;
  for (const Mode mode : {Mode::kTunnel, Mode::kTransport}) {
    Keyed gateway(mode, config);
    for (const Frame& packet :
         {long_packet("10.1.0.5", "10.2.0.7", 333), long_packet("fd00:1::5", "fd00:2::7", 334)}) {
      const Unsealed unsealed = gateway.sends(packet);
      EXPECT_EQ(unsealed.inner, packet);
      EXPECT_NE(unsealed.udp_checksum, 0);
      EXPECT_TRUE(unsealed.udp_checksum_holds);
    }
  }
}

TEST(OuterHeader, SourcePortsTellInnerFlowsApartInEachWay) {
  const auto ports_of = [](Keyed& gateway) {
    std::set<uint16_t> ports;
    for (uint16_t i = 0; i < 64; ++i) {
      const Frame packet =
          ip_packet(kFlow.source, kFlow.destination, kProtocolUdp, udp(1000 + i, 53, text("x")));
      const uint16_t port = gateway.sends(packet).udp_source;
      EXPECT_EQ(gateway.sends(packet).udp_source, port);
      ports.insert(port);
    }
    return ports;
  };
  for (const Mode mode : {Mode::kTunnel, Mode::kTransport}) {
    EngineConfig config = gateway_config();
    Keyed hash(mode, config);
    EXPECT_GT(ports_of(hash).size(), 32u);

    config.outer.source_ports = SourcePorts::kTable;
    for (uint16_t i = 0; i < 16; ++i) config.outer.port_table.push_back(static_cast<uint16_t>(2000 + 3 * i));
    Keyed table(mode, config);
    const auto from_table = ports_of(table);
    EXPECT_GT(from_table.size(), 4u);
    for (const uint16_t port : from_table) {
      EXPECT_EQ(std::count(config.outer.port_table.begin(), config.outer.port_table.end(), port), 1) << port;
    }
  }
}

TEST(OuterHeader, SymmetricPortsAreThoseOfTheOtherDirection) {
  EngineConfig a_config = gateway_config(), b_config = gateway_config();
  for (EngineConfig* config : {&a_config, &b_config})
    config->outer.source_ports = SourcePorts::kSymmetricHash;
  std::swap(b_config.vips, b_config.peers[0].vips);
  Keyed a(Mode::kTunnel, a_config), b(Mode::kTunnel, b_config);
  b.install(kFlow.reversed(), b.key);
  uint16_t first = 0;
  bool differ = false;
  for (uint16_t i = 0; i < 16; ++i) {
    const Frame there = ip_packet(kFlow.source, kFlow.destination, 17, udp(1000 + i, 53, text("x")));
    const Frame back = ip_packet(kFlow.destination, kFlow.source, 17, udp(53, 1000 + i, text("y")));
    const uint16_t port = a.sends(there).udp_source;
    EXPECT_EQ(b.sends(back).udp_source, port);
    if (i == 0) first = port;
    differ |= port != first;
  }
  EXPECT_TRUE(differ);
}

TEST(NextHop, OfATransportFlowIsThatOfThePeersAddressNotOfTheVip) {
  EngineConfig config = gateway_config();
  config.secured_gateway = address("192.0.2.254");
  Gateway gateway(config);
  EgressKey key = transport_key(5);
  // On the connected prefix the peer itself, though its VIP is nowhere near.
  key.mac = kPeerMac;
  gateway.install(kFlow, key);
  gateway.turn();
  gateway.secured.sent.clear();
  gateway.host_sends(from_host(long_packet("10.1.0.5", "10.2.0.7", 100)));
  ASSERT_EQ(gateway.secured.sent.size(), 1u);
  EXPECT_EQ(std::memcmp(gateway.secured.sent[0].data(), kPeerMac.data(), 6), 0);
  // Beyond it the gateway, and IPv6 packets take it as well.
  const MacAddress router = {2, 0, 0, 0, 9, 254};
  gateway.wire_sends(arp(true, router, "192.0.2.254", "192.0.2.1"));
  key.outer_destination = address("198.51.100.2");
  gateway.install(kFlow, key);
  gateway.install(kFlow6, key);
  gateway.secured.sent.clear();
  gateway.host_sends(from_host(long_packet("10.1.0.5", "10.2.0.7", 100)));
  gateway.host_sends(from_host(long_packet("fd00:1::5", "fd00:2::7", 100)));
  ASSERT_EQ(gateway.secured.sent.size(), 2u);
  for (const Frame& frame : gateway.secured.sent) EXPECT_EQ(std::memcmp(frame.data(), router.data(), 6), 0);
  EXPECT_EQ(get16(gateway.secured.sent[1], 12), 0x86dd);
  // Without one there is no way.
  Gateway alone;
  alone.install(kFlow, key);
  alone.host_sends(from_host(long_packet("10.1.0.5", "10.2.0.7", 100)));
  EXPECT_EQ(alone.dropped(Drop::kEgressNoNextHop), 1u);
}

struct HostPacket {
  const char* name;
  Frame packet;
};

std::vector<HostPacket> host_packets() {
  const auto v4 = [](uint8_t protocol, const Frame& payload) {
    return ip_packet(kFlow.source, kFlow.destination, protocol, payload);
  };
  const auto v6 = [](uint8_t protocol, const Frame& payload) {
    return ip_packet(kFlow6.source, kFlow6.destination, protocol, payload);
  };
  const Frame data = text("some payload of a host");
  const Frame router_alert = {148, 4, 0, 0};
  const Frame record_route = {7, 7, 4, 0, 0, 0, 0, 0};
  const Frame hop_by_hop = {17, 0, 1, 4, 0, 0, 0, 0};
  const Frame destination_options = {17, 0, 1, 4, 0, 0, 0, 0};
  // A segment routing header that is spent.
  Frame routing = {17, 2, 4, 0, 0, 0, 0, 0};
  routing.resize(24);
  Frame chain = {43, 0, 1, 4, 0, 0, 0, 0};
  chain.insert(chain.end(), routing.begin(), routing.end());
  Frame authentication = {17, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 9};
  authentication.resize(24);
  return {
      {"v4_options", with_options(v4(17, udp(1, 2, data)), router_alert)},
      {"v4_options_not_copied", with_options(v4(17, udp(1, 2, data)), record_route)},
      {"v4_esp", v4(50, data)},
      {"v4_ah", v4(51, data)},
      {"v4_sctp", v4(132, data)},
      {"v4_gre", v4(47, data)},
      {"v4_unknown", v4(253, data)},
      {"v4_icmp", v4(1, {8, 0, 0xf7, 0xff, 0, 0, 0, 0})},
      {"v4_empty", v4(17, {})},
      {"v4_nothing_behind_the_header", v4(59, {})},
      {"v6_hop_by_hop", with_extensions(v6(17, udp(1, 2, data)), 0, hop_by_hop)},
      {"v6_destination_options", with_extensions(v6(17, udp(1, 2, data)), 60, destination_options)},
      {"v6_routing", with_extensions(v6(17, udp(1, 2, data)), 43, routing)},
      {"v6_hop_by_hop_and_routing", with_extensions(v6(17, udp(1, 2, data)), 0, chain)},
      {"v6_ah", with_extensions(v6(17, udp(1, 2, data)), 51, authentication)},
      {"v6_atomic_fragment", with_extensions(v6(17, udp(1, 2, data)), 44, {17, 0, 0, 0, 1, 2, 3, 4})},
      {"v6_no_next_header", v6(59, {})},
      {"v6_esp", v6(50, data)},
      {"v6_sctp", v6(132, data)},
      {"v6_gre", v6(47, data)},
      {"v6_unknown", v6(254, data)},
      {"v6_icmp", v6(58, {128, 0, 0, 0, 0, 1, 0, 1})},
      {"v6_jumbo_of_the_port", long_packet("fd00:1::5", "fd00:2::7", 1500)},
      {"v4_jumbo_of_the_port", long_packet("10.1.0.5", "10.2.0.7", 1500)},
  };
}

TEST(HostPackets, OfEveryKindPassInBothModes) {
  for (const Mode mode : {Mode::kTunnel, Mode::kTransport}) {
    Keyed gateway(mode);
    for (const auto& [name, packet] : host_packets()) {
      const Unsealed unsealed = gateway.sends(packet);
      EXPECT_TRUE(unsealed.opened) << name;
      EXPECT_EQ(unsealed.inner, packet) << name;
    }
    gateway.expect_conservation();
  }
}

TEST(HostPackets, WithRoutersOptionsKeepThemInFrontOfPspInTransportMode) {
  Keyed gateway(Mode::kTransport);
  for (const auto& [name, packet] : host_packets()) {
    const Unsealed unsealed = gateway.sends(packet);
    const std::string_view kind = name;
    if (kind == "v4_options") {
      EXPECT_EQ(unsealed.outer.payload_offset, 24);
    } else if (kind == "v6_hop_by_hop") {
      EXPECT_EQ(unsealed.outer.payload_offset, 48);
    } else if (kind == "v6_hop_by_hop_and_routing") {
      EXPECT_EQ(unsealed.outer.payload_offset, 72);
    } else if (kind == "v6_destination_options") {
      EXPECT_EQ(unsealed.outer.payload_offset, 40);
    }
  }
}

TEST(HostPackets, InsideIpAreDroppedInTransportModeAndPassInTunnelMode) {
  const Frame inner = udp_packet("172.16.0.1", "172.16.0.2", "inner");
  const Frame inner6 = udp_packet("fd00:5::1", "fd00:5::2", "inner");
  const std::vector<Frame> packets = {
      ip_packet(kFlow.source, kFlow.destination, 4, inner),
      ip_packet(kFlow.source, kFlow.destination, 41, inner6),
      ip_packet(kFlow6.source, kFlow6.destination, 4, inner),
      ip_packet(kFlow6.source, kFlow6.destination, 41, inner6),
      with_extensions(ip_packet(kFlow6.source, kFlow6.destination, 41, inner6), 0, {41, 0, 1, 4, 0, 0, 0, 0}),
  };
  Keyed tunnel(Mode::kTunnel), transport(Mode::kTransport);
  for (const Frame& packet : packets) {
    EXPECT_EQ(tunnel.sends(packet).inner, packet);
    EXPECT_FALSE(transport.sends(packet).opened);
  }
  EXPECT_EQ(transport.dropped(Drop::kEgressTransportIpInIp), packets.size());
  EXPECT_EQ(tunnel.dropped(Drop::kEgressTransportIpInIp), 0u);
  transport.expect_conservation();
}

// Extension headers that stay before UDP, of these lengths; UDP follows.
Frame staying(const std::vector<size_t>& lengths) {
  Frame chain;
  for (size_t i = 0; i < lengths.size(); ++i) {
    Frame header(lengths[i]);
    header[0] = i + 1 == lengths.size() ? 17 : 43;
    header[1] = static_cast<uint8_t>(lengths[i] / 8 - 1);
    header[2] = i == 0 ? 1 : 4;  // hop-by-hop: PadN; a routing header that is spent
    header[3] = i == 0 ? static_cast<uint8_t>(lengths[i] - 4) : 0;
    chain.insert(chain.end(), header.begin(), header.end());
  }
  return chain;
}

TEST(HostPackets, PassInTransportModeAsFarAsTheFenceReadsTheirExtensions) {
  const Frame packet = ip_packet(kFlow6.source, kFlow6.destination, 17, udp(1, 2, text("data")));
  const std::vector<std::vector<size_t>> pass = {{200}, {8, 8, 8}, {8, 96, 96}};
  const std::vector<std::vector<size_t>> blocked = {{208}, {8, 8, 8, 8}, {8, 96, 104}, {1024}};
  Keyed tunnel(Mode::kTunnel), transport(Mode::kTransport);
  for (const auto& lengths : pass) {
    const Frame extended = with_extensions(packet, 0, staying(lengths));
    EXPECT_EQ(transport.sends(extended).inner, extended);
  }
  for (const auto& lengths : blocked) {
    const Frame extended = with_extensions(packet, 0, staying(lengths));
    EXPECT_FALSE(transport.sends(extended).opened);
    EXPECT_EQ(tunnel.sends(extended).inner, extended);
  }
  EXPECT_EQ(transport.dropped(Drop::kEgressTransportUnsealable), blocked.size());
  transport.expect_conservation();
}

TEST(HostPackets, InFragmentsFollowTheFlowOfTheirAddressesInTunnelMode) {
  Keyed gateway(Mode::kTunnel);
  const Frame first = ipv4_marked(long_packet("10.1.0.5", "10.2.0.7", 68), 77, 0x2000);
  const Frame later = ipv4_marked(ip_packet(kFlow.source, kFlow.destination, 17, Frame(20)), 77, 6);
  const Frame first6 =
      with_extensions(long_packet("fd00:1::5", "fd00:2::7", 88), 44, {17, 0, 0, 1, 9, 9, 9, 9});
  const Frame later6 = with_extensions(ip_packet(kFlow6.source, kFlow6.destination, 17, Frame(20)), 44,
                                       {17, 0, 0, 48, 9, 9, 9, 9});
  const Unsealed a = gateway.sends(first), b = gateway.sends(later);
  EXPECT_EQ(a.inner, first);
  EXPECT_EQ(b.inner, later);
  EXPECT_EQ(a.udp_source, b.udp_source);  // they stay together on the way
  EXPECT_EQ(gateway.sends(first6).inner, first6);
  EXPECT_EQ(gateway.sends(later6).inner, later6);
}

TEST(HostPackets, OfNineThousandOctetsPassWhereThePortsTakeThem) {
  for (const Mode mode : {Mode::kTunnel, Mode::kTransport}) {
    Gateway gateway(gateway_config(), 9000, 9100);
    gateway.know_next_hop();
    EgressKey key = egress_key(5);
    key.mode = mode;
    const Frame packet = with_df(long_packet("10.1.0.5", "10.2.0.7", 9000));
    gateway.host_sends(from_host(packet));
    gateway.install(kFlow, key);
    gateway.host_sends(from_host(packet));
    ASSERT_EQ(gateway.secured.sent.size(), 2u);
    for (const Frame& frame : gateway.secured.sent) EXPECT_EQ(unseal(frame, key).inner, packet);
  }
}

TEST(HostPackets, ToManyAreDropped) {
  Keyed gateway(Mode::kTunnel);
  for (const Frame& packet :
       {udp_packet("10.1.0.5", "224.0.0.251", "x"), udp_packet("10.1.0.5", "255.255.255.255", "x"),
        udp_packet("fd00:1::5", "ff02::fb", "x")}) {
    gateway.host_sends(from_host(packet));
  }
  // A broadcast of the hosts' own network looks like a unicast address and comes in a broadcast frame.
  gateway.host_sends(ethernet({255, 255, 255, 255, 255, 255}, kHostMac, 0x0800,
                              udp_packet("10.1.0.5", "10.2.255.255", "x")));
  EXPECT_EQ(gateway.dropped(Drop::kEgressMulticast), 4u);
  EXPECT_TRUE(gateway.secured.sent.empty());
  gateway.expect_conservation();
}

TEST(Ivs, NeverRepeatAcrossReinstallsSharedKeysModesFragmentsAndRestarts) {
  EngineConfig config = gateway_config();
  std::set<uint64_t> ivs;
  size_t sent = 0;
  const auto collect = [&](Gateway& gateway) {
    for (const Frame& frame : gateway.secured.sent) {
      const Unsealed unsealed = unseal(frame, egress_key(5));
      ASSERT_EQ(unsealed.header.spi, 5u);
      ivs.insert(unsealed.header.iv);
      ++sent;
    }
    gateway.secured.sent.clear();
  };
  // Each start of a process reads a later millisecond.
  for (const uint64_t start : {uint64_t{1000}, uint64_t{1001}}) {
    Gateway gateway(config, 1500, 1500);
    gateway.know_next_hop();
    for (int round = 0; round < 4; ++round) {
      for (const FlowKey& key_flow : {kFlow, flow("10.1.0.5", "10.2.0.8")}) {
        EgressKey key = egress_key(5, 7, (start + static_cast<uint64_t>(round / 2)) << 22);
        key.mode = round % 2 == 0 ? Mode::kTunnel : Mode::kTransport;
        gateway.install(key_flow, key);
        gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "x"));
        gateway.host_sends(from_host("10.1.0.5", "10.2.0.8", "x"));
        // Several sealed packets of one.
        if (round == 2) gateway.host_sends(from_host(long_packet("10.1.0.5", "10.2.0.7", 1500)));
        if (round == 2) {
          EXPECT_GE(gateway.value(Value::kFragmentsMade), 2u);
        }
      }
      if (round == 0) gateway.obey(RemoveCommand{{kFlow}});
    }
    std::erase_if(gateway.secured.sent, [](const Frame& frame) { return get16(frame, 12) != 0x0800; });
    std::erase_if(gateway.secured.sent,
                  [](const Frame& frame) { return (get16(frame, 14 + 6) & 0x3fff) != 0; });
    collect(gateway);
  }
  EXPECT_EQ(ivs.size(), sent);
  EXPECT_GT(sent, 30u);
}

}  // namespace
}  // namespace psp
