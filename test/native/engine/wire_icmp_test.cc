// SPDX-License-Identifier: Apache-2.0
// Routers that tell of a smaller MTU, and others who would like to.
#include <random>

#include "wire_frames.h"

namespace psp {
namespace {

const FlowKey kFour = flow("10.1.0.5", "10.2.0.7"), kSix = flow("fd00:1::5", "fd00:2::7");

// A gateway with a key for flows of both families, and what it sends to the wire.
struct Sender : Gateway {
  explicit Sender(Mode mode, bool outer_ipv6 = false) : Gateway(config_of(mode, outer_ipv6)) {
    EgressKey key = egress_key(5);
    key.mode = mode;
    if (outer_ipv6) {
      wire_sends(solicitation(kPeerMac, "fd00:99::2", "fd00:99::1"));
      secured.sent.clear();
      key.outer_destination = address("fd00:99::2");
      key.mac = kPeerMac;
    } else {
      know_next_hop();
    }
    install(kFour, key);
    key.spi = 6;
    install(kSix, key);
  }
  static EngineConfig config_of(Mode mode, bool outer_ipv6) {
    EngineConfig config = gateway_config();
    config.peers[0].mode = mode;
    if (outer_ipv6) config.secured_address = prefix("fd00:99::1/64");
    return config;
  }
  uint16_t mtu(const FlowKey& flow) {
    FlowsCommand command;
    command.rows.resize(8);
    for (const FlowRow& row : obey(std::move(command)).rows) {
      if (row.flow == flow && row.state == FlowRow::State::kKeyed) return row.path_mtu;
    }
    return 0;
  }
  Frame sends(const FlowKey& flow, size_t length = 400) {
    secured.sent.clear();
    const bool ipv4 = is_ipv4(flow.source);
    const Frame packet = ip_packet(flow.source, flow.destination, 17, udp(1, 2, Frame(length)));
    host_sends(from_host(ipv4 ? with_df(packet) : packet));
    EXPECT_EQ(secured.sent.size(), 1u);
    return secured.sent.empty() ? Frame(60) : secured.sent[0];
  }
  void expect_unproven(const Frame& frame) {
    const uint64_t before = dropped(Drop::kIngressIcmpUnproven);
    const uint16_t four = mtu(kFour), six = mtu(kSix);
    wire_sends(frame);
    EXPECT_EQ(dropped(Drop::kIngressIcmpUnproven), before + 1);
    EXPECT_EQ(mtu(kFour), four);
    EXPECT_EQ(mtu(kSix), six);
  }
};

struct Way {
  Mode mode;
  bool outer_ipv6;
};

class WireIcmp : public testing::TestWithParam<Way> {
 protected:
  const Mode mode = GetParam().mode;
  const bool six = GetParam().outer_ipv6;
  const bool tunnel = mode == Mode::kTunnel;
  const FlowKey flow = six ? kSix : kFour;
  // The source of what leaves, where errors go.
  const std::string us = tunnel ? (six ? "fd00:99::1" : "192.0.2.1") : (six ? "fd00:1::5" : "10.1.0.5");
  const std::string router = six ? "fd00:77::1" : "172.16.0.1";
};

TEST_P(WireIcmp, LowersThePathMtuOfTheFlowThatItQuotes) {
  Sender gateway(mode, six);
  const Frame frame = gateway.sends(flow);
  EXPECT_EQ(gateway.mtu(flow), 1600);
  gateway.wire_sends(too_big(router, us, 1400, frame));
  EXPECT_EQ(gateway.mtu(flow), 1400);
  // The other flow has a key of its own.
  EXPECT_EQ(gateway.mtu(six ? kFour : kSix), 1600);
  EXPECT_EQ(gateway.value(Value::kTooBigLearned), 1u);
  // Never up again by such a message, nor below what the family needs.
  gateway.expect_unproven(too_big(router, us, 1500, frame));
  gateway.expect_unproven(too_big(router, us, 1400, frame));
  gateway.wire_sends(too_big(router, us, 68, frame));
  EXPECT_EQ(gateway.mtu(flow), six ? 1280 : 576);
  gateway.expect_unproven(too_big(router, us, 0, frame));
  gateway.expect_conservation();
}

TEST_P(WireIcmp, NeedsTheSpiAndNoMoreOfTheQuote) {
  Sender gateway(mode, six);
  const Frame frame = gateway.sends(flow);
  const size_t needed = (six ? 40 : 20) + 8 + 8;
  for (size_t quoted = 0; quoted < needed; ++quoted) {
    gateway.expect_unproven(too_big(router, us, 1300, frame, quoted));
  }
  gateway.wire_sends(too_big(router, us, 1300, frame, needed));
  EXPECT_EQ(gateway.mtu(flow), 1300);
}

TEST_P(WireIcmp, BelievesNobodyWhoDoesNotKnowWhatWeSent) {
  Sender gateway(mode, six);
  const Frame good = gateway.sends(flow);
  const size_t ip = 14, l4 = ip + (six ? 40 : 20);
  const auto changed = [&](size_t at, uint8_t by = 1) {
    Frame frame = good;
    frame[at] ^= by;
    return too_big(router, us, 1300, frame);
  };
  for (size_t i = 0; i < 4; ++i) gateway.expect_unproven(changed(l4 + 8 + 4 + i));  // SPI
  gateway.expect_unproven(changed(l4 + 2));                                         // port
  gateway.expect_unproven(changed(l4 + 3));
  const size_t source = ip + (six ? 8 : 12), destination = ip + (six ? 24 : 16), length = six ? 16 : 4;
  for (size_t i = 0; i < length; ++i) {
    gateway.expect_unproven(changed(source + i));
    gateway.expect_unproven(changed(destination + i));
  }
  gateway.expect_unproven(changed(ip + (six ? 6 : 9)));  // protocol
  gateway.expect_unproven(changed(ip, 0x20));            // version
  if (!six) {
    gateway.expect_unproven(changed(ip, 0x04));      // header length 4
    gateway.expect_unproven(changed(ip + 7, 0x01));  // a later fragment
  }
  // A plain packet of ours that never was; the flow of the other mode.
  gateway.expect_unproven(too_big(router, us, 1300, from_wire(udp_packet(us, router, std::string(60, 'x')))));
  gateway.obey(RemoveCommand{{flow}});
  gateway.expect_unproven(too_big(router, us, 1300, good));
  gateway.expect_conservation();
}

TEST_P(WireIcmp, OfAnyOtherKindIsDropped) {
  Sender gateway(mode, six);
  const Frame frame = gateway.sends(flow);
  uint64_t dropped = 0;
  for (int type = 0; type < 256; ++type) {
    // Neighbour and router discovery are heard elsewhere.
    if (six && type >= 133 && type <= 137) continue;
    for (const uint8_t code : {0, 3, 4}) {
      Frame told = ip_of(too_big(router, us, 1300, frame));
      Frame body(told.begin() + (six ? 40 : 20), told.end());
      body[0] = static_cast<uint8_t>(type);
      body[1] = code;
      if (six ? type == 2 : type == 3 && code == 4) continue;
      gateway.wire_sends(from_wire(icmp_packet(router, us, body)));
      ++dropped;
    }
  }
  EXPECT_EQ(gateway.dropped(Drop::kIngressIcmp), dropped);
  EXPECT_EQ(gateway.mtu(flow), 1600);
  EXPECT_TRUE(gateway.unsecured.sent.empty());
}

TEST_P(WireIcmp, WithAWrongChecksumOrTruncatedIsMalformed) {
  Sender gateway(mode, six);
  const Frame good = too_big(router, us, 1300, gateway.sends(flow));
  const size_t icmp = 14 + (six ? 40 : 20);
  uint64_t malformed = 0;
  for (const size_t at : {icmp, icmp + 2, icmp + 7, good.size() - 1}) {
    Frame bad = good;
    bad[at] ^= 0x10;
    gateway.wire_sends(bad);
    EXPECT_EQ(gateway.dropped(Drop::kIngressMalformed), ++malformed);
  }
  for (size_t length = 0; length < 8; ++length) {
    const Frame body(length);
    Frame packet = ip_packet(address(router), address(us), six ? 58 : 1, body);
    gateway.wire_sends(from_wire(packet));
    EXPECT_EQ(gateway.dropped(Drop::kIngressMalformed), ++malformed);
  }
  EXPECT_EQ(gateway.mtu(flow), 1600);
}

TEST_P(WireIcmp, ToOthersIsNotForUs) {
  Sender gateway(mode, six);
  const Frame frame = gateway.sends(flow);
  for (const std::string other : {six ? "fd00:99::9" : "192.0.2.9", six ? "fd00:2::7" : "10.2.0.7"}) {
    gateway.wire_sends(too_big(router, other, 1300, frame));
  }
  EXPECT_EQ(gateway.dropped(Drop::kIngressNotForUs), 2u);
  EXPECT_EQ(gateway.mtu(flow), 1600);
}

TEST_P(WireIcmp, SurvivesRandomMessages) {
  Sender gateway(mode, six);
  const Frame frame = gateway.sends(flow);
  std::mt19937 random(4);
  for (int i = 0; i < 20000; ++i) {
    Frame told = ip_of(too_big(router, us, 1300, frame, random() % 200));
    Frame body(told.begin() + (six ? 40 : 20), told.end());
    // The SPI stays wrong, so nothing may be learned whatever else is hit.
    const size_t spi = 8 + (six ? 40 : 20) + 8 + 4;
    for (size_t n = random() % 6; n > 0; --n) body[random() % body.size()] = static_cast<uint8_t>(random());
    if (body.size() > spi) body[spi] = 0x55;
    gateway.secured.received.push_back(from_wire(icmp_packet(router, us, body)));
    if (i % 32 == 31) gateway.settle();
  }
  gateway.settle();
  EXPECT_EQ(gateway.mtu(kFour), 1600);
  EXPECT_EQ(gateway.mtu(kSix), 1600);
  EXPECT_GT(gateway.dropped(Drop::kIngressIcmpUnproven), 1000u);
  gateway.expect_conservation();
}

INSTANTIATE_TEST_SUITE_P(Ways, WireIcmp,
                         testing::Values(Way{Mode::kTunnel, false}, Way{Mode::kTunnel, true},
                                         Way{Mode::kTransport, false}, Way{Mode::kTransport, true}),
                         [](const auto& info) {
                           return std::string(info.param.mode == Mode::kTunnel ? "tunnel" : "transport") +
                                  (info.param.outer_ipv6 ? "_v6" : "_v4");
                         });

TEST(WireIcmpQuotes, AreReadBehindOptionsAndExtensionHeaders) {
  Sender gateway(Mode::kTransport);
  Frame four = ip_of(gateway.sends(kFour));
  gateway.wire_sends(
      too_big("172.16.0.1", "10.1.0.5", 1300, from_wire(with_options(four, {7, 7, 4, 0, 0, 0, 0, 0}))));
  EXPECT_EQ(gateway.mtu(kFour), 1300);
  const Frame six = ip_of(gateway.sends(kSix));
  const Frame hop_by_hop = with_extensions(six, kProtocolHopByHop, {17, 0, 1, 4, 0, 0, 0, 0});
  const Frame first = with_extensions(six, kProtocolFragment, {17, 0, 0, 1, 0, 0, 0, 9});
  const Frame later = with_extensions(six, kProtocolFragment, {17, 0, 1, 1, 0, 0, 0, 9});
  Frame endless = with_extensions(six, kProtocolHopByHop, Frame(80, 0));
  gateway.expect_unproven(too_big("fd00:77::1", "fd00:1::5", 1500, from_wire(later)));
  gateway.expect_unproven(too_big("fd00:77::1", "fd00:1::5", 1500, from_wire(endless)));
  gateway.wire_sends(too_big("fd00:77::1", "fd00:1::5", 1500, from_wire(hop_by_hop)));
  EXPECT_EQ(gateway.mtu(kSix), 1500);
  gateway.wire_sends(too_big("fd00:77::1", "fd00:1::5", 1450, from_wire(first)));
  EXPECT_EQ(gateway.mtu(kSix), 1450);
}

TEST(WireIcmpQuotes, CountOnlyForTheSourceThatTheyName) {
  Sender gateway(Mode::kTransport);
  const Frame frame = gateway.sends(kFour);
  gateway.expect_unproven(too_big("172.16.0.1", "10.1.0.9", 1300, frame));
  gateway.expect_unproven(too_big("172.16.0.1", "192.0.2.1", 1300, frame));
  gateway.wire_sends(too_big("172.16.0.1", "10.1.0.5", 1300, frame));
  EXPECT_EQ(gateway.mtu(kFour), 1300);
}

TEST(WireIcmpQuotes, TooLongToBeTrueAreAtMostWhatTheySay) {
  Sender gateway(Mode::kTunnel, true);
  const Frame frame = gateway.sends(kSix);
  // An MTU of more than 16 bits raises nothing and wraps nowhere.
  gateway.expect_unproven(too_big("fd00:77::1", "fd00:99::1", 0x10500, frame));
}

}  // namespace
}  // namespace psp
