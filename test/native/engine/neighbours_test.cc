// SPDX-License-Identifier: Apache-2.0
// ARP and neighbour discovery on both sides: whom we answer, whom we ask, from which address, and what
// becomes of packets meanwhile.
#include "engine/neighbours/neighbour_frames.h"
#include "gateway.h"

namespace psp {
namespace {

const FlowKey kFlow = flow("10.1.0.5", "10.2.0.7");
const FlowKey kInbound = kFlow.reversed();

NeighbourMessage message_of(const Frame& frame) {
  if (get16(frame, 12) == 0x0806) return read_arp(&frame[14], frame.size() - 14).value();
  IpPacket packet;
  EXPECT_EQ(read_ip(&frame[14], frame.size() - 14, &packet), IpFault::kNone);
  return read_neighbour_discovery(packet, &frame[14]).value();
}

bool answered(Gateway& gateway, std::deque<Frame>& sent, FakePort& port, Frame frame) {
  sent.clear();
  port.received.push_back(std::move(frame));
  gateway.settle();
  return !sent.empty();
}

TEST(UnsecuredNeighbours, AreAnsweredForPeersPrefixesAndGatewayAddressesOnly) {
  Gateway gateway;
  const auto asks = [&](Frame frame) {
    return answered(gateway, gateway.unsecured.sent, gateway.unsecured, std::move(frame));
  };
  EXPECT_TRUE(asks(arp(true, kHostMac, "10.1.0.5", "10.1.0.1")));
  const NeighbourMessage answer = message_of(gateway.unsecured.sent[0]);
  EXPECT_FALSE(answer.request);
  EXPECT_EQ(answer.mac, kUnsecuredMac);
  EXPECT_EQ(answer.sender, address("10.1.0.1"));
  EXPECT_EQ(std::memcmp(gateway.unsecured.sent[0].data(), kHostMac.data(), 6), 0);
  EXPECT_TRUE(asks(arp(true, kHostMac, "10.1.0.5", "10.2.0.7")));
  EXPECT_FALSE(asks(arp(true, kHostMac, "10.1.0.5", "10.1.0.6")));  // a local VIP
  EXPECT_FALSE(asks(arp(true, kHostMac, "10.1.0.5", "10.3.0.1")));  // nobody's
  EXPECT_FALSE(asks(arp(true, kHostMac, "10.2.0.7", "10.2.0.7")));  // gratuitous
  EXPECT_FALSE(asks(arp(true, kHostMac, "0.0.0.0", "10.2.0.7")));   // a probe
  EXPECT_FALSE(asks(arp(false, kHostMac, "10.1.0.5", "10.2.0.7")));

  EXPECT_TRUE(asks(solicitation(kHostMac, "fd00:1::5", "fd00:1::1")));
  EXPECT_EQ(message_of(gateway.unsecured.sent[0]).mac, kUnsecuredMac);
  EXPECT_EQ(message_of(gateway.unsecured.sent[0]).target, address("fd00:1::1"));
  EXPECT_FALSE(asks(solicitation(kHostMac, "fd00:1::5", "fd00:1::6")));
  EXPECT_FALSE(asks(solicitation(kHostMac, "fd00:1::5", "fd00:3::1")));
  EXPECT_FALSE(asks(solicitation(kHostMac, "::", "fd00:2::7")));
  EXPECT_EQ(gateway.value(Value::kConsumed), 11u);
  gateway.expect_conservation();
}

TEST(UnsecuredNeighbours, BystandersAreNotAnsweredForPeersPrefixes) {
  EngineConfig config = gateway_config();
  config.peers = {{.vips = {prefix("10.0.0.0/8"), prefix("fd00::/16")}}};
  Gateway gateway(config);
  const auto asks = [&](Frame frame) {
    return answered(gateway, gateway.unsecured.sent, gateway.unsecured, std::move(frame));
  };
  // A host that is no VIP asks for its own neighbour, whose address a peer's prefix covers.
  EXPECT_FALSE(asks(arp(true, kHostMac, "10.200.0.3", "10.200.0.4")));
  EXPECT_FALSE(asks(solicitation(kHostMac, "fd00:200::3", "fd00:200::4")));
  EXPECT_FALSE(asks(solicitation(kHostMac, "fe80::3", "fd00:200::4")));
  // To all that ask we answer for ourselves, and to VIPs for the peers.
  EXPECT_TRUE(asks(arp(true, kHostMac, "10.200.0.3", "10.1.0.1")));
  EXPECT_TRUE(asks(solicitation(kHostMac, "fd00:200::3", "fd00:1::1")));
  EXPECT_TRUE(asks(arp(true, kHostMac, "10.1.0.5", "10.200.0.4")));
  EXPECT_TRUE(asks(solicitation(kHostMac, "fd00:1::5", "fd00:200::4")));
  // A host probes a neighbour that it knows, us, from its link-local address.
  EXPECT_TRUE(asks(neighbour_message(135, kHostMac, kUnsecuredMac, "fe80::5", "fd00:200::4", "fd00:200::4")));
  EXPECT_EQ(gateway.value(Value::kNeighbours), 2u);
  gateway.expect_conservation();
}

TEST(UnsecuredNeighbours, AProxyDoesNotOverrideAndTheGatewayDoes) {
  Gateway gateway;
  constexpr size_t kFlags = 14 + 40 + 4;
  gateway.host_sends(solicitation(kHostMac, "fd00:1::5", "fd00:2::7"));
  EXPECT_EQ(gateway.unsecured.sent.at(0)[kFlags] & 0x20, 0);
  gateway.host_sends(solicitation(kHostMac, "fd00:1::5", "fd00:1::1"));
  EXPECT_EQ(gateway.unsecured.sent.at(1)[kFlags] & 0x20, 0x20);
}

TEST(UnsecuredNeighbours, ASolicitationWithoutOptionIsAnsweredToItsFrame) {
  Gateway gateway;
  gateway.host_sends(
      neighbour_message(135, kHostMac, kUnsecuredMac, "fd00:1::5", "fd00:1::1", "fd00:1::1", 255, false));
  ASSERT_EQ(gateway.unsecured.sent.size(), 1u);
  EXPECT_EQ(std::memcmp(gateway.unsecured.sent[0].data(), kHostMac.data(), 6), 0);
}

TEST(UnsecuredNeighbours, DiscoveryThatWasRoutedOrIsDamagedIsNotHeard) {
  Gateway gateway;
  gateway.host_sends(
      neighbour_message(135, kHostMac, kUnsecuredMac, "fd00:1::5", "fd00:2::7", "fd00:2::7", 64));
  Frame damaged = solicitation(kHostMac, "fd00:1::5", "fd00:2::7");
  damaged.back() ^= 1;
  gateway.host_sends(damaged);
  Frame endless = solicitation(kHostMac, "fd00:1::5", "fd00:2::7");
  endless[14 + 40 + 25] = 0;
  gateway.host_sends(endless);
  EXPECT_TRUE(gateway.unsecured.sent.empty());
  EXPECT_EQ(gateway.dropped(Drop::kEgressMalformed), 3u);
}

TEST(UnsecuredNeighbours, AreAskedFromTheGatewayAddressAndGetWhatWaited) {
  Gateway gateway;
  gateway.admit(kInbound, 17);
  const Frame packet = udp_packet("10.2.0.7", "10.1.0.5", "x");
  gateway.wire_sends(sealed(key_of(17, 0), packet));
  ASSERT_EQ(gateway.unsecured.sent.size(), 1u);
  const NeighbourMessage question = message_of(gateway.unsecured.sent[0]);
  EXPECT_TRUE(question.request);
  EXPECT_EQ(question.sender, address("10.1.0.1"));
  EXPECT_EQ(question.target, address("10.1.0.5"));
  gateway.host_sends(arp(false, kHostMac, "10.1.0.5", "10.1.0.1"));
  ASSERT_EQ(gateway.unsecured.sent.size(), 2u);
  EXPECT_EQ(gateway.unsecured.sent[1], ethernet(kHostMac, kUnsecuredMac, 0x0800, packet));
  gateway.expect_conservation();
}

TEST(UnsecuredNeighbours, AreAskedFromTheLinkLocalAddressWhereNoGatewayOfTheFamilyIs) {
  EngineConfig config = gateway_config();
  config.gateways.clear();
  Gateway gateway(config);
  gateway.admit(flow("fd00:2::7", "fd00:1::5"), 17);
  gateway.wire_sends(sealed(key_of(17, 0), udp_packet("fd00:2::7", "fd00:1::5", "x")));
  ASSERT_EQ(gateway.unsecured.sent.size(), 1u);
  EXPECT_EQ(message_of(gateway.unsecured.sent[0]).sender, link_local(kUnsecuredMac));
  // And the host, which must know where its answer goes, is told.
  const Address own = link_local(kUnsecuredMac);
  char words[INET6_ADDRSTRLEN];
  inet_ntop(AF_INET6, own.data(), words, sizeof words);
  gateway.host_sends(solicitation(kHostMac, "fd00:1::5", words));
  EXPECT_EQ(message_of(gateway.unsecured.sent.back()).target, own);
  gateway.host_sends(neighbour_message(136, kHostMac, kUnsecuredMac, "fd00:1::5", words, "fd00:1::5"));
  EXPECT_EQ(gateway.value(Value::kForwardedIngress), 1u);
}

TEST(UnsecuredNeighbours, AreAskedThreeTimesASecondApartThenTheirPacketsAreDropped) {
  Gateway gateway;
  gateway.admit(kInbound, 17);
  const Frame frame = sealed(key_of(17, 0), udp_packet("10.2.0.7", "10.1.0.5", "x"));
  gateway.wire_sends(frame);
  EXPECT_EQ(gateway.unsecured.sent.size(), 1u);
  gateway.turn(999);
  EXPECT_EQ(gateway.unsecured.sent.size(), 1u);
  gateway.turn(1);
  EXPECT_EQ(gateway.unsecured.sent.size(), 2u);
  gateway.turn(1000);
  EXPECT_EQ(gateway.unsecured.sent.size(), 3u);
  gateway.turn(1000);
  EXPECT_EQ(gateway.unsecured.sent.size(), 3u);
  EXPECT_EQ(gateway.dropped(Drop::kIngressNeighbourUnresolved), 1u);
  // For a second it counts as unreachable, then it is asked again.
  gateway.wire_sends(frame);
  EXPECT_EQ(gateway.dropped(Drop::kIngressNeighbourUnresolved), 2u);
  gateway.turn(1000);
  gateway.wire_sends(frame);
  EXPECT_EQ(gateway.unsecured.sent.size(), 4u);
  gateway.expect_conservation();
}

TEST(UnsecuredNeighbours, TheQueueOfAnUnknownOneIsBoundedOldestGoFirst) {
  Gateway gateway;
  gateway.admit(kInbound, 17);
  for (uint32_t i = 0; i < Neighbours::kQueuePerNeighbour + 2; ++i) {
    gateway.wire_sends(sealed(key_of(17, 0), udp_packet("10.2.0.7", "10.1.0.5", std::to_string(i)), i));
  }
  EXPECT_EQ(gateway.dropped(Drop::kIngressNeighbourUnresolved), 2u);
  EXPECT_EQ(gateway.value(Value::kNeighbourQueued), Neighbours::kQueuePerNeighbour);
  gateway.unsecured.sent.clear();
  gateway.host_sends(arp(false, kHostMac, "10.1.0.5", "10.1.0.1"));
  ASSERT_EQ(gateway.unsecured.sent.size(), Neighbours::kQueuePerNeighbour);
  EXPECT_EQ(words_of(Frame(gateway.unsecured.sent[0].begin() + 14, gateway.unsecured.sent[0].end())), "2");
  gateway.expect_conservation();
}

// Flags of an advertisement (RFC 4861 section 4.4).
constexpr uint8_t kSolicited = 0x40, kOverride = 0x20;

MacAddress destination_of(const Frame& frame) {
  MacAddress mac;
  std::copy_n(frame.begin(), mac.size(), mac.begin());
  return mac;
}

bool is_question(const Frame& frame) {
  if (get16(frame, 12) == 0x0806) return get16(frame, 20) == 1;
  return get16(frame, 12) == 0x86dd && frame[20] == kProtocolIcmpv6 && frame[54] == 135;
}

// Traffic to one host of ours in steps of 100 ms, and the questions about it.
struct Used {
  explicit Used(bool ipv6) : ipv6(ipv6), host(ipv6 ? "fd00:1::5" : "10.1.0.5") {
    const std::string peer = ipv6 ? "fd00:2::7" : "10.2.0.7";
    gateway.admit(flow(peer, host), 17);
    frame = sealed(key_of(17, 0), udp_packet(peer, host, "x"));
  }
  // An answer to us alone.
  void answers(const MacAddress& mac) {
    gateway.host_sends(ipv6 ? advertisement(mac) : arp(false, mac, host, "10.1.0.1"));
  }
  Frame advertisement(const MacAddress& mac, bool option = true) const {
    return neighbour_message(136, mac, kUnsecuredMac, host, "fd00:1::1", host, 255, option,
                             kSolicited | kOverride);
  }
  // Sends for so long, and returns the questions that went out, with when.
  std::vector<std::pair<uint64_t, MacAddress>> use(uint64_t ms) {
    std::vector<std::pair<uint64_t, MacAddress>> questions;
    const uint64_t begin = gateway.now;
    while (gateway.now < begin + ms) {
      gateway.unsecured.sent.clear();
      gateway.turn(100);
      gateway.wire_sends(frame);
      gateway.turn();
      for (const Frame& sent : gateway.unsecured.sent) {
        if (is_question(sent)) questions.emplace_back(gateway.now - begin, destination_of(sent));
        if (!is_question(sent)) reached = destination_of(sent);
      }
    }
    return questions;
  }
  bool is_to_all(const MacAddress& mac) const {
    return ipv6 ? mac == MacAddress{0x33, 0x33, 0xff, 0, 0, 5} : mac == kBroadcastMac;
  }

  Gateway gateway;
  bool ipv6;
  std::string host;
  Frame frame;
  MacAddress reached{};  // where the last packet went
};

constexpr MacAddress kMoved = {2, 0, 0, 0, 1, 9};

class NeighbourReachability : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Families, NeighbourReachability, testing::Bool(),
                         [](const auto& info) { return info.param ? "ipv6" : "ipv4"; });

TEST_P(NeighbourReachability, OneThatSilentlyGetsAnotherMacIsFoundAfterThreeUnicastProbes) {
  Used used(GetParam());
  used.use(100);
  used.answers(kHostMac);
  // The MAC address changes at once, and nobody has the old one any more.
  const auto questions = used.use(9000);
  ASSERT_EQ(questions.size(), 4u);
  constexpr uint64_t kFirst = Neighbours::kReachableMs + Neighbours::kDelayMs;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(questions[i], std::pair(kFirst + 1000 * i, kHostMac));
  }
  EXPECT_EQ(questions[3].first, kFirst + 3000);
  EXPECT_TRUE(used.is_to_all(questions[3].second));
  // In use until the end of the probes, then packets wait for the answer.
  EXPECT_EQ(used.reached, kHostMac);
  EXPECT_GT(used.gateway.value(Value::kNeighbourQueued), 0u);
  used.answers(kMoved);
  EXPECT_EQ(used.gateway.value(Value::kNeighbourQueued), 0u);
  EXPECT_EQ(used.gateway.dropped(Drop::kIngressNeighbourUnresolved), 0u);
  used.use(100);
  EXPECT_EQ(used.reached, kMoved);
  used.gateway.expect_conservation();
}

TEST_P(NeighbourReachability, OneThatAnswersItsProbeIsProbedNoMoreThanOnceInSixSeconds) {
  Used used(GetParam());
  used.use(100);
  used.answers(kHostMac);
  uint64_t probes = 0;
  for (int i = 0; i < 600; ++i) {
    const auto questions = used.use(100);
    if (questions.empty()) continue;
    EXPECT_EQ(questions, (std::vector{std::pair(uint64_t{100}, kHostMac)}));
    ++probes;
    // IPv6 may leave the MAC address out of such an answer.
    if (used.ipv6 && probes % 2 == 1) {
      used.gateway.host_sends(used.advertisement(kHostMac, false));
    } else {
      used.answers(kHostMac);
    }
  }
  EXPECT_GE(probes, 8u);
  EXPECT_LE(probes, 10u);
  EXPECT_EQ(used.reached, kHostMac);
  EXPECT_EQ(used.gateway.dropped(Drop::kIngressNeighbourUnresolved), 0u);
  used.gateway.expect_conservation();
}

TEST_P(NeighbourReachability, OneThatIsNotUsedIsNotProbed) {
  Used used(GetParam());
  used.use(100);
  used.answers(kHostMac);
  used.gateway.unsecured.sent.clear();
  for (int i = 0; i < 600; ++i) used.gateway.turn(100);
  EXPECT_TRUE(used.gateway.unsecured.sent.empty());
  EXPECT_FALSE(used.gateway.main->hosts.any_due());
  // It serves at once, and is probed a second later.
  used.gateway.wire_sends(used.frame);
  ASSERT_EQ(used.gateway.unsecured.sent.size(), 1u);
  EXPECT_EQ(destination_of(used.gateway.unsecured.sent[0]), kHostMac);
  used.gateway.unsecured.sent.clear();
  used.gateway.turn(Neighbours::kDelayMs);
  ASSERT_EQ(used.gateway.unsecured.sent.size(), 1u);
  EXPECT_TRUE(is_question(used.gateway.unsecured.sent[0]));
  used.answers(kHostMac);
  EXPECT_FALSE(used.gateway.main->hosts.any_due());
}

TEST_P(NeighbourReachability, WhatIsNoAnswerToUsConfirmsNothing) {
  Used used(GetParam());
  used.use(100);
  const auto asks_us = [&](const MacAddress& mac) {
    used.gateway.host_sends(used.ipv6 ? solicitation(mac, used.host, "fd00:1::1")
                                      : arp(true, mac, used.host, "10.1.0.1"));
  };
  // The request brings the MAC address, so what waits leaves; whether the host is reached is found out.
  asks_us(kHostMac);
  EXPECT_EQ(used.gateway.value(Value::kNeighbourQueued), 0u);
  const auto questions = used.use(1500);
  ASSERT_EQ(questions.size(), 1u);
  EXPECT_EQ(questions[0].second, kHostMac);
  // Nor does a request in between end the probes; another MAC address does.
  asks_us(kHostMac);
  EXPECT_EQ(used.use(1000).size(), 1u);
  asks_us(kMoved);
  EXPECT_TRUE(used.use(900).empty());
  EXPECT_EQ(used.reached, kMoved);
  used.gateway.expect_conservation();
}

TEST(UnsecuredNeighbours, NothingIsLearnedOfAddressesThatAreNoHosts) {
  Gateway gateway;
  gateway.host_sends(arp(true, kHostMac, "10.9.0.5", "10.1.0.1"));
  gateway.host_sends(arp(true, {3, 0, 0, 0, 0, 1}, "10.1.0.5", "10.1.0.1"));
  gateway.host_sends(arp(false, kHostMac, "10.1.0.7", "10.1.0.1"));
  EXPECT_EQ(gateway.value(Value::kNeighbours), 0u);
}

TEST(SecuredNeighbours, AreAnsweredForOurOwnAddressOnly) {
  Gateway gateway;
  const auto asks = [&](Frame frame) {
    return answered(gateway, gateway.secured.sent, gateway.secured, std::move(frame));
  };
  EXPECT_TRUE(asks(arp(true, kPeerMac, "192.0.2.2", "192.0.2.1")));
  EXPECT_EQ(message_of(gateway.secured.sent[0]).mac, kSecuredMac);
  EXPECT_FALSE(asks(arp(true, kPeerMac, "192.0.2.2", "192.0.2.3")));
  EXPECT_FALSE(asks(arp(true, kPeerMac, "192.0.2.2", "10.1.0.5")));
  EXPECT_FALSE(asks(arp(true, kPeerMac, "192.0.2.2", "10.2.0.7")));
  EXPECT_FALSE(asks(arp(true, kPeerMac, "192.0.2.1", "192.0.2.1")));
  EXPECT_FALSE(asks(arp(true, kPeerMac, "0.0.0.0", "192.0.2.1")));
  gateway.expect_conservation();
}

TEST(SecuredNeighbours, HeldPacketsWaitForTheNextHopAndKeepTheirOrder) {
  Gateway gateway;
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "first"));
  gateway.install(kFlow, egress_key(5));
  gateway.turn();
  ASSERT_EQ(gateway.secured.sent.size(), 1u);
  EXPECT_EQ(message_of(gateway.secured.sent[0]).sender, address("192.0.2.1"));
  EXPECT_EQ(message_of(gateway.secured.sent[0]).target, address("192.0.2.2"));
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "second"));
  gateway.secured.sent.clear();
  gateway.wire_sends(arp(false, kPeerMac, "192.0.2.2", "192.0.2.1"));
  gateway.turn();
  ASSERT_EQ(gateway.secured.sent.size(), 2u);
  EXPECT_EQ(words_of(opened(gateway.secured.sent[0], egress_key(5))), "first");
  EXPECT_EQ(words_of(opened(gateway.secured.sent[1], egress_key(5))), "second");
  EXPECT_EQ(std::memcmp(gateway.secured.sent[0].data(), kPeerMac.data(), 6), 0);
  gateway.expect_conservation();
}

TEST(SecuredNeighbours, MoreIsHeldForANextHopThanItsOwnQueueTakesAndNothingIsLost) {
  Gateway gateway;
  for (int i = 1; i <= 3; ++i) {
    const std::string source = "10.1.0." + std::to_string(4 + i);
    for (int n = 0; n < 50; ++n) gateway.host_sends(from_host(source, "10.2.0.7", "x"));
    gateway.install(flow(source, "10.2.0.7"), egress_key(5));
  }
  gateway.turn(1);
  gateway.secured.sent.clear();
  gateway.wire_sends(arp(false, kPeerMac, "192.0.2.2", "192.0.2.1"));
  gateway.pass(1);
  EXPECT_EQ(gateway.secured.sent.size(), 150u);
  EXPECT_EQ(gateway.dropped(Drop::kEgressNoNextHop), 0u);
  gateway.expect_conservation();
}

TEST(SecuredNeighbours, ANextHopThatNeverAnswersFreesWhatIsHeld) {
  Gateway gateway;
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "first"));
  gateway.install(kFlow, egress_key(5));
  for (int i = 0; i < 4; ++i) gateway.turn(1000);
  gateway.turn(1);
  EXPECT_EQ(gateway.dropped(Drop::kEgressNoNextHop), 1u);
  EXPECT_EQ(gateway.value(Value::kHeld), 0u);
  gateway.expect_conservation();
}

TEST(SecuredNeighbours, OffLinkDestinationsGoToTheGatewayOrNowhere) {
  EgressKey far = egress_key(5);
  far.outer_destination = address("198.51.100.9");
  {
    Gateway gateway;
    gateway.install(kFlow, far);
    gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "x"));
    EXPECT_EQ(gateway.dropped(Drop::kEgressNoNextHop), 1u);
    EXPECT_TRUE(gateway.secured.sent.empty());
  }
  EngineConfig config = gateway_config();
  config.secured_gateway = address("192.0.2.254");
  Gateway gateway(config);
  gateway.install(kFlow, far);
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "x"));
  ASSERT_EQ(gateway.secured.sent.size(), 1u);
  EXPECT_EQ(message_of(gateway.secured.sent[0]).target, address("192.0.2.254"));
}

EngineConfig behind_gateway(const std::string& secured, const std::string& gateway) {
  EngineConfig config = gateway_config();
  config.secured_address = prefix(secured);
  config.secured_gateway = address(gateway);
  return config;
}

constexpr MacAddress kRouterMac = {2, 0, 0, 0, 9, 254};

// A peer beyond the connected prefix, whose next hop is asked for now.
void send_beyond(Gateway& gateway, const std::string& peer) {
  EgressKey far = egress_key(5);
  far.outer_destination = address(peer);
  gateway.install(kFlow, far);
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "x"));
}

// The one frame that left went to the router.
void expect_at_router(Gateway& gateway, uint16_t type) {
  ASSERT_EQ(gateway.secured.sent.size(), 1u);
  EXPECT_EQ(std::memcmp(gateway.secured.sent[0].data(), kRouterMac.data(), 6), 0);
  EXPECT_EQ(get16(gateway.secured.sent[0], 12), type);
  gateway.expect_conservation();
}

TEST(SecuredNeighbours, AGatewayOutsideThePrefixIsAskedForByArpFromOurAddress) {
  Gateway gateway(behind_gateway("192.0.2.1/24", "203.0.113.254"));
  send_beyond(gateway, "198.51.100.9");
  ASSERT_EQ(gateway.secured.sent.size(), 1u);
  const NeighbourMessage asked = message_of(gateway.secured.sent[0]);
  EXPECT_EQ(asked.sender, address("192.0.2.1"));
  EXPECT_EQ(asked.target, address("203.0.113.254"));
  gateway.secured.sent.clear();
  // Its neighbours outside the prefix are none of ours.
  gateway.wire_sends(arp(false, kPeerMac, "203.0.113.253", "192.0.2.1"));
  EXPECT_TRUE(gateway.secured.sent.empty());
  gateway.wire_sends(arp(false, kRouterMac, "203.0.113.254", "192.0.2.1"));
  expect_at_router(gateway, 0x0800);
}

TEST(SecuredNeighbours, ALinkLocalGatewayIsSolicitedFromOurLinkLocalAddress) {
  struct Wire {
    const char *secured, *peer;
    uint16_t type;
  };
  // IPv4 behind an IPv6 next hop, and IPv6 whose router has no address of our prefix.
  for (const Wire& wire :
       {Wire{"192.0.2.1/24", "198.51.100.9", 0x0800}, Wire{"fd00:9::1/64", "fd00:99::9", 0x86dd}}) {
    SCOPED_TRACE(wire.secured);
    Gateway gateway(behind_gateway(wire.secured, "fe80::1"));
    const std::string ours = "fe80::ff:fe00:901";
    ASSERT_EQ(address(ours), link_local(kSecuredMac));
    send_beyond(gateway, wire.peer);
    ASSERT_EQ(gateway.secured.sent.size(), 1u);
    const NeighbourMessage asked = message_of(gateway.secured.sent[0]);
    EXPECT_EQ(asked.sender, address(ours));
    EXPECT_EQ(asked.target, address("fe80::1"));
    gateway.secured.sent.clear();
    gateway.wire_sends(neighbour_message(136, kRouterMac, kSecuredMac, "fe80::1", ours, "fe80::1"));
    expect_at_router(gateway, wire.type);
    // The router finds out whether we are still there (RFC 4861, 7.3).
    EXPECT_TRUE(answered(gateway, gateway.secured.sent, gateway.secured,
                         neighbour_message(135, kRouterMac, kSecuredMac, "fe80::1", ours, ours)));
    EXPECT_EQ(message_of(gateway.secured.sent[0]).mac, kSecuredMac);
    // It may ask for our address from its own, too.
    if (wire.type == 0x86dd) {
      EXPECT_TRUE(answered(gateway, gateway.secured.sent, gateway.secured,
                           solicitation(kRouterMac, "fe80::1", "fd00:9::1")));
    }
  }
}

TEST(SecuredNeighbours, AnIpv6GatewayOfTheConnectedPrefixIsSolicitedFromOurAddressAlone) {
  Gateway gateway(behind_gateway("fd00:9::1/64", "fd00:9::fe"));
  EXPECT_FALSE(answered(gateway, gateway.secured.sent, gateway.secured,
                        solicitation(kRouterMac, "fd00:9::fe", "fe80::ff:fe00:901")));
  send_beyond(gateway, "fd00:99::9");
  ASSERT_EQ(gateway.secured.sent.size(), 1u);
  EXPECT_EQ(message_of(gateway.secured.sent[0]).sender, address("fd00:9::1"));
}

TEST(SecuredNeighbours, APeersConfiguredMacServesOnlyOnLinkAndUntilSomethingIsLearned) {
  constexpr MacAddress kSeed = {2, 0, 0, 0, 9, 0x77};
  Gateway gateway;
  EgressKey key = egress_key(5);
  key.mac = kSeed;
  gateway.install(kFlow, key);
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "x"));
  EXPECT_EQ(std::memcmp(gateway.secured.sent.back().data(), kSeed.data(), 6), 0);
  EXPECT_EQ(gateway.value(Value::kForwardedEgress), 1u);
  gateway.wire_sends(arp(false, kPeerMac, "192.0.2.2", "192.0.2.1"));
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "x"));
  EXPECT_EQ(std::memcmp(gateway.secured.sent.back().data(), kPeerMac.data(), 6), 0);
  // What was learned stays when the key comes again.
  gateway.install(kFlow, key);
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "x"));
  EXPECT_EQ(std::memcmp(gateway.secured.sent.back().data(), kPeerMac.data(), 6), 0);

  Gateway other;
  key.outer_destination = address("198.51.100.9");
  other.install(kFlow, key);
  other.host_sends(from_host("10.1.0.5", "10.2.0.7", "x"));
  EXPECT_EQ(other.dropped(Drop::kEgressNoNextHop), 1u);
}

TEST(SecuredNeighbours, ASeedThatIsGroupOrZeroIsNotUsed) {
  for (const MacAddress& mac : {MacAddress{}, MacAddress{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}) {
    Gateway gateway;
    EgressKey key = egress_key(5);
    key.mac = mac;
    gateway.install(kFlow, key);
    gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "x"));
    EXPECT_EQ(gateway.value(Value::kForwardedEgress), 0u);
  }
}

TEST(Neighbours, TooManyKnownOnesForgetTheLongestUnused) {
  EngineConfig config = gateway_config();
  config.vips = {prefix("10.0.0.0/8")};
  Gateway gateway(config);
  for (uint32_t i = 0; i < Neighbours::kCapacity + 100; ++i) {
    const std::string host = "10.8." + std::to_string(i / 256) + "." + std::to_string(i % 256);
    gateway.unsecured.received.push_back(arp(true, kHostMac, host, "10.1.0.1"));
    if (i % 512 == 511) {
      gateway.settle();
      gateway.unsecured.sent.clear();
      gateway.turn(1);
    }
  }
  gateway.settle();
  EXPECT_EQ(gateway.value(Value::kNeighbours), Neighbours::kKnownAtMost);
  EXPECT_EQ(gateway.main->hosts.reach(address("10.8.0.0"), gateway.now), Neighbours::Reach::kSolicited);
  const std::string last = "10.8.64.99";
  EXPECT_EQ(gateway.main->hosts.reach(address(last), gateway.now), Neighbours::Reach::kKnown);
}

// The n-th of many hosts of which none exists.
Address nobody(uint32_t n) {
  const uint8_t octets[] = {10, 9, static_cast<uint8_t>(n >> 8), static_cast<uint8_t>(n)};
  return mapped(octets);
}

TEST(Neighbours, UnknownOnesDisplaceTheOldestOfTheirOwnAndNoKnownOne) {
  EngineConfig config = gateway_config();
  config.vips = {prefix("10.0.0.0/8")};
  config.peers = {{.vips = {prefix("10.2.0.0/16")}}};
  Gateway gateway(config);
  gateway.know_host("10.1.0.6");
  gateway.admit(kInbound, 17);
  gateway.wire_sends(sealed(key_of(17, 0), udp_packet("10.2.0.7", "10.1.0.5", "x")));
  EXPECT_EQ(gateway.value(Value::kNeighbourQueued), 1u);
  Neighbours& hosts = gateway.main->hosts;
  for (uint32_t n = 0; n < Neighbours::kCapacity - 2; ++n) hosts.reach(nobody(n), gateway.now + 1);
  EXPECT_EQ(gateway.value(Value::kNeighbours), Neighbours::kCapacity);
  EXPECT_EQ(gateway.value(Value::kNeighbourQueued), 1u);
  for (uint32_t n = 0; n < Neighbours::kCapacity; ++n) {
    EXPECT_EQ(hosts.reach(nobody(n + Neighbours::kCapacity), gateway.now + 1), Neighbours::Reach::kSolicited);
  }
  EXPECT_EQ(gateway.value(Value::kNeighbours), Neighbours::kCapacity);
  EXPECT_EQ(gateway.value(Value::kNeighbourQueued), 0u);
  EXPECT_EQ(gateway.dropped(Drop::kIngressNeighbourUnresolved), 1u);
  EXPECT_EQ(hosts.reach(address("10.1.0.6"), gateway.now + 1), Neighbours::Reach::kKnown);
  gateway.expect_conservation();
  // All of them are given up and forgotten, the known one is not.
  for (int i = 0; i < 4; ++i) {
    gateway.turn(1000);
    for (uint32_t left = Neighbours::kCapacity; left > 0; left -= std::min(left, 64u)) gateway.pass(1);
  }
  EXPECT_EQ(gateway.value(Value::kNeighbours), 1u);
  EXPECT_FALSE(hosts.any_due());
}

TEST(Neighbours, AKnownOneThatIsGivenUpGivesWayLikeAnyUnknownOne) {
  EngineConfig config = gateway_config();
  config.vips = {prefix("10.0.0.0/8")};
  Gateway gateway(config);
  gateway.know_host("10.1.0.6");
  Neighbours& hosts = gateway.main->hosts;
  // One that does not answer its probes is as unknown as one never heard.
  const uint64_t later = gateway.now + Neighbours::kReachableMs;
  EXPECT_EQ(hosts.reach(address("10.1.0.6"), later), Neighbours::Reach::kKnown);
  const uint64_t probed = later + Neighbours::kDelayMs;
  Budget all = Budget::unlimited();
  for (uint64_t tries = 0; tries <= Neighbours::kTries; ++tries) hosts.tick(probed + 1000 * tries, all);
  EXPECT_EQ(gateway.value(Value::kNeighbours), 0u);
  EXPECT_EQ(hosts.reach(address("10.1.0.6"), probed + 3000), Neighbours::Reach::kSolicited);
  for (uint32_t n = 0; n < Neighbours::kCapacity; ++n) hosts.reach(nobody(n), probed + 3000);
  EXPECT_EQ(gateway.value(Value::kNeighbours), Neighbours::kCapacity);
}

TEST(Neighbours, AnAdvertisementReplacesAKnownMacOnlyWithTheOverrideFlag) {
  constexpr MacAddress kOther = {2, 0, 0, 0, 1, 9};
  Gateway gateway;
  gateway.admit(flow("fd00:2::7", "fd00:1::5"), 17);
  const Frame sent = sealed(key_of(17, 0), udp_packet("fd00:2::7", "fd00:1::5", "x"));
  const auto advertise = [&](const MacAddress& mac, uint8_t flags = 0) {
    return neighbour_message(136, mac, kUnsecuredMac, "fd00:1::5", "fd00:1::1", "fd00:1::5", 255, true,
                             flags);
  };
  const auto goes_to = [&] {
    gateway.wire_sends(sent);
    MacAddress mac;
    std::memcpy(mac.data(), gateway.unsecured.sent.back().data(), mac.size());
    return mac;
  };
  gateway.wire_sends(sent);
  gateway.host_sends(advertise(kHostMac));  // fills an unknown one
  EXPECT_EQ(gateway.value(Value::kForwardedIngress), 1u);
  gateway.host_sends(advertise(kOther));
  EXPECT_EQ(goes_to(), kHostMac);
  gateway.host_sends(advertise(kOther, kOverride));
  EXPECT_EQ(goes_to(), kOther);
  // One without it ends no probes either; the same one that answers them does.
  goes_to();
  gateway.turn(Neighbours::kDelayMs);
  gateway.host_sends(advertise(kHostMac, kSolicited));
  EXPECT_TRUE(gateway.main->hosts.any_due());
  EXPECT_EQ(goes_to(), kOther);
  gateway.host_sends(advertise(kOther, kSolicited));
  EXPECT_FALSE(gateway.main->hosts.any_due());
  gateway.expect_conservation();
}

TEST(Neighbours, DiscoveryFromAMulticastSourceIsNotHeard) {
  EngineConfig config = gateway_config();
  config.vips = {prefix("ff00::/8")};
  Gateway gateway(config);
  gateway.host_sends(solicitation(kHostMac, "ff02::5", "fd00:2::7"));
  EXPECT_TRUE(gateway.unsecured.sent.empty());
  EXPECT_EQ(gateway.value(Value::kNeighbours), 0u);
  EXPECT_EQ(gateway.dropped(Drop::kEgressMalformed), 1u);
  gateway.expect_conservation();
}

TEST(LinkLocal, AddressesOfOthersAreNeitherAnsweredNorCarried) {
  EngineConfig config = gateway_config();
  config.peers = {{.vips = {prefix("0.0.0.0/0"), prefix("::/0")}}};
  config.gateways.push_back(prefix("169.254.0.1/16"));
  Gateway gateway(config);
  const auto asks = [&](Frame frame) {
    return answered(gateway, gateway.unsecured.sent, gateway.unsecured, std::move(frame));
  };
  EXPECT_TRUE(asks(arp(true, kHostMac, "10.1.0.5", "9.9.9.9")));
  EXPECT_TRUE(asks(solicitation(kHostMac, "fd00:1::5", "2001:db8::9")));
  EXPECT_FALSE(asks(arp(true, kHostMac, "10.1.0.5", "169.254.169.254")));
  EXPECT_TRUE(asks(arp(true, kHostMac, "10.1.0.5", "169.254.0.1")));  // our own
  EXPECT_FALSE(asks(solicitation(kHostMac, "fd00:1::5", "fe80::9")));
  EXPECT_FALSE(asks(solicitation(kHostMac, "fd00:1::5", "febf::9")));
  EXPECT_TRUE(asks(solicitation(kHostMac, "fd00:1::5", "fec0::9")));

  gateway.host_sends(from_host("10.1.0.5", "169.254.169.254", "x"));
  gateway.host_sends(from_host("fd00:1::5", "fe80::9", "x"));
  EXPECT_EQ(gateway.dropped(Drop::kEgressNoPeer), 2u);
  EXPECT_EQ(gateway.value(Value::kHeld), 0u);
  gateway.host_sends(from_host("10.1.0.5", "169.255.0.1", "x"));
  EXPECT_EQ(gateway.value(Value::kHeld), 1u);
  gateway.expect_conservation();

  config.vips = {prefix("0.0.0.0/0"), prefix("::/0")};
  config.peers = {{.vips = {prefix("10.2.0.0/16"), prefix("fd00:2::/64")}}};
  Gateway wide(config);
  wide.host_sends(from_host("169.254.0.5", "10.2.0.7", "x"));
  wide.host_sends(from_host("fe80::5", "fd00:2::7", "x"));
  EXPECT_EQ(wide.dropped(Drop::kEgressNotLocalSource), 2u);
  EXPECT_TRUE(wide.missed().empty());
}

TEST(InnerNeighbourDiscovery, DoesNotReachTheHostsSegment) {
  Gateway gateway;
  gateway.admit(flow("fd00:2::7", "fd00:1::5"), 17);
  gateway.know_host("fd00:1::5");
  const Address from = address("fd00:2::7"), to = address("fd00:1::5");
  const auto dropped = [&](uint8_t protocol, const Frame& payload) {
    const uint64_t before = gateway.dropped(Drop::kIngressNeighbourDiscovery);
    const size_t sent = gateway.unsecured.sent.size();
    gateway.wire_sends(sealed(key_of(17, 0), ip_packet(from, to, protocol, payload, 0, 255)));
    const bool counted = gateway.dropped(Drop::kIngressNeighbourDiscovery) == before + 1;
    EXPECT_NE(counted, gateway.unsecured.sent.size() == sent + 1);
    return counted;
  };
  const auto icmp = [](uint8_t type) {
    Frame message(24);
    message[0] = type;
    return message;
  };
  const auto behind = [](Frame header, const Frame& rest) {
    header.resize(8);
    header.insert(header.end(), rest.begin(), rest.end());
    return header;
  };
  for (uint8_t type = 133; type <= 137; ++type) {
    EXPECT_TRUE(dropped(58, icmp(type)));
    EXPECT_TRUE(dropped(0, behind({58}, icmp(type))));                // hop-by-hop options
    EXPECT_TRUE(dropped(0, behind({60}, behind({58}, icmp(type)))));  // and destination options
    EXPECT_TRUE(dropped(44, behind({58, 0, 0, 1}, icmp(type))));      // the first of several fragments
    EXPECT_FALSE(dropped(44, behind({58, 0, 0, 8}, icmp(type))));     // a later one
    EXPECT_FALSE(dropped(17, icmp(type)));
  }
  // A first fragment that leaves the type to the next one; a later one and a whole packet have none to hide.
  EXPECT_TRUE(dropped(44, behind({60, 0, 0, 1}, behind({58}, {}))));
  EXPECT_TRUE(dropped(44, behind({58, 0, 0, 1}, {})));
  EXPECT_FALSE(dropped(44, behind({58, 0, 0, 9}, icmp(135))));
  EXPECT_FALSE(dropped(60, behind({58}, {})));
  for (const uint8_t type : {1, 2, 128, 129, 132, 138}) EXPECT_FALSE(dropped(58, icmp(type)));
  EXPECT_FALSE(dropped(58, {}));
  gateway.expect_conservation();
}

}  // namespace
}  // namespace psp
