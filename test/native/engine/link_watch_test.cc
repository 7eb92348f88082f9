// SPDX-License-Identifier: Apache-2.0
// What a gateway does once the link of a port is not as it was: MTU, MAC address, down.
#include <cstring>

#include "engine/ip/oversize.h"
#include "lcores.h"
#include "sealed_frames.h"

namespace psp {
namespace {

const FlowKey kFlow = flow("10.1.0.5", "10.2.0.7");
const FlowKey kFlow6 = flow("fd00:1::5", "fd00:2::7");
constexpr size_t kOverhead = 60;
constexpr MacAddress kNewMac = {2, 0, 0, 0, 7, 7};

LinkState wire(uint16_t mtu, const MacAddress& mac = kSecuredMac) {
  return {true, true, mtu, mac};
}
LinkState hosts(uint16_t mtu, const MacAddress& mac = kUnsecuredMac) {
  return {true, true, mtu, mac};
}

// Hosts and next hop are known; flows of both families have a key.
template <typename Base>
struct Keyed : Base {
  explicit Keyed(uint16_t wire_mtu = 1600, EngineConfig config = gateway_config())
      : Base(std::move(config), 1500, wire_mtu) {
    if (!is_ipv4(this->config.secured_address.address)) key.outer_destination = address("fd00:9::2");
    key.mac = kPeerMac;
    for (const char* host : {"10.1.0.5", "fd00:1::5"}) this->know_host(host);
    for (const FlowKey& flow : {kFlow, kFlow6}) this->install(flow, key);
    this->turn();
    clear();
  }
  void clear() {
    this->unsecured.sent.clear();
    this->secured.sent.clear();
  }
  EgressKey key = egress_key(5);
};

// The MTU that a host is told; 0: it is told nothing.
uint32_t told(const std::deque<Frame>& sent) {
  if (sent.empty()) return 0;
  const Frame& frame = sent[0];
  return frame[14] >> 4 == 4 ? get16(frame, 14 + 26) : load_u32(&frame[14 + 44]);
}

uint16_t path_mtu_of(Gateway& gateway, const FlowKey& flow) {
  FlowsCommand command;
  command.rows.resize(16);
  command = gateway.obey(std::move(command));
  for (uint32_t i = 0; i < command.count; ++i) {
    if (command.rows[i].flow == flow) return command.rows[i].path_mtu;
  }
  return 0;
}

TEST(Link, AnotherMtuOfTheWireHoldsForKeyedFlowsFromTheNextPacketOn) {
  Keyed<Gateway> gateway;
  const Frame long4 = from_host(with_df(long_packet("10.1.0.5", "10.2.0.7", 1500)));
  const Frame long6 = from_host(long_packet("fd00:1::5", "fd00:2::7", 1500));
  for (const Frame& frame : {long4, long6}) gateway.host_sends(frame);
  EXPECT_EQ(gateway.secured.sent.size(), 2u);

  EXPECT_EQ(gateway.main->follow_link(true, wire(1400)), 1400);
  EXPECT_EQ(path_mtu_of(gateway, kFlow), 1400);
  for (const Frame& frame : {long4, long6}) {
    gateway.clear();
    gateway.host_sends(frame);
    EXPECT_TRUE(gateway.secured.sent.empty());
    EXPECT_EQ(told(gateway.unsecured.sent), 1400 - kOverhead);
  }
  gateway.clear();
  gateway.host_sends(from_host(with_df(long_packet("10.1.0.5", "10.2.0.7", 1400 - kOverhead))));
  gateway.host_sends(from_host(long_packet("10.1.0.5", "10.2.0.7", 1500)));
  ASSERT_EQ(gateway.secured.sent.size(), 3u);  // whole, and in two fragments
  for (const Frame& frame : gateway.secured.sent) EXPECT_LE(frame.size(), 14u + 1400u);

  EXPECT_EQ(gateway.main->follow_link(true, wire(1600)), 1600);
  gateway.clear();
  for (const Frame& frame : {long4, long6, long4, long6}) gateway.host_sends(frame);
  EXPECT_EQ(gateway.secured.sent.size(), 4u);
  EXPECT_TRUE(gateway.unsecured.sent.empty());
  gateway.expect_conservation();
}

TEST(Link, AnMtuAboveThatOfTheStartIsNotUsed) {
  Keyed<Gateway> gateway(1500);
  EXPECT_EQ(gateway.main->follow_link(true, wire(1400)), 1400);
  EXPECT_EQ(gateway.main->follow_link(true, wire(9000)), 1500);
  EXPECT_EQ(path_mtu_of(gateway, kFlow), 1500);
  gateway.host_sends(from_host(with_df(long_packet("10.1.0.5", "10.2.0.7", 1500))));
  EXPECT_EQ(told(gateway.unsecured.sent), 1500 - kOverhead);
}

TEST(Link, AnMtuThatHoldsNoPacketSendsNoneAndEveryMtuSendsNothingLonger) {
  EngineConfig over_ipv6 = gateway_config();
  over_ipv6.secured_address = prefix("fd00:9::1/64");
  for (const EngineConfig& config : {gateway_config(), over_ipv6}) {
    for (const uint16_t mtu : {68, 76, 84, 88, 96, 100, 256, 264, 300, 575, 1279}) {
      Keyed<Gateway> gateway(1600, config);
      // Held since before the change.
      gateway.host_sends(from_host(long_packet("10.1.0.6", "10.2.0.7", 1500)));
      gateway.main->follow_link(true, wire(mtu));
      EgressKey other = gateway.key;
      other.spi = 6;
      gateway.install(flow("10.1.0.6", "10.2.0.7"), other);
      for (const uint32_t length : {20u, 60u, 500u, 1280u, 1500u}) {
        gateway.host_sends(from_host(long_packet("10.1.0.5", "10.2.0.7", std::max(28u, length))));
        gateway.host_sends(from_host(with_df(long_packet("10.1.0.5", "10.2.0.7", std::max(28u, length)))));
        gateway.host_sends(from_host(long_packet("fd00:1::5", "fd00:2::7", std::max(48u, length))));
      }
      for (const Frame& frame : gateway.secured.sent) EXPECT_LE(frame.size(), 14u + mtu) << mtu;
      gateway.expect_conservation();
    }
  }
}

TEST(Link, AnotherMtuOfTheHostsHoldsForWhatComesFromTheWire) {
  Keyed<Gateway> gateway;
  const EgressKey key = key_of(0x0000'0007, 0);
  ASSERT_TRUE(gateway.admit(kFlow.reversed(), key.spi));
  const auto deliver = [&](const Frame& inner, uint64_t iv) {
    gateway.clear();
    gateway.wire_sends(sealed(key, inner, iv));
    return gateway.unsecured.sent.size();
  };
  const Frame longest = long_packet("10.2.0.7", "10.1.0.5", 1500);
  EXPECT_EQ(deliver(longest, 1), 1u);
  gateway.main->follow_link(false, hosts(1400));
  EXPECT_EQ(deliver(longest, 2), 2u);
  for (const Frame& frame : gateway.unsecured.sent) EXPECT_LE(frame.size(), 14u + 1400u);
  EXPECT_EQ(deliver(with_df(longest), 3), 0u);
  EXPECT_EQ(gateway.dropped(Drop::kIngressTooBig), 1u);
  // A packet of a host that sends longer ones all the same is no GSO packet: it is judged by the path.
  gateway.main->follow_link(true, wire(1500));
  gateway.clear();
  gateway.host_sends(from_host(with_df(long_packet("10.1.0.5", "10.2.0.7", 1460))));
  EXPECT_EQ(told(gateway.unsecured.sent), 1500 - kOverhead);
}

TEST(Link, AnotherMacAddressIsThatOfAllFramesAndAnnounced) {
  EngineConfig config = gateway_config();
  config.secured_gateway = address("fe80::1");
  Keyed<Gateway> gateway(1600, config);
  gateway.main->follow_link(true, wire(1600, kNewMac));
  gateway.turn();
  // Our address, and the link-local one that the gateway is solicited from.
  ASSERT_EQ(gateway.secured.sent.size(), 2u);
  const Frame& announced = gateway.secured.sent[0];
  const NeighbourMessage arp_says = read_arp(&announced[14], announced.size() - 14).value();
  EXPECT_TRUE(arp_says.request);
  EXPECT_EQ(arp_says.sender, address("192.0.2.1"));
  EXPECT_EQ(arp_says.target, address("192.0.2.1"));
  EXPECT_EQ(arp_says.mac, kNewMac);
  EXPECT_EQ(std::memcmp(announced.data(), kBroadcastMac.data(), 6), 0);
  const Frame& advertised = gateway.secured.sent[1];
  IpPacket packet;
  ASSERT_EQ(read_ip(&advertised[14], advertised.size() - 14, &packet), IpFault::kNone);
  const NeighbourMessage nd_says = read_neighbour_discovery(packet, &advertised[14]).value();
  EXPECT_FALSE(nd_says.request);
  EXPECT_TRUE(nd_says.overrides);
  EXPECT_EQ(nd_says.target, link_local(kNewMac));
  EXPECT_EQ(nd_says.mac, kNewMac);
  EXPECT_EQ(packet.destination, address("ff02::1"));
  EXPECT_EQ(advertised[14 + 40 + 4] & 0x40, 0);  // not solicited (RFC 4861, 7.2.6)

  gateway.main->follow_link(false, hosts(1500, kNewMac));
  gateway.turn();
  EXPECT_EQ(gateway.unsecured.sent.size(), 3u);  // two gateway addresses and the link-local one
  gateway.clear();
  Frame frame = from_host(long_packet("10.1.0.5", "10.2.0.7", 100));
  gateway.host_sends(frame);
  EXPECT_EQ(gateway.dropped(Drop::kEgressOtherHost), 1u);
  std::copy(kNewMac.begin(), kNewMac.end(), frame.begin());
  gateway.host_sends(frame);
  ASSERT_EQ(gateway.secured.sent.size(), 1u);
  EXPECT_EQ(std::memcmp(&gateway.secured.sent[0][6], kNewMac.data(), 6), 0);

  // Who asks is told the new one.
  gateway.clear();
  gateway.host_sends(arp(true, kHostMac, "10.1.0.5", "10.1.0.1"));
  ASSERT_EQ(gateway.unsecured.sent.size(), 1u);
  EXPECT_EQ(read_arp(&gateway.unsecured.sent[0][14], 28).value().mac, kNewMac);
  gateway.expect_conservation();
}

TEST(Link, APeerLearnsAnotherMacAddressFromItsAnnouncement) {
  Keyed<Gateway> gateway;
  gateway.know_next_hop();
  for (const bool mac : {false, true}) {
    if (mac) gateway.wire_sends(arp(true, kNewMac, "192.0.2.2", "192.0.2.2"));
    gateway.clear();
    gateway.host_sends(from_host(long_packet("10.1.0.5", "10.2.0.7", 100)));
    ASSERT_EQ(gateway.secured.sent.size(), 1u);
    EXPECT_EQ(std::memcmp(gateway.secured.sent[0].data(), (mac ? kNewMac : kPeerMac).data(), 6), 0);
  }
}

TEST(Link, OfAnotherLcoreIsThatOfTheFirstOnceItTookItOver) {
  Keyed<TwoLcores> gateway;
  const Frame longest = from_host(with_df(long_packet("10.1.0.5", "10.2.0.7", 1500)));
  gateway.settle_both();
  gateway.host_sends_to_worker(longest);
  ASSERT_EQ(gateway.wire_queue.sent.size(), 1u);
  EXPECT_TRUE(gateway.main->settled());
  gateway.main->follow_link(true, wire(1400, kNewMac));
  EXPECT_FALSE(gateway.main->settled());
  gateway.wire_queue.sent.clear();
  gateway.host_sends_to_worker(longest);
  EXPECT_TRUE(gateway.main->settled());
  EXPECT_TRUE(gateway.wire_queue.sent.empty());
  gateway.host_sends_to_worker(from_host(with_df(long_packet("10.1.0.5", "10.2.0.7", 1000))));
  ASSERT_EQ(gateway.wire_queue.sent.size(), 1u);
  EXPECT_EQ(std::memcmp(&gateway.wire_queue.sent[0][6], kNewMac.data(), 6), 0);

  LinkState down = wire(1400, kNewMac);
  down.up = false;
  gateway.main->follow_link(true, down);
  gateway.wire_queue.sent.clear();
  gateway.host_sends_to_worker(from_host(with_df(long_packet("10.1.0.5", "10.2.0.7", 1000))));
  EXPECT_TRUE(gateway.wire_queue.sent.empty());
  EXPECT_EQ(gateway.worker_counters[Drop::kEgressPortDown].value(), 1u);
}

}  // namespace
}  // namespace psp
