// SPDX-License-Identifier: Apache-2.0
// Sampling on both sides of the wire: which packets are drawn, what their copies hold, what a full ring
// costs.
#include <cmath>
#include <numeric>

#include "sealed_frames.h"

namespace psp {
namespace {

const FlowKey kFlow = flow("10.1.0.5", "10.2.0.7");
constexpr size_t kFlags = 14 + 20 + 8 + 3;  // in a sealed frame with IPv4 outside
constexpr uint8_t kS = 0x80;

EngineConfig sampling_config(std::optional<uint8_t> log2, uint16_t snap_bytes = 128) {
  EngineConfig config = gateway_config();
  config.sampling = {log2, snap_bytes};
  return config;
}

void set_rate(Gateway& gateway, std::optional<uint8_t> log2) {
  gateway.obey(SamplingCommand{std::nullopt, log2});
}

Frame copy_of(const Sample& sample) {
  return Frame(sample.octets.begin(), sample.octets.begin() + sample.copied);
}

// A gateway whose flow has a key and whose next hop is known.
struct Keyed : Gateway {
  explicit Keyed(const EngineConfig& config, size_t event_room = 4096, size_t sample_room = 4096)
      : Gateway(config, 1500, 1600, event_room, sample_room) {
    know_next_hop();
    install(kFlow, egress_key(5));
  }
  void send(const std::string& words) { host_sends(from_host("10.1.0.5", "10.2.0.7", words)); }
  // Which of so many packets leave with S.
  std::vector<bool> marks(size_t count) {
    std::vector<bool> result;
    const Frame frame = from_host("10.1.0.5", "10.2.0.7", "x");
    while (result.size() < count) {
      for (uint16_t i = 0; i < kBurst; ++i) unsecured.received.push_back(frame);
      turn();
      for (const Frame& sent : secured.sent) result.push_back(sent[kFlags] & kS);
      secured.sent.clear();
      samples_seen += sampled().size();
    }
    result.resize(count);
    return result;
  }
  size_t samples_seen = 0;
};

TEST(EgressSampling, SetsSUnderTheIcvAndCopiesTheFrameThatLeaves) {
  Keyed gateway(sampling_config(0));
  gateway.send("words");
  ASSERT_EQ(gateway.secured.sent.size(), 1u);
  Frame frame = gateway.secured.sent[0];
  EXPECT_EQ(frame[kFlags] & (kS | 0x40), kS);
  EXPECT_EQ(words_of(opened(frame, egress_key(5))), "words");

  const auto samples = gateway.sampled();
  ASSERT_EQ(samples.size(), 1u);
  EXPECT_EQ(copy_of(samples[0]), frame);
  EXPECT_EQ(samples[0].original_length, frame.size());
  EXPECT_EQ(samples[0].point, SamplePoint::kEgressSealed);
  EXPECT_EQ(samples[0].at_ns, gateway.now * 1'000'000);
  EXPECT_EQ(samples[0].flow, kFlow);
  EXPECT_EQ(samples[0].peer, 0);
  EXPECT_EQ(samples[0].spi, 5u);
  EXPECT_EQ(samples[0].protocol, kProtocolUdp);
  EXPECT_EQ(samples[0].source_port, 4000);
  EXPECT_EQ(samples[0].destination_port, 5000);
  EXPECT_EQ(samples[0].rate_log2, 0);
  EXPECT_EQ(gateway.value(Value::kSamplesTaken), 1u);

  frame[kFlags] ^= kS;
  EXPECT_TRUE(opened(frame, egress_key(5)).empty());
  gateway.expect_conservation();
}

TEST(EgressSampling, TruncatesCopiesAndKeepsTheirLength) {
  Keyed gateway(sampling_config(0, 64));
  gateway.send(std::string(1000, 'x'));
  const auto samples = gateway.sampled();
  ASSERT_EQ(samples.size(), 1u);
  const Frame& frame = gateway.secured.sent[0];
  EXPECT_EQ(copy_of(samples[0]), Frame(frame.begin(), frame.begin() + 64));
  EXPECT_EQ(samples[0].original_length, frame.size());
}

TEST(EgressSampling, LeavesTheAddressOfAnUnknownHopOpenInTheCopy) {
  Keyed gateway(sampling_config(0));
  EgressKey elsewhere = egress_key(6);
  elsewhere.outer_destination = address("192.0.2.9");
  gateway.install(flow("10.1.0.5", "10.2.0.8"), elsewhere);
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.8", "x"));
  const auto samples = gateway.sampled();
  ASSERT_EQ(samples.size(), 1u);
  EXPECT_EQ(Frame(samples[0].octets.begin(), samples[0].octets.begin() + 6), Frame(6, 0));
  EXPECT_EQ(samples[0].octets[kFlags] & kS, kS);
}

TEST(EgressSampling, CopiesNothingOfWhatCouldNotBeSealed) {
  Keyed gateway(sampling_config(0));
  EgressKey nowhere = egress_key(6);
  nowhere.outer_destination = address("198.51.100.9");
  gateway.install(kFlow, nowhere);
  gateway.send("x");
  EXPECT_EQ(gateway.dropped(Drop::kEgressNoNextHop), 1u);
  EXPECT_EQ(gateway.passed(Pipe::kEgressSampling).hit, 1u);
  EXPECT_EQ(gateway.value(Value::kSamplesTaken) + gateway.value(Value::kSamplesLost), 0u);
  EXPECT_TRUE(gateway.sampled().empty());
}

TEST(EgressSampling, SelectsPacketsThatWereHeldToo) {
  Gateway gateway(sampling_config(0));
  gateway.know_next_hop();
  for (const char* words : {"0", "1", "2"}) gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", words));
  EXPECT_TRUE(gateway.sampled().empty());
  gateway.install(kFlow, egress_key(5));
  gateway.turn();
  const auto samples = gateway.sampled();
  ASSERT_EQ(samples.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(words_of(opened(copy_of(samples[i]), egress_key(5))), std::to_string(i));
    EXPECT_EQ(samples[i].source_port, 4000);
  }
}

TEST(EgressSampling, IsOffUntilACommandTurnsItOnAndSelectsNothingWhileOff) {
  Keyed gateway(sampling_config(std::nullopt)), other(sampling_config(3));
  for (const bool mark : gateway.marks(96)) EXPECT_FALSE(mark);
  EXPECT_EQ(gateway.passed(Pipe::kEgressSampling).hit + gateway.passed(Pipe::kEgressSampling).miss, 0u);
  set_rate(gateway, 3);
  EXPECT_EQ(gateway.marks(512), other.marks(512));
  EXPECT_GT(gateway.passed(Pipe::kEgressSampling).hit, 0u);
  EXPECT_EQ(gateway.passed(Pipe::kEgressSampling).hit + gateway.passed(Pipe::kEgressSampling).miss, 512u);
  EXPECT_EQ(gateway.passed(Pipe::kEgressSampling).hit, gateway.samples_seen);
  set_rate(gateway, std::nullopt);
  for (const bool mark : gateway.marks(96)) EXPECT_FALSE(mark);
}

TEST(EgressSampling, TakesARateBeyondItsBoundForTheBound) {
  Keyed gateway(sampling_config(200));
  EXPECT_EQ(gateway.main->sampling.log2(0), kRateAtMost);
  set_rate(gateway, 255);
  EXPECT_EQ(gateway.main->sampling.log2(0), kRateAtMost);
}

class Draws : public testing::TestWithParam<uint8_t> {};

// What would hold by chance in all but one of a thousand seeds; the seed is fixed.
TEST_P(Draws, OneOf2PowNByChanceAndInNoPeriod) {
  constexpr size_t kPackets = 100'000, kParts = 10;
  const double p = std::ldexp(1, -GetParam());
  Keyed gateway(sampling_config(GetParam()));
  const std::vector<bool> marks = gateway.marks(kPackets);

  std::array<double, kParts> parts{};
  std::vector<double> gaps;
  double drawn = 0, last = 0, runs = 1;
  for (size_t i = 0; i < kPackets; ++i) {
    if (i > 0 && marks[i] != marks[i - 1]) ++runs;
    if (!marks[i]) continue;
    ++drawn;
    ++parts[i * kParts / kPackets];
    gaps.push_back(static_cast<double>(i) - last);
    last = static_cast<double>(i);
  }
  const auto square = [](double x) { return x * x; };
  const double expected = kPackets * p, rest = kPackets - expected;
  // Chi-square with one degree of freedom: how many.
  EXPECT_LT(square(drawn - expected) / expected + square(expected - drawn) / rest, 10.83) << drawn;
  // With nine: spread evenly over the whole.
  double even = 0;
  for (const double part : parts) even += square(part - drawn / kParts) / (drawn / kParts);
  EXPECT_LT(even, 27.88);
  // Wald and Wolfowitz: neither clustered nor alternating.
  const double pairs = 2 * drawn * (kPackets - drawn);
  const double mean = pairs / kPackets + 1, variance = (mean - 1) * (mean - 2) / (kPackets - 1);
  EXPECT_LT(std::abs(runs - mean) / std::sqrt(variance), 3.29);
  // Gaps spread as those of chance do: a counter's would not.
  const double gap = std::accumulate(gaps.begin(), gaps.end(), 0.0) / static_cast<double>(gaps.size());
  double spread = 0;
  for (const double one : gaps) spread += square(one - gap) / static_cast<double>(gaps.size());
  EXPECT_GT(spread / square(gap), (1 - p) * 0.6);
  EXPECT_LT(spread / square(gap), (1 - p) * 1.6);
  EXPECT_EQ(gateway.samples_seen, gateway.passed(Pipe::kEgressSampling).hit);
}

INSTANTIATE_TEST_SUITE_P(Rates, Draws, testing::Values(1, 4, 10),
                         [](const auto& info) { return "log2_" + std::to_string(info.param); });

SamplingDecision draw(uint64_t seed, uint8_t log2) {
  return SamplingDecision(seed, {log2}, std::vector<PeerConfig>(1));
}

TEST(Draws, DifferBySeed) {
  SamplingDecision one = draw(1, 1), two = draw(2, 1);
  int alike = 0;
  for (int i = 0; i < 1000; ++i) alike += one.next(0) == two.next(0);
  EXPECT_NEAR(alike, 500, 100);
}

TEST(Draws, TakeEveryPacketAtRate0AndOneOf65536AtTheHighest) {
  SamplingDecision all = draw(9, 0), few = draw(9, 16);
  int drawn = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    ASSERT_TRUE(all.next(0));
    drawn += few.next(0);
  }
  EXPECT_GT(drawn, 2);
  EXPECT_LT(drawn, 34);
}

TEST(Draws, AreOffWhileTheyAreOffForAllPeers) {
  std::vector<PeerConfig> peers(3);
  peers[1].sampling_log2 = 4;
  peers[2].sampling_log2 = std::optional<uint8_t>{};
  SamplingDecision mine(1, {std::nullopt}, peers);
  EXPECT_TRUE(mine.on());
  EXPECT_FALSE(mine.on(0));
  EXPECT_TRUE(mine.on(1));
  EXPECT_FALSE(mine.on(2));
  mine.set(1, std::nullopt);
  EXPECT_FALSE(mine.on());
  mine.set(3, 1);
  EXPECT_FALSE(mine.on());
  mine.set(2, 0);
  EXPECT_TRUE(mine.on());
  EXPECT_EQ(mine.log2(2), 0);
  EXPECT_FALSE(mine.on(0));
  mine.set(5);
  for (const uint16_t peer : {0, 1, 2}) EXPECT_EQ(mine.log2(peer), 5);
}

// A sends to B: both sample, in the order of the packets, which arrive unchanged.
TEST(Sampling, ASampledPacketOpensAtThePeerAndIsSampledThereInOrder) {
  EngineConfig b_config = gateway_config();
  std::swap(b_config.vips, b_config.peers[0].vips);
  b_config.gateways = {};
  b_config.secured_address = prefix("192.0.2.2/24");
  Gateway a(sampling_config(1)), b(b_config);
  a.know_next_hop();
  b.host_sends(arp(true, kHostMac, "10.2.0.7", "10.1.0.5"));
  b.unsecured.sent.clear();
  b.admit(kFlow, 100);
  EgressKey key = key_of(100, 0);
  a.install(kFlow, key);

  std::vector<std::string> drawn;
  for (int i = 0; i < 200; ++i) {
    a.host_sends(from_host("10.1.0.5", "10.2.0.7", std::to_string(i)));
    const Frame sent = a.secured.sent.front();
    a.secured.sent.clear();
    if (sent[kFlags] & kS) drawn.push_back(std::to_string(i));
    Frame frame = sent;
    std::copy(kSecuredMac.begin(), kSecuredMac.end(), frame.begin());
    b.wire_sends(frame);
  }
  ASSERT_EQ(b.unsecured.sent.size(), 200u);
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(Frame(b.unsecured.sent[i].begin() + 14, b.unsecured.sent[i].end()),
              udp_packet("10.1.0.5", "10.2.0.7", std::to_string(i)));
  }
  const auto at_a = a.sampled(), at_b = b.sampled();
  ASSERT_GT(drawn.size(), 50u);
  ASSERT_EQ(at_a.size(), drawn.size());
  ASSERT_EQ(at_b.size(), drawn.size());
  for (size_t i = 0; i < drawn.size(); ++i) {
    EXPECT_EQ(words_of(opened(copy_of(at_a[i]), key)), drawn[i]);
    EXPECT_EQ(copy_of(at_b[i]), udp_packet("10.1.0.5", "10.2.0.7", drawn[i]));
  }
  EXPECT_EQ(b.passed(Pipe::kIngressSampling).hit, drawn.size());
  EXPECT_EQ(b.passed(Pipe::kIngressSampling).miss, 200 - drawn.size());
}

// A gateway that admits the flow towards 10.1.0.5 under SPI 17, and frames of it with marks.
struct Receiving : Gateway {
  explicit Receiving(const EngineConfig& config = gateway_config()) : Gateway(config) {
    know_host("10.1.0.5");
    admit(kFlow.reversed(), 17);
  }
  static Frame marked(Marks marks, const Frame& inner = udp_packet("10.2.0.7", "10.1.0.5", "words")) {
    return sealed(key_of(17, 0), inner, 1, 255, "192.0.2.2", "192.0.2.1", marks);
  }
};

TEST(IngressSampling, CopiesTheOpenedPacketOfOneThatCarriesS) {
  Receiving gateway;
  gateway.wire_sends(Receiving::marked({.sample = true}));
  EXPECT_EQ(gateway.unsecured.sent.size(), 1u);
  const auto samples = gateway.sampled();
  ASSERT_EQ(samples.size(), 1u);
  EXPECT_EQ(copy_of(samples[0]), udp_packet("10.2.0.7", "10.1.0.5", "words"));
  EXPECT_EQ(samples[0].original_length, 33u);
  EXPECT_EQ(samples[0].point, SamplePoint::kIngressOpened);
  EXPECT_EQ(samples[0].flow, kFlow.reversed());
  EXPECT_EQ(samples[0].peer, 0);
  EXPECT_EQ(samples[0].spi, 17u);
  EXPECT_EQ(samples[0].protocol, kProtocolUdp);
  EXPECT_EQ(samples[0].source_port, 4000);
  EXPECT_EQ(samples[0].destination_port, 5000);
  EXPECT_EQ(samples[0].rate_log2, kRateUnknown);
  gateway.expect_conservation();
}

TEST(IngressSampling, DropsWhatCarriesSAndDOnceItIsCopied) {
  Receiving gateway;
  gateway.wire_sends(Receiving::marked({.sample = true, .drop = true}));
  EXPECT_TRUE(gateway.unsecured.sent.empty());
  EXPECT_EQ(gateway.dropped(Drop::kIngressSampledDrop), 1u);
  const auto samples = gateway.sampled();
  ASSERT_EQ(samples.size(), 1u);
  EXPECT_EQ(copy_of(samples[0]), udp_packet("10.2.0.7", "10.1.0.5", "words"));
  EXPECT_TRUE(gateway.seen().empty());
  gateway.expect_conservation();
}

TEST(IngressSampling, DropsWithSAndDAmongOthersAndKeepsTheirOrder) {
  Receiving gateway;
  for (int i = 0; i < 20; ++i) {
    const Marks marks{.sample = i % 2 == 0, .drop = i % 4 == 0};
    gateway.secured.received.push_back(
        Receiving::marked(marks, udp_packet("10.2.0.7", "10.1.0.5", std::to_string(i))));
  }
  gateway.settle();
  std::vector<std::string> words, expected;
  for (const Frame& frame : gateway.unsecured.sent)
    words.push_back(words_of({frame.begin() + 14, frame.end()}));
  for (int i = 0; i < 20; ++i) {
    if (i % 4 != 0) expected.push_back(std::to_string(i));
  }
  EXPECT_EQ(words, expected);
  EXPECT_EQ(gateway.dropped(Drop::kIngressSampledDrop), 5u);
  EXPECT_EQ(gateway.sampled().size(), 10u);
  gateway.expect_conservation();
}

TEST(IngressSampling, PaysNoHeedToDAlone) {
  Receiving gateway;
  gateway.wire_sends(Receiving::marked({.drop = true}));
  EXPECT_EQ(gateway.unsecured.sent.size(), 1u);
  EXPECT_TRUE(gateway.sampled().empty());
}

TEST(IngressSampling, CopiesOnlyWhatIsAuthenticAlsoWhatTheAclTurnsAway) {
  Receiving gateway;
  Frame forged = Receiving::marked({});
  forged[kFlags] |= kS;
  gateway.wire_sends(forged);
  EXPECT_EQ(gateway.dropped(Drop::kIngressIcvFailure), 1u);
  EXPECT_TRUE(gateway.sampled().empty());

  gateway.wire_sends(Receiving::marked({.sample = true}, udp_packet("10.2.0.8", "10.1.0.5", "x")));
  EXPECT_EQ(gateway.dropped(Drop::kIngressAclMiss), 1u);
  const auto samples = gateway.sampled();
  ASSERT_EQ(samples.size(), 1u);
  EXPECT_EQ(samples[0].flow, flow("10.2.0.8", "10.1.0.5"));
}

TEST(Sampling, AFullRingCostsSamplesAndNothingElse) {
  Keyed gateway(sampling_config(0), 4096, 4);
  for (int i = 0; i < 10; ++i) {
    gateway.send(std::to_string(i));
    gateway.host_sends(from_host("10.1.0.5", "10.2.1." + std::to_string(i), "missed"));
  }
  EXPECT_EQ(gateway.secured.sent.size(), 10u);
  for (const Frame& frame : gateway.secured.sent) EXPECT_EQ(frame[kFlags] & kS, kS);
  EXPECT_EQ(gateway.missed().size(), 10u);
  EXPECT_EQ(gateway.value(Value::kSamplesTaken), 4u);
  EXPECT_EQ(gateway.value(Value::kSamplesLost), 6u);
  EXPECT_EQ(gateway.value(Value::kEventsLost), 0u);
  const auto samples = gateway.sampled();
  ASSERT_EQ(samples.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(words_of(opened(copy_of(samples[i]), egress_key(5))), std::to_string(i));
  }
  gateway.send("room again");
  EXPECT_EQ(gateway.sampled().size(), 1u);
  gateway.expect_conservation();
}

TEST(SampleRing, TruncatesToItsSnapLengthWhichIsBounded) {
  SampleRing none(2, 0), most(2, UINT16_MAX);
  const Frame octets(2000, 7);
  Sample sample;
  ASSERT_TRUE(none.push({}, octets.data(), 2000));
  ASSERT_TRUE(none.pop(&sample));
  EXPECT_EQ(sample.copied, 0);
  EXPECT_EQ(sample.original_length, 2000u);
  ASSERT_TRUE(most.push({}, octets.data(), 2000));
  ASSERT_TRUE(most.pop(&sample));
  EXPECT_EQ(sample.copied, kSnapAtMost);
  EXPECT_FALSE(most.pop(&sample));
}

TEST(SampleRing, IsDueWithAFullBatchOrAnOldSample) {
  SampleRing ring(2 * kSampleBatch, 1);
  const uint8_t octet = 1;
  Sample sample;
  SampleFacts facts;
  constexpr uint64_t kWaitNs = kSampleWaitMs * uint64_t{1'000'000};
  EXPECT_EQ(ring.due_in_ns(1000), UINT64_MAX);
  for (uint32_t i = 0; i < kSampleBatch; ++i) {
    facts.at_ns = 1000 + i;
    EXPECT_NE(ring.due_in_ns(1000), 0u);
    ASSERT_TRUE(ring.push(facts, &octet, 1));
  }
  EXPECT_EQ(ring.due_in_ns(1000), 0u);
  ASSERT_TRUE(ring.pop(&sample));
  EXPECT_EQ(ring.due_in_ns(1000), kWaitNs + 1);
  EXPECT_EQ(ring.due_in_ns(1000 + kWaitNs), 1u);
  EXPECT_EQ(ring.due_in_ns(1001 + kWaitNs), 0u);
}

TEST(PeerCounters, TellThePeersApart) {
  EngineConfig config = gateway_config();
  config.peers.push_back({.vips = {prefix("10.3.0.0/16")}});
  Keyed gateway(config);
  gateway.know_host("10.1.0.5");
  gateway.admit(flow("10.3.0.7", "10.1.0.5"), 18, 0, 0, Mode::kTunnel, 1);
  gateway.send("four");
  gateway.turn(5);
  gateway.wire_sends(sealed(key_of(18, 0), udp_packet("10.3.0.7", "10.1.0.5", "five5")));
  const auto peers = gateway.counters.read().peers;
  ASSERT_EQ(peers.size(), 2u);
  EXPECT_EQ(peers[0].egress_packets, 1u);
  EXPECT_EQ(peers[0].egress_bytes, 32u);
  EXPECT_EQ(peers[0].last_egress_ms, gateway.now - 5);
  EXPECT_EQ(peers[0].ingress_packets, 0u);
  EXPECT_EQ(peers[0].last_ingress_ms, 0u);
  EXPECT_EQ(peers[0].keyed_flows, 1u);
  EXPECT_EQ(peers[0].inbound_flows, 0u);
  EXPECT_EQ(peers[1].egress_packets, 0u);
  EXPECT_EQ(peers[1].ingress_packets, 1u);
  EXPECT_EQ(peers[1].ingress_bytes, 33u);
  EXPECT_EQ(peers[1].last_ingress_ms, gateway.now);
  EXPECT_EQ(peers[1].keyed_flows, 0u);
  EXPECT_EQ(peers[1].inbound_flows, 1u);

  gateway.obey(RemoveCommand{{kFlow, flow("10.1.0.5", "10.3.0.7")}});
  const auto after = gateway.counters.read().peers;
  EXPECT_EQ(after[0].keyed_flows, 0u);
  EXPECT_EQ(after[1].inbound_flows, 0u);
}

}  // namespace
}  // namespace psp
