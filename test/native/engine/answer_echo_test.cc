// SPDX-License-Identifier: Apache-2.0
// Pings to the gateway address: which are answered, how, and how many.
#include "lcores.h"
#include "wire_frames.h"

namespace psp {
namespace {

constexpr uint8_t kFill = 0x5a;

// An echo request; `code` other than 0 makes it something else.
Frame echo_request(const std::string& source, const std::string& destination, size_t octets = 56,
                   uint8_t code = 0) {
  Frame body(8 + octets, kFill);
  body[0] = is_ipv4(address(source)) ? 8 : 128;
  body[1] = code;
  return icmp_packet(source, destination, body);
}

struct Ends {
  const char *host, *gateway, *other;
};
constexpr Ends kEnds[] = {{"10.1.0.5", "10.1.0.1", "10.1.0.6"}, {"fd00:1::5", "fd00:1::1", "fd00:1::6"}};

class AnswerEcho : public testing::TestWithParam<Ends> {};
INSTANTIATE_TEST_SUITE_P(Families, AnswerEcho, testing::ValuesIn(kEnds),
                         [](const auto& info) { return info.index == 0 ? "ipv4" : "ipv6"; });

void expect_reply(const Frame& frame, const Ends& ends, size_t octets = 56) {
  const bool ipv4 = is_ipv4(address(ends.host));
  Frame body(8 + octets, kFill);
  body[0] = ipv4 ? 0 : 129;
  body[1] = 0;
  Frame expected = icmp_packet(ends.gateway, ends.host, body);
  if (ipv4) expected = with_df(expected);
  EXPECT_EQ(frame, ethernet(kHostMac, kUnsecuredMac, ipv4 ? 0x0800 : 0x86dd, expected));
}

TEST_P(AnswerEcho, AHostThatPingsItsGatewayGetsAReply) {
  for (const size_t octets : {size_t{0}, size_t{56}, size_t{57}, size_t{1500 - 48}}) {
    Gateway gateway;
    gateway.host_sends(from_host(echo_request(GetParam().host, GetParam().gateway, octets)));
    ASSERT_EQ(gateway.unsecured.sent.size(), 1u);
    expect_reply(gateway.unsecured.sent[0], GetParam(), octets);
    EXPECT_TRUE(gateway.secured.sent.empty());
    EXPECT_TRUE(gateway.missed().empty());
    EXPECT_EQ(gateway.value(Value::kEchoAnswered), 1u);
    EXPECT_EQ(gateway.value(Value::kConsumed), 1u);
    gateway.expect_conservation();
  }
}

TEST_P(AnswerEcho, AlsoWhereItsAddressLiesInAPeersPrefix) {
  EngineConfig config = gateway_config();
  config.vips = {prefix("10.1.0.5/32"), prefix("fd00:1::5/128")};
  config.peers = {{.vips = {prefix("10.0.0.0/8"), prefix("fd00::/16")}}};
  Gateway gateway(config);
  gateway.host_sends(from_host(echo_request(GetParam().host, GetParam().gateway)));
  ASSERT_EQ(gateway.unsecured.sent.size(), 1u);
  expect_reply(gateway.unsecured.sent[0], GetParam());
  // What is no ping does not leave for the peer either.
  gateway.host_sends(from_host(udp_packet(GetParam().host, GetParam().gateway, "x")));
  EXPECT_EQ(gateway.dropped(Drop::kEgressLocalDestination), 1u);
  EXPECT_TRUE(gateway.missed().empty());
  gateway.expect_conservation();
}

TEST_P(AnswerEcho, NothingElseIsAnswered) {
  const Ends& ends = GetParam();
  const bool ipv4 = is_ipv4(address(ends.host));
  Gateway gateway;
  Frame damaged = echo_request(ends.host, ends.gateway);
  damaged.back() ^= 1;
  std::vector<Frame> packets = {damaged, echo_request(ends.host, ends.gateway, 56, 1),
                                echo_request(ends.host, ends.other), udp_packet(ends.host, ends.gateway, "x"),
                                ip_packet(address(ends.host), address(ends.gateway),
                                          ipv4 ? kProtocolIcmp : kProtocolIcmpv6, {8, 0, 0})};
  for (const Frame& piece : in_fragments(from_host(echo_request(ends.host, ends.gateway, 2000)), 1000)) {
    packets.push_back(ip_of(piece));
  }
  if (ipv4) packets.push_back(with_options(echo_request(ends.host, ends.gateway), {1, 1, 1, 0}));
  for (const Frame& packet : packets) gateway.host_sends(from_host(packet));
  EXPECT_EQ(gateway.dropped(Drop::kEgressLocalDestination), packets.size());
  // Nor is a host that is no VIP, which so learns from its drop reason what is missing.
  gateway.host_sends(from_host(echo_request(ipv4 ? "10.3.0.5" : "fd00:3::5", ends.gateway)));
  EXPECT_EQ(gateway.dropped(Drop::kEgressNotLocalSource), 1u);
  EXPECT_TRUE(gateway.unsecured.sent.empty());
  EXPECT_EQ(gateway.value(Value::kEchoAnswered) + gateway.value(Value::kEchoSuppressed), 0u);
  gateway.expect_conservation();
}

TEST_P(AnswerEcho, AFloodIsAnsweredAsOftenAsTheLimitLetsAndCostsNoErrors) {
  Gateway gateway(gateway_config(), 1500, 1400);
  for (int i = 0; i < 200; ++i) {
    gateway.unsecured.received.push_back(from_host(echo_request(GetParam().host, GetParam().gateway)));
  }
  gateway.settle();
  EXPECT_EQ(gateway.value(Value::kEchoAnswered), gateway.unsecured.sent.size());
  EXPECT_GE(gateway.unsecured.sent.size(), 1u);
  EXPECT_LE(gateway.unsecured.sent.size(), 10u);
  EXPECT_EQ(gateway.value(Value::kEchoAnswered) + gateway.value(Value::kEchoSuppressed), 200u);
  // Errors have a limit of their own.
  gateway.know_next_hop();
  const std::string far = is_ipv4(address(GetParam().host)) ? "10.2.0.7" : "fd00:2::7";
  gateway.install(flow(GetParam().host, far), egress_key(5));
  Frame packet = long_packet(GetParam().host, far, 1450);
  if (packet[0] >> 4 == 4) packet = with_df(packet);
  gateway.host_sends(from_host(packet));
  EXPECT_EQ(gateway.value(Value::kIcmpSent), 1u);
  gateway.expect_conservation();
}

TEST_P(AnswerEcho, EveryLcoreAnswersByItself) {
  TwoLcores gateway;
  gateway.host_sends_to_worker(from_host(echo_request(GetParam().host, GetParam().gateway)));
  ASSERT_EQ(gateway.hosts_queue.sent.size(), 1u);
  expect_reply(gateway.hosts_queue.sent[0], GetParam());
  EXPECT_EQ(gateway.handed_off(), 0u);
}

TEST(SecuredAddress, AnswersNoPing) {
  Gateway gateway;
  gateway.wire_sends(from_wire(echo_request("192.0.2.2", "192.0.2.1")));
  EXPECT_TRUE(gateway.secured.sent.empty());
  EXPECT_EQ(gateway.dropped(Drop::kIngressIcmp), 1u);
}

}  // namespace
}  // namespace psp
