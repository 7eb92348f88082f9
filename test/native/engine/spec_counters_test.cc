// SPDX-License-Identifier: Apache-2.0
// The counters of the PSP specification for what is sealed: octets from after the IV to the end of the
// payload.
#include "wire_frames.h"

namespace psp {
namespace {

TEST(SpecCounters, CountWhatWasSealedInBothModesWithAndWithoutCookie) {
  for (const Mode mode : {Mode::kTunnel, Mode::kTransport}) {
    for (const uint64_t cookie : {0, 9}) {
      Gateway gateway;
      gateway.know_next_hop();
      EgressKey key = egress_key(5);
      key.mode = mode;
      key.cookie = cookie;
      gateway.install(flow("10.1.0.5", "10.2.0.7"), key);
      gateway.install(flow("fd00:1::5", "fd00:2::7"), key);
      const Frame four = udp_packet("10.1.0.5", "10.2.0.7", "four"),
                  six = udp_packet("fd00:1::5", "fd00:2::7", "six!!");
      gateway.host_sends(from_host(four));
      const bool tunnel = mode == Mode::kTunnel;
      const size_t of_four = four.size() - (tunnel ? 0 : 20) + (cookie != 0 ? 8 : 0);
      EXPECT_EQ(gateway.value(Value::kTxPackets), 1u);
      EXPECT_EQ(gateway.value(Value::kTxBytes), of_four);
      gateway.host_sends(from_host(six));
      EXPECT_EQ(gateway.value(Value::kTxPackets), 2u);
      EXPECT_EQ(gateway.value(Value::kTxBytes),
                of_four + six.size() - (tunnel ? 0 : 40) + (cookie != 0 ? 8 : 0));
      EXPECT_EQ(gateway.value(Value::kTxError), 0u);
      // IP in IP has no form in transport mode.
      gateway.host_sends(from_host(ip_packet(address("10.1.0.5"), address("10.2.0.7"), 4, four)));
      EXPECT_EQ(gateway.value(Value::kTxError), tunnel ? 0u : 1u);
      EXPECT_EQ(gateway.value(Value::kTxPackets), tunnel ? 3u : 2u);
    }
  }
}

// What one gateway counts as sent, the other counts as received.
TEST(SpecCounters, OfTwoGatewaysAgree) {
  Gateway sender;
  sender.know_next_hop();
  EngineConfig config = gateway_config();
  std::swap(config.vips, config.peers[0].vips);
  config.gateways = {};
  config.secured_address = prefix("192.0.2.2/24");
  Gateway receiver(config);
  EgressKey key = key_of(100, 1);
  key.cookie = 77;
  receiver.admit(flow("10.1.0.5", "10.2.0.7"), 100, 1, 77);
  sender.install(flow("10.1.0.5", "10.2.0.7"), key);
  for (const char* words : {"a", "bc", "def"}) sender.host_sends(from_host("10.1.0.5", "10.2.0.7", words));
  for (Frame frame : sender.secured.sent) {
    std::memcpy(frame.data(), kSecuredMac.data(), 6);
    receiver.wire_sends(frame);
  }
  EXPECT_EQ(receiver.value(Value::kRxPackets), 3u);
  EXPECT_EQ(receiver.value(Value::kRxPackets), sender.value(Value::kTxPackets));
  EXPECT_EQ(receiver.value(Value::kRxBytes), sender.value(Value::kTxBytes));
}

// A packet that its host cut goes through two gateways in transport mode, and comes out as it was.
TEST(TransportOfFragments, FromHostToHost) {
  for (const bool six : {false, true}) {
    const FlowKey there = six ? flow("fd00:1::5", "fd00:2::7") : flow("10.1.0.5", "10.2.0.7");
    EngineConfig config = gateway_config();
    config.peers[0].mode = Mode::kTransport;
    Gateway sender(config);
    sender.know_next_hop();
    std::swap(config.vips, config.peers[0].vips);
    config.gateways = {};
    config.secured_address = prefix("192.0.2.2/24");
    Gateway receiver(config);
    receiver.host_sends(six ? solicitation(kHostMac, "fd00:2::7", "fd00:1::5")
                            : arp(true, kHostMac, "10.2.0.7", "10.1.0.5"));
    receiver.unsecured.sent.clear();
    EgressKey key = key_of(100, 0);
    key.mode = Mode::kTransport;
    receiver.admit(there, 100, 0, 0, Mode::kTransport);
    sender.install(there, key);
    Frame packet = six ? long_packet("fd00:1::5", "fd00:2::7", 4000)
                       : ipv4_marked(long_packet("10.1.0.5", "10.2.0.7", 4000), 7, 0);
    for (Frame fragment : in_fragments(from_host(packet), 1448)) sender.host_sends(fragment);
    EXPECT_GT(sender.secured.sent.size(), 2u);
    for (Frame frame : sender.secured.sent) {
      std::memcpy(frame.data(), kSecuredMac.data(), 6);
      receiver.wire_sends(frame);
    }
    const std::vector<Frame> got(receiver.unsecured.sent.begin(), receiver.unsecured.sent.end());
    ASSERT_EQ(got.size(), 3u);
    EXPECT_EQ(ip_of(joined(got)), packet);
    sender.expect_conservation();
    receiver.expect_conservation();
  }
}

// Headers that routers read, as long as they may be in front of PSP, stand in front of its fragments too.
TEST(TransportOfFragments, BehindTheLongestHeaders) {
  const FlowKey there = flow("fd00:1::5", "fd00:2::7");
  EngineConfig config = gateway_config();
  config.peers[0].mode = Mode::kTransport;
  Gateway sender(config, 1500, 1280);
  sender.know_next_hop();
  std::swap(config.vips, config.peers[0].vips);
  config.gateways = {};
  config.secured_address = prefix("192.0.2.2/24");
  Gateway receiver(config);
  receiver.host_sends(solicitation(kHostMac, "fd00:2::7", "fd00:1::5"));
  receiver.unsecured.sent.clear();
  EgressKey key = key_of(100, 0);
  key.mode = Mode::kTransport;
  receiver.admit(there, 100, 0, 0, Mode::kTransport);
  sender.install(there, key);
  Frame hops(200);
  hops[0] = 17;
  hops[1] = 24;
  hops[2] = 1;
  hops[3] = 194;  // padding
  const Frame packet = with_extensions(long_packet("fd00:1::5", "fd00:2::7", 1080), 0, hops);
  sender.host_sends(from_host(packet));
  ASSERT_EQ(sender.secured.sent.size(), 2u);
  for (Frame frame : sender.secured.sent) {
    std::memcpy(frame.data(), kSecuredMac.data(), 6);
    receiver.wire_sends(frame);
  }
  ASSERT_EQ(receiver.unsecured.sent.size(), 1u);
  EXPECT_EQ(ip_of(receiver.unsecured.sent[0]), packet);
}

}  // namespace
}  // namespace psp
