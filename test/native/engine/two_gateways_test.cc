// SPDX-License-Identifier: Apache-2.0
// Two gateways with a wire between them that the test carries by hand: all families of inner and outer IP,
// and garbage on both ports.
#include <random>

#include "gateway.h"

namespace psp {
namespace {

// Moves what one gateway sent to the other, both ways, until the wire is silent.
void carry(Gateway& a, Gateway& b) {
  while (!a.secured.sent.empty() || !b.secured.sent.empty()) {
    b.secured.received.insert(b.secured.received.end(), a.secured.sent.begin(), a.secured.sent.end());
    a.secured.sent.clear();
    b.settle();
    a.secured.received.insert(a.secured.received.end(), b.secured.sent.begin(), b.secured.sent.end());
    b.secured.sent.clear();
    a.settle();
    a.turn(1);
    b.turn(1);
  }
}

struct Families {
  bool inner_ipv6, outer_ipv6;
  uint8_t version;
};

class TwoGateways : public testing::TestWithParam<Families> {};

TEST_P(TwoGateways, CarryAHeldPacketAndItsAnswerUnchanged) {
  const Families& families = GetParam();
  EngineConfig a_config = gateway_config(), b_config = gateway_config();
  std::swap(b_config.vips, b_config.peers[0].vips);
  b_config.gateways = {};
  if (families.outer_ipv6) {
    a_config.secured_address = prefix("fd00:99::1/64");
    b_config.secured_address = prefix("fd00:99::2/64");
  } else {
    b_config.secured_address = prefix("192.0.2.2/24");
  }
  Gateway a(a_config), b(b_config);
  const std::string host_a = families.inner_ipv6 ? "fd00:1::5" : "10.1.0.5";
  const std::string host_b = families.inner_ipv6 ? "fd00:2::7" : "10.2.0.7";
  a.know_host(host_a);
  b.host_sends(families.inner_ipv6 ? solicitation(kHostMac, host_b, "fd00:1::5")
                                   : arp(true, kHostMac, host_b, "10.1.0.5"));
  b.unsecured.sent.clear();

  const FlowKey there = flow(host_a, host_b), back = there.reversed();
  a.host_sends(from_host(host_a, host_b, "question"));
  ASSERT_EQ(a.missed().size(), 1u);
  // B offers for the way there and A for the way back, each with a key of its own master key.
  b.admit(there, 100, families.version);
  EgressKey to_b = key_of(100, families.version);
  to_b.outer_destination = b_config.secured_address.address;
  a.admit(back, 200, families.version);
  EgressKey to_a = key_of(200, families.version);
  to_a.outer_destination = a_config.secured_address.address;
  b.install(back, to_a);
  a.install(there, to_b);
  a.turn();
  carry(a, b);
  ASSERT_EQ(b.unsecured.sent.size(), 1u);
  EXPECT_EQ(Frame(b.unsecured.sent[0].begin() + 14, b.unsecured.sent[0].end()),
            udp_packet(host_a, host_b, "question"));

  b.host_sends(from_host(host_b, host_a, "answer"));
  carry(a, b);
  ASSERT_EQ(a.unsecured.sent.size(), 1u);
  EXPECT_EQ(Frame(a.unsecured.sent[0].begin() + 14, a.unsecured.sent[0].end()),
            udp_packet(host_b, host_a, "answer"));
  a.expect_conservation();
  b.expect_conservation();
}

INSTANTIATE_TEST_SUITE_P(Families, TwoGateways,
                         testing::Values(Families{false, false, 0}, Families{false, false, 1},
                                         Families{false, true, 0}, Families{true, false, 1},
                                         Families{true, true, 0}, Families{true, true, 1}),
                         [](const auto& info) {
                           return std::string(info.param.inner_ipv6 ? "v6" : "v4") + "_in_" +
                                  (info.param.outer_ipv6 ? "v6" : "v4") + "_version" +
                                  std::to_string(info.param.version);
                         });

// Damages a good frame in one of many ways.
Frame garble(Frame frame, std::mt19937& random) {
  const auto below = [&](size_t bound) { return bound == 0 ? 0 : random() % bound; };
  switch (below(8)) {
    case 0:
      frame.resize(below(frame.size() + 1));
      break;
    case 1:
      for (uint8_t& octet : frame) octet = static_cast<uint8_t>(random());
      break;
    case 2:  // random behind a good Ethernet header
      for (size_t i = 14; i < frame.size(); ++i) frame[i] = static_cast<uint8_t>(random());
      break;
    case 3:  // huge lengths
      if (frame.size() > 20)
        put16(frame, get16(frame, 12) == 0x0800 ? 16 : 18, 0xffff - static_cast<uint32_t>(below(9)));
      break;
    case 4:
      if (frame.size() > 22) put16(frame, 20, static_cast<uint32_t>(random()));
      break;
    case 5:
      frame.insert(frame.begin() + static_cast<long>(std::min<size_t>(12, frame.size())), {0x81, 0, 0, 7});
      break;
    case 6:
      for (size_t n = below(4) + 1; n > 0 && !frame.empty(); --n) frame[below(frame.size())] ^= 1 << below(8);
      break;
    case 7:
      frame.resize(frame.size() + below(9000));
      break;
  }
  // The header checksum is made good half of the time, so that later pipes see it too.
  if (frame.size() >= 34 && get16(frame, 12) == 0x0800 && (frame[14] & 0xf) == 5 && below(2) == 0) {
    put16(frame, 24, 0);
    put16(frame, 24, checksum_fold(checksum_add(&frame[14], 20, 0)));
  }
  return frame;
}

TEST(Garbage, OnBothPortsEndsCountedUnderOneReasonEach) {
  for (uint32_t seed = 1; seed <= 4; ++seed) {
    std::mt19937 random(seed);
    Gateway gateway;
    gateway.know_next_hop();
    gateway.know_host("10.1.0.5");
    gateway.install(flow("10.1.0.5", "10.2.0.7"), egress_key(5));
    gateway.admit(flow("10.2.0.7", "10.1.0.5"), 17);
    const std::vector<Frame> from_hosts = {
        from_host("10.1.0.5", "10.2.0.7", std::string(random() % 1400, 'a')),
        from_host("10.1.0.6", "10.2.0.8", "held"),
        from_host("fd00:1::5", "fd00:2::7", "six"),
        arp(true, kHostMac, "10.1.0.5", "10.2.0.7"),
        solicitation(kHostMac, "fd00:1::5", "fd00:2::7"),
    };
    const std::vector<Frame> from_wire = {
        sealed(key_of(17, 0), udp_packet("10.2.0.7", "10.1.0.5", "x")),
        sealed(key_of(99, 0), udp_packet("10.2.0.7", "10.1.0.5", "x")),
        arp(true, kPeerMac, "192.0.2.2", "192.0.2.1"),
        solicitation(kPeerMac, "fe80::2", "fd00:99::1"),
    };
    for (int i = 0; i < 20000; ++i) {
      gateway.unsecured.received.push_back(garble(from_hosts[random() % from_hosts.size()], random));
      gateway.secured.received.push_back(garble(from_wire[random() % from_wire.size()], random));
      if (i % 16 == 15) gateway.turn(1);
      gateway.secured.sent.clear();
      gateway.unsecured.sent.clear();
    }
    gateway.settle();
    gateway.expect_conservation();
    EXPECT_GT(gateway.dropped(Drop::kIngressIcvFailure), 0u);
    EXPECT_GT(gateway.dropped(Drop::kEgressTruncated), 0u);
    EXPECT_GT(gateway.dropped(Drop::kEgressTooBig), 0u);
    EXPECT_GT(gateway.dropped(Drop::kIngressVlan), 0u);
    // And it still works.
    gateway.unsecured.sent.clear();
    gateway.wire_sends(from_wire[0]);
    EXPECT_FALSE(gateway.unsecured.sent.empty());
  }
}

}  // namespace
}  // namespace psp
