// SPDX-License-Identifier: Apache-2.0
// Frames from hosts: each frame alone changes the counters of the pipes that it meets, and the frames that
// leave are those that a gateway sends.
#include <random>

#include "traced.h"

namespace psp {
namespace {

TEST(Tracer, ReportsThePipesOfASealedPacketAndTheFrameThatLeft) {
  Traced traced(keyed());
  const Frame inner = udp_packet("10.1.0.5", "10.2.0.9", "hello");
  const TracedFrame frame = traced.run(from_host(inner));
  EXPECT_EQ(steps_of(frame.moved), "ingress_root+ egress_root+ egress_acl+");
  EXPECT_EQ(drops_of(frame.moved), "");
  EXPECT_EQ(change_of(frame.moved, "forwardedEgress"), 1);
  EXPECT_EQ(change_of(frame.moved, "polls"), 0);
  EXPECT_EQ(frame.peer, 0);
  ASSERT_TRUE(frame.dissection.ip);
  EXPECT_EQ(frame.dissection.ip->source, address("10.1.0.5"));
  EXPECT_EQ(frame.dissection.ports.destination, 5000);

  ASSERT_TRUE(frame.flow);
  EXPECT_EQ(frame.flow->spi, 0x11u);
  EXPECT_EQ(frame.flow->version, 0);
  EXPECT_EQ(frame.flow->mode, Mode::kTunnel);
  EXPECT_EQ(frame.flow->path_mtu, 1600);
  EXPECT_EQ(frame.resolved, std::vector<Address>{address("192.0.2.2")});
  ASSERT_EQ(frame.left.size(), 1u);
  EXPECT_TRUE(frame.left[0].secured);
  EXPECT_EQ(frame.left[0].length, 14 + inner.size() + 60);
  EXPECT_EQ(frame.left[0].dissection.ip->destination, address("192.0.2.2"));
  ASSERT_TRUE(frame.left[0].dissection.psp);
  EXPECT_EQ(frame.left[0].dissection.psp->iv, 100u);

  const TracedFrame next = traced.run(from_host(inner));
  EXPECT_EQ(next.left.at(0).dissection.psp->iv, 101u);
  EXPECT_TRUE(next.resolved.empty());
}

TEST(Tracer, SealsWithTheModeVersionAndCookieOfThePeer) {
  TraceConfig config = keyed();
  config.key->cookie = 77;
  Traced traced(std::move(config));
  const TracedFrame frame = traced.run(from_host("fd00:1::5", "fd00:3::9", "hello"));
  EXPECT_EQ(frame.peer, 1);
  ASSERT_TRUE(frame.flow);
  EXPECT_EQ(frame.flow->mode, Mode::kTransport);
  EXPECT_EQ(frame.flow->version, 1);
  EXPECT_EQ(frame.flow->cookie, 77u);
  ASSERT_EQ(frame.left.size(), 1u);
  EXPECT_EQ(frame.left[0].dissection.ip->destination, address("fd00:3::9"));
  EXPECT_TRUE(frame.left[0].dissection.psp->has_cookie);
}

TEST(Tracer, HoldsPacketsWithoutAKeyAndReportsThoseDroppedByTheLimits) {
  TraceConfig config = trace_config(Direction::kEgress);
  config.engine.held_per_flow = 2;
  Traced traced(std::move(config));
  for (int i = 0; i < 2; ++i) {
    const TracedFrame frame = traced.run(from_host("10.1.0.5", "10.2.0.9", "hello"));
    EXPECT_EQ(steps_of(frame.moved), "ingress_root+ egress_root+ egress_acl-");
    EXPECT_EQ(change_of(frame.moved, "heldTotal"), 1);
    EXPECT_EQ(drops_of(frame.moved), "");
    EXPECT_FALSE(frame.flow);
    EXPECT_EQ(frame.peer, 0);
  }
  const TracedFrame third = traced.run(from_host("10.1.0.5", "10.2.0.9", "hello"));
  EXPECT_EQ(change_of(third.moved, "heldTotal"), 1);
  EXPECT_EQ(drops_of(third.moved), "egress/held_overflow_flow");
  EXPECT_EQ(traced.tracer.held(), 2u);
}

TEST(Tracer, ReportsTheDropReasonOfEachFrame) {
  Traced traced(keyed());
  const std::pair<Frame, const char*> cases[] = {
      {from_host("10.1.0.5", "10.9.0.9", "x"), "egress/no_peer"},
      {from_host("10.4.0.5", "10.2.0.9", "x"), "egress/not_local_source"},
      {from_host("10.1.0.5", "224.0.0.5", "x"), "egress/multicast"},
      {ethernet(kUnsecuredMac, kHostMac, 0x88cc, Frame(46)), "egress/not_ip"},
      {Frame(9), "egress/truncated"},
      {from_host(ip_packet(address("10.1.0.5"), address("10.3.0.9"), 4, Frame(40))),
       "egress/transport_ip_in_ip"},
  };
  for (const auto& [frame, reason] : cases) {
    const TracedFrame result = traced.run(frame);
    EXPECT_EQ(drops_of(result.moved), reason);
    EXPECT_EQ(result.left.size(), 0u);
    EXPECT_EQ(change_of(result.moved, "forwardedEgress"), 0);
  }
}

TEST(Tracer, ReportsIcmpErrorsAndFragmentsOfPacketsThatExceedTheMtu) {
  TraceConfig config = keyed();
  config.secured_mtu = 1500;
  Traced traced(std::move(config));
  const TracedFrame result = traced.run(from_host(with_df(long_packet("10.1.0.5", "10.2.0.9", 1500))));
  EXPECT_EQ(drops_of(result.moved), "egress/too_big");
  EXPECT_EQ(change_of(result.moved, "icmpSent"), 1);
  ASSERT_EQ(result.left.size(), 1u);
  EXPECT_FALSE(result.left[0].secured);
  EXPECT_EQ(result.left[0].dissection.too_big_mtu, 1440);
  EXPECT_EQ(result.resolved, std::vector<Address>{address("10.1.0.5")});

  const TracedFrame fragmented = traced.run(from_host(long_packet("10.1.0.5", "10.2.0.9", 1500)));
  EXPECT_EQ(drops_of(fragmented.moved), "");
  EXPECT_EQ(change_of(fragmented.moved, "fragmentsMade"), 2);
  EXPECT_EQ(change_of(fragmented.moved, "txPackets"), 2);
  EXPECT_EQ(fragmented.left.size(), 2u);
}

TEST(Tracer, ReportsSamplingDecisionsAndSamples) {
  TraceConfig config = keyed();
  config.engine.peers[0].sampling_log2.emplace(uint8_t{0});
  config.engine.sampling.plain = true;
  Traced traced(std::move(config));
  const TracedFrame sampled = traced.run(from_host("10.1.0.5", "10.2.0.9", "hello"));
  EXPECT_EQ(steps_of(sampled.moved), "ingress_root+ egress_root+ egress_acl+ egress_sampling+");
  ASSERT_EQ(sampled.samples.size(), 2u);
  EXPECT_EQ(sampled.samples[0].point, SamplePoint::kEgressPlain);
  EXPECT_EQ(sampled.samples[1].point, SamplePoint::kEgressSealed);
  EXPECT_TRUE(sampled.left.at(0).dissection.psp->sample);
  const TracedFrame other = traced.run(from_host("10.1.0.5", "10.3.0.9", "hello"));
  EXPECT_EQ(steps_of(other.moved), "ingress_root+ egress_root+ egress_acl+");
  EXPECT_TRUE(other.samples.empty());
}

TEST(Tracer, ReportsTheBypassRuleThatMatched) {
  TraceConfig config = keyed();
  config.engine.bypass = {{prefix("192.0.2.200/32"), 6, 0}, {prefix("192.0.2.0/24"), kProtocolUdp, 5000}};
  Traced traced(std::move(config));
  const TracedFrame frame = traced.run(from_host("10.1.0.5", "192.0.2.77", "clear"));
  EXPECT_EQ(steps_of(frame.moved), "ingress_root+ egress_root+");
  EXPECT_EQ(frame.moved.bypassed, std::vector<uint32_t>{1});
  ASSERT_EQ(frame.left.size(), 1u);
  EXPECT_FALSE(frame.left[0].dissection.psp);
  EXPECT_EQ(frame.left[0].dissection.ip->destination, address("192.0.2.77"));
}

TEST(Tracer, ReportsTheWorkOfTimersApartFromTheFrame) {
  Traced traced(keyed());
  const std::vector<Frame> pieces = in_fragments(from_host(long_packet("10.1.0.5", "10.3.0.9", 900)), 400);
  const TracedFrame waits = traced.run(pieces.at(0));
  EXPECT_EQ(change_of(waits.moved, "fragmentsWaiting"), 1);
  EXPECT_EQ(traced.tracer.fragments_waiting(), 1u);
  const TracedFrame later = traced.run(from_host("10.1.0.5", "10.2.0.9", "hello"), 5000);
  EXPECT_EQ(drops_of(later.before), "egress/fragment_timeout");
  EXPECT_EQ(drops_of(later.moved), "");
  EXPECT_EQ(later.left.size(), 1u);
  // A frame that is older than the one before it does not set the time back.
  traced.at_ns -= 60 * kSecondNs;
  EXPECT_EQ(traced.run(from_host("10.1.0.5", "10.2.0.9", "hello")).left.size(), 1u);
}

TEST(Tracer, ReassemblesFragments) {
  Traced traced(keyed());
  const std::vector<Frame> pieces = in_fragments(from_host(long_packet("10.1.0.5", "10.3.0.9", 900)), 400);
  std::vector<TracedFrame> results;
  for (const Frame& piece : pieces) results.push_back(traced.run(piece));
  ASSERT_EQ(results.size(), 3u);
  EXPECT_EQ(change_of(results[2].moved, "reassembled"), 1);
  EXPECT_EQ(change_of(results[2].moved, "fragmentsJoined"), 2);
  EXPECT_EQ(results[2].left.size(), 1u);
  EXPECT_EQ(traced.tracer.fragments_waiting(), 0u);
}

TEST(Tracer, AcceptsFramesToAnyMacAddressUnlessOneIsConfigured) {
  Frame frame = from_host("10.1.0.5", "10.2.0.9", "hello");
  frame[5] = 0x77;
  Traced any(keyed());
  EXPECT_EQ(change_of(any.run(frame).moved, "forwardedEgress"), 1);
  TraceConfig config = keyed();
  config.mac = kUnsecuredMac;
  Traced one(std::move(config));
  EXPECT_EQ(drops_of(one.run(frame).moved), "egress/other_host");
  EXPECT_EQ(change_of(one.run(from_host("10.1.0.5", "10.2.0.9", "hello")).moved, "forwardedEgress"), 1);
}

TEST(Tracer, ConsumesArpRequestsAndReportsTheReply) {
  Traced traced(keyed());
  const TracedFrame frame = traced.run(arp(true, kHostMac, "10.1.0.5", "10.1.0.1"));
  EXPECT_EQ(change_of(frame.moved, "consumed"), 1);
  ASSERT_EQ(frame.left.size(), 1u);
  EXPECT_EQ(frame.left[0].dissection.ether_type, 0x0806);
}

TEST(Tracer, GivesEveryFrameExactlyOneFinalState) {
  std::mt19937 random(7);
  const auto below = [&](size_t bound) { return random() % bound; };
  for (const Direction direction : {Direction::kEgress, Direction::kIngress}) {
    TraceConfig config = keyed(direction);
    config.secured_mtu = 1300;
    config.engine.bypass = {{prefix("192.0.2.0/24"), 0, 0}};
    Traced traced(std::move(config));
    const Frame packets[] = {
        udp_packet("10.1.0.5", "10.2.0.9", "hello"), udp_packet("fd00:1::5", "fd00:3::9", "hello"),
        long_packet("10.1.0.5", "10.3.0.9", 1450), long_packet("fd00:1::5", "fd00:2::9", 1450),
        udp_packet("10.1.0.5", "192.0.2.9", "clear")};
    std::vector<Frame> frames;
    for (const Frame& packet : packets) {
      if (direction == Direction::kEgress) {
        for (const Frame& piece : in_fragments(from_host(packet), 800)) frames.push_back(piece);
        frames.push_back(from_host(packet));
      } else {
        const Frame sealed = on_wire(mode_key(0x21, 0, Mode::kTunnel), packet);
        for (const Frame& piece : in_fragments(sealed, 800)) frames.push_back(piece);
        frames.push_back(sealed);
        frames.push_back(from_wire(packet));
      }
    }
    frames.push_back(arp(true, kHostMac, "10.1.0.5", "10.1.0.1"));
    for (int i = 0; i < 3000; ++i) {
      Frame frame = frames[below(frames.size())];
      for (size_t changes = below(4); changes > 0; --changes) {
        frame[below(std::min<size_t>(frame.size(), 80))] ^= static_cast<uint8_t>(1 << below(8));
      }
      if (below(8) == 0) frame.resize(below(frame.size()));
      traced.tracer.scan(frame, traced.at_ns);
      const TracedFrame result = traced.run(frame, below(50));
      ASSERT_EQ(final_states_of(result.moved), 1) << "frame " << i << ": " << drops_of(result.moved);
    }
  }
}

}  // namespace
}  // namespace psp
