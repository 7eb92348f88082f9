// SPDX-License-Identifier: Apache-2.0
// Frames from the wire: which SPIs count as offered, for which flows, and where packets that do not match the
// offer are dropped.
#include "traced.h"

namespace psp {
namespace {

constexpr char kOpened[] = "ingress_root+ ingress_decrypt+ ingress_sampling- ingress_acl+";

Frame inner(const std::string& source = "10.2.0.9", const std::string& words = "hello") {
  return udp_packet(source, source[0] == 'f' ? "fd00:1::5" : "10.1.0.5", words);
}
EgressKey tunnel(uint32_t spi, uint8_t version = 0) {
  return mode_key(spi, version, Mode::kTunnel);
}

TEST(Offers, AreForTheFlowOfTheFirstPacketThatOpensUnderTheSpi) {
  Traced traced(keyed(Direction::kIngress));
  const auto results =
      traced.run_all({on_wire(tunnel(0x21), inner()), on_wire(tunnel(0x21), inner("10.2.0.10")),
                      on_wire(tunnel(0x22), inner("10.2.0.10"))});
  EXPECT_EQ(steps_of(results[0].moved), kOpened);
  EXPECT_EQ(results[0].peer, 0);
  ASSERT_TRUE(results[0].flow);
  EXPECT_EQ(results[0].flow->flow, flow("10.2.0.9", "10.1.0.5"));
  EXPECT_EQ(results[0].resolved, std::vector<Address>{address("10.1.0.5")});
  ASSERT_EQ(results[0].left.size(), 1u);
  EXPECT_FALSE(results[0].left[0].secured);
  EXPECT_EQ(results[0].left[0].dissection.ip->source, address("10.2.0.9"));

  EXPECT_EQ(drops_of(results[1].moved), "ingress/acl_miss");
  EXPECT_EQ(results[1].flow->flow, flow("10.2.0.9", "10.1.0.5"));
  EXPECT_EQ(steps_of(results[2].moved), kOpened);
}

TEST(Offers, ReportTheInnerPacket) {
  Traced traced(keyed(Direction::kIngress));
  const auto inner_packet = traced.tracer.scan(on_wire(tunnel(0x21), inner("10.2.0.10")), kCapturedNs);
  ASSERT_TRUE(inner_packet);
  EXPECT_EQ(inner_packet->ip.source, address("10.2.0.10"));
  EXPECT_EQ(inner_packet->ports.destination, 5000);
  Frame forged = on_wire(tunnel(0x21), inner());
  forged.back() ^= 1;
  EXPECT_FALSE(traced.tracer.scan(forged, kCapturedNs));
}

TEST(Offers, CoverEveryAllowedVersionAndMode) {
  Traced traced(keyed(Direction::kIngress));
  const auto results = traced.run_all({
      on_wire(mode_key(0x31, 1, Mode::kTransport), inner("10.3.0.9")),
      on_wire(mode_key(0x32, 0, Mode::kTransport), inner("fd00:3::9")),
      on_wire(tunnel(0x33), inner("fd00:2::9")),
      on_wire(tunnel(0x34, 1), inner()),
  });
  EXPECT_EQ(steps_of(results[0].moved), kOpened);
  EXPECT_EQ(results[0].flow->mode, Mode::kTransport);
  EXPECT_EQ(results[0].flow->version, 1);
  EXPECT_EQ(steps_of(results[1].moved), kOpened);
  EXPECT_EQ(steps_of(results[2].moved), kOpened);
  // The node file allows only version 0 with peer 0.
  EXPECT_EQ(drops_of(results[3].moved), "ingress/unknown_spi");
  EXPECT_FALSE(results[3].flow);
}

TEST(Offers, HaveTheModeOfTheirPeer) {
  Traced traced(keyed(Direction::kIngress));
  const auto results = traced.run_all(
      {on_wire(mode_key(0x41, 0, Mode::kTransport), inner()), on_wire(tunnel(0x42), inner("10.3.0.9"))});
  EXPECT_EQ(drops_of(results[0].moved), "ingress/wrong_mode");
  EXPECT_EQ(drops_of(results[1].moved), "ingress/wrong_mode");
}

TEST(Offers, HaveACookieIfThePeerMustSendOne) {
  for (const bool wanted : {true, false}) {
    TraceConfig config = keyed(Direction::kIngress);
    config.engine.peers[0].cookie = wanted;
    Traced traced(std::move(config));
    const auto results = traced.run_all({on_wire(mode_key(0x51, 0, Mode::kTunnel, 1234), inner())});
    EXPECT_EQ(drops_of(results[0].moved), wanted ? "" : "ingress/acl_miss");
    EXPECT_EQ(results[0].flow->cookie, wanted ? 1234u : 0u);
  }
}

TEST(Offers, LeavePacketsThatDoNotOpenToTheEngine) {
  Traced traced(keyed(Direction::kIngress));
  Frame forged = on_wire(tunnel(0x61), inner());
  forged.back() ^= 1;
  EgressKey other = key_of(0x62, 0, std::span<const uint8_t, 32>(std::array<uint8_t, 32>{7}));
  const auto results = traced.run_all({forged, on_wire(tunnel(0x61), inner()), on_wire(other, inner())});
  EXPECT_EQ(steps_of(results[0].moved), "ingress_root+ ingress_decrypt- syndrome_stats+");
  EXPECT_EQ(drops_of(results[0].moved), "ingress/icv_failure");
  EXPECT_TRUE(results[0].flow);
  EXPECT_EQ(steps_of(results[1].moved), kOpened);
  EXPECT_EQ(drops_of(results[2].moved), "ingress/icv_failure");
  EXPECT_FALSE(results[2].flow);
  EXPECT_FALSE(results[2].peer);
}

TEST(Offers, CoverFragmentedDatagrams) {
  Traced traced(keyed(Direction::kIngress));
  const auto pieces = in_fragments(on_wire(tunnel(0x71), long_packet("10.2.0.9", "10.1.0.5", 1400)), 800);
  ASSERT_EQ(pieces.size(), 2u);
  const auto results = traced.run_all({pieces[1], pieces[0]});
  EXPECT_EQ(change_of(results[0].moved, "fragmentsWaiting"), 1);
  EXPECT_EQ(steps_of(results[1].moved), kOpened);
  EXPECT_EQ(results[1].flow->flow, flow("10.2.0.9", "10.1.0.5"));
}

TEST(Offers, ExcludeReservedSpis) {
  Traced traced(keyed(Direction::kIngress));
  for (const uint32_t spi : {0u, 0x80000000u}) {
    const Frame frame = on_wire(tunnel(spi), inner());
    EXPECT_FALSE(traced.tracer.scan(frame, kCapturedNs));
    const TracedFrame result = traced.run(frame);
    EXPECT_EQ(drops_of(result.moved), "ingress/unknown_spi");
    EXPECT_FALSE(result.flow);
  }
}

TEST(Offers, NeedMasterKeys) {
  Traced traced(trace_config(Direction::kIngress));
  const auto results = traced.run_all({on_wire(tunnel(0x81), inner()), from_wire(inner())});
  EXPECT_EQ(drops_of(results[0].moved), "ingress/unknown_spi");
  EXPECT_EQ(results[0].dissection.psp->spi, 0x81u);
  EXPECT_EQ(drops_of(results[1].moved), "ingress/not_psp");
}

TEST(Offers, AreOnlyForFlowsFromAPeerToALocalHost) {
  Traced traced(keyed(Direction::kIngress));
  const auto results = traced.run_all({on_wire(tunnel(0x91), inner("10.9.0.9")),
                                       on_wire(tunnel(0x92), udp_packet("10.2.0.9", "10.7.0.5", "x"))});
  for (const TracedFrame& frame : results) {
    EXPECT_EQ(drops_of(frame.moved), "ingress/acl_miss");
    EXPECT_FALSE(frame.flow);
  }
}

TEST(Offers, LeaveTheSampleBitToTheEngine) {
  Traced traced(keyed(Direction::kIngress));
  WireOptions options;
  options.sample = true;
  const auto results = traced.run_all({on_wire(tunnel(0xa1), inner(), options)});
  EXPECT_EQ(steps_of(results[0].moved), "ingress_root+ ingress_decrypt+ ingress_sampling+ ingress_acl+");
  ASSERT_EQ(results[0].samples.size(), 1u);
  EXPECT_EQ(results[0].samples[0].point, SamplePoint::kIngressOpened);
}

}  // namespace
}  // namespace psp
