// SPDX-License-Identifier: Apache-2.0
// Sampling by peer, at each point and in each mode, version and family; and that it never changes the order
// of packets.
#include <cmath>
#include <map>

#include "sealed_frames.h"

namespace psp {
namespace {

const FlowKey kFlow = flow("10.1.0.5", "10.2.0.7");
const FlowKey kFlow6 = flow("fd00:1::5", "fd00:2::7");

Frame copy_of(const Sample& sample) {
  return Frame(sample.octets.begin(), sample.octets.begin() + sample.copied);
}
Frame front_of(const Frame& octets, size_t length) {
  return Frame(octets.begin(), octets.begin() + static_cast<ptrdiff_t>(std::min(length, octets.size())));
}

// All are drawn, and copied at these points.
EngineConfig all_drawn(bool sealed, bool plain, EngineConfig config = gateway_config()) {
  config.sampling = {.egress_log2 = 0, .snap_bytes = kSnapAtMost, .sealed = sealed, .plain = plain};
  return config;
}

struct Axes {
  bool inner_ipv6, outer_ipv6;
  Mode mode;
  uint8_t version;
  bool sealed, plain;
};

std::vector<Axes> all_axes() {
  std::vector<Axes> all;
  for (const bool inner : {false, true}) {
    for (const bool outer : {false, true}) {
      for (const Mode mode : {Mode::kTunnel, Mode::kTransport}) {
        for (uint8_t version = 0; version < 4; ++version) {
          for (const bool sealed : {false, true}) {
            for (const bool plain : {false, true})
              all.push_back({inner, outer, mode, version, sealed, plain});
          }
        }
      }
    }
  }
  return all;
}

std::string name_of(const testing::TestParamInfo<Axes>& info) {
  const Axes& axes = info.param;
  return std::string(axes.inner_ipv6 ? "v6" : "v4") + "_over_" + (axes.outer_ipv6 ? "v6" : "v4") + "_" +
         (axes.mode == Mode::kTunnel ? "tunnel" : "transport") + "_" + std::to_string(axes.version) +
         (axes.sealed ? "_sealed" : "") + (axes.plain ? "_plain" : "");
}

class SamplePoints : public testing::TestWithParam<Axes> {};

TEST_P(SamplePoints, CopyHeldAndOtherPacketsWhereTheyAreConfigured) {
  const Axes& axes = GetParam();
  EngineConfig config = all_drawn(axes.sealed, axes.plain);
  if (axes.outer_ipv6) config.secured_address = prefix("fd00:9::1/64");
  Gateway gateway(config);
  EgressKey key = egress_key(0x80000005);
  key.version = axes.version;
  key.mode = axes.mode;
  key.mac = kPeerMac;
  if (axes.outer_ipv6) key.outer_destination = address("fd00:9::2");
  const Frame packet = axes.inner_ipv6 ? long_packet("fd00:1::5", "fd00:2::7", 600)
                                       : with_df(long_packet("10.1.0.5", "10.2.0.7", 600));
  gateway.host_sends(from_host(packet));
  const FlowKey& flow_key = axes.inner_ipv6 ? kFlow6 : kFlow;
  gateway.install(flow_key, key);
  gateway.turn();
  gateway.turn(3);
  gateway.host_sends(from_host(packet));

  std::vector<Frame> sent;
  for (const Frame& frame : gateway.secured.sent) {
    if ((frame[0] & 1) == 0) sent.push_back(frame);  // otherwise the gateway asks who its next hop is
  }
  ASSERT_EQ(sent.size(), 2u);
  const auto samples = gateway.sampled();
  const size_t points = axes.sealed + axes.plain;
  ASSERT_EQ(samples.size(), 2 * points);
  for (size_t i = 0; i < 2; ++i) {
    const Unsealed unsealed = unseal(sent[i], key);
    EXPECT_TRUE(unsealed.opened);
    EXPECT_TRUE(unsealed.header.sample);
    EXPECT_FALSE(unsealed.header.drop);
    EXPECT_EQ(unsealed.inner, packet);
    for (size_t j = 0; j < points; ++j) {
      const Sample& sample = samples[i * points + j];
      const bool plain = axes.plain && j == 0;
      EXPECT_EQ(sample.point, plain ? SamplePoint::kEgressPlain : SamplePoint::kEgressSealed);
      EXPECT_EQ(copy_of(sample), plain ? packet : sent[i]);
      EXPECT_EQ(sample.original_length, plain ? packet.size() : sent[i].size());
      EXPECT_EQ(sample.at_ns, (gateway.now - 3 * (1 - i)) * 1'000'000);
      EXPECT_EQ(sample.flow, flow_key);
      EXPECT_EQ(sample.spi, key.spi);
      EXPECT_EQ(sample.source_port, 4000);
      EXPECT_EQ(sample.destination_port, 5000);
      EXPECT_EQ(sample.protocol, kProtocolUdp);
      EXPECT_EQ(sample.rate_log2, 0);
      EXPECT_EQ(sample.reason, kNoReason);
    }
  }
  EXPECT_EQ(gateway.passed(Pipe::kEgressSampling).hit, 2u);
  EXPECT_EQ(gateway.value(Value::kSamplesTaken), 2 * points);
  gateway.expect_conservation();
}

INSTANTIATE_TEST_SUITE_P(All, SamplePoints, testing::ValuesIn(all_axes()), name_of);

// A gateway that draws all, with a key for the flows of both families and a known next hop.
struct Drawing : Gateway {
  explicit Drawing(Mode mode, uint16_t secured_mtu = 1600, EngineConfig engine_config = all_drawn(true, true))
      : Gateway(std::move(engine_config), 1500, secured_mtu), key(egress_key(5)) {
    key.mode = mode;
    know_next_hop();
    install(kFlow, key);
    install(kFlow6, key);
  }
  std::vector<Frame> sends(const Frame& packet) {
    secured.sent.clear();
    host_sends(from_host(packet));
    expect_conservation();
    return {secured.sent.begin(), secured.sent.end()};
  }
  EgressKey key;
};

TEST(SamplePlain, HasItsChecksumComplete) {
  Drawing gateway(Mode::kTunnel);
  Frame packet = long_packet("10.1.0.5", "10.2.0.7", 300);
  IpPacket read;
  ASSERT_EQ(read_ip(packet.data(), packet.size(), &read), IpFault::kNone);
  put16(packet, 26, static_cast<uint16_t>(~checksum_fold(pseudo_header_sum(read, 280))));
  const auto sent = gateway.sends(packet);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(gateway.value(Value::kChecksumsCompleted), 1u);
  const auto samples = gateway.sampled();
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(copy_of(samples[0]), unseal(sent[0], gateway.key).inner);
  EXPECT_NE(copy_of(samples[0]), packet);
  EXPECT_EQ(checksum_fold(checksum_add(&samples[0].octets[20], 280, pseudo_header_sum(read, 280))), 0);
}

TEST(SamplePlain, IsMadeOfNothingThatCouldNotBeSealed) {
  Drawing gateway(Mode::kTunnel, 1400);
  EXPECT_TRUE(gateway.sends(with_df(long_packet("10.1.0.5", "10.2.0.7", 1400))).empty());
  EXPECT_EQ(gateway.dropped(Drop::kEgressTooBig), 1u);
  EgressKey nowhere = gateway.key;
  nowhere.outer_destination = address("198.51.100.9");
  gateway.install(kFlow, nowhere);
  EXPECT_TRUE(gateway.sends(long_packet("10.1.0.5", "10.2.0.7", 100)).empty());
  EXPECT_EQ(gateway.dropped(Drop::kEgressNoNextHop), 1u);
  EXPECT_EQ(gateway.passed(Pipe::kEgressSampling).hit, 2u);
  EXPECT_TRUE(gateway.sampled().empty());
}

TEST(SampledFragments, MadeBeforeSealingAreCopiedEachAndSelectedOnce) {
  Drawing gateway(Mode::kTunnel, 1400);
  const auto sent = gateway.sends(long_packet("10.1.0.5", "10.2.0.7", 1500));
  ASSERT_EQ(sent.size(), 2u);
  const auto samples = gateway.sampled();
  ASSERT_EQ(samples.size(), 4u);
  for (size_t i = 0; i < 2; ++i) {
    const Unsealed unsealed = unseal(sent[i], gateway.key);
    ASSERT_TRUE(unsealed.opened);
    EXPECT_TRUE(unsealed.header.sample);
    const Sample &plain = samples[2 * i], &sealed = samples[2 * i + 1];
    EXPECT_EQ(plain.point, SamplePoint::kEgressPlain);
    EXPECT_EQ(copy_of(plain), front_of(unsealed.inner, kSnapAtMost));
    EXPECT_EQ(plain.original_length, unsealed.inner.size());
    EXPECT_EQ(sealed.point, SamplePoint::kEgressSealed);
    EXPECT_EQ(copy_of(sealed), front_of(sent[i], kSnapAtMost));
    EXPECT_EQ(sealed.original_length, sent[i].size());
    EXPECT_EQ(plain.at_ns, sealed.at_ns);
    // Only the first of them shows layer 4.
    EXPECT_EQ(plain.source_port, i == 0 ? 4000 : 0);
    EXPECT_EQ(sealed.source_port, i == 0 ? 4000 : 0);
  }
  EXPECT_EQ(gateway.passed(Pipe::kEgressSampling).hit, 1u);
}

TEST(SampledFragments, MadeAfterSealingAreCopiedAsOne) {
  for (const bool ipv6 : {false, true}) {
    Drawing gateway(Mode::kTransport, ipv6 ? 1280 : 1400);
    const Frame packet = ipv6 ? long_packet("fd00:1::5", "fd00:2::7", 1280)
                              : ipv4_marked(long_packet("10.1.0.5", "10.2.0.7", 1500), 77, 0);
    if (ipv6) {
      gateway.wire_sends(
          neighbour_message(136, kPeerMac, kSecuredMac, "fd00:2::7", "fd00:1::5", "fd00:2::7"));
      gateway.secured.sent.clear();
    }
    const auto sent = gateway.sends(packet);
    ASSERT_EQ(sent.size(), 2u);
    const auto samples = gateway.sampled();
    ASSERT_EQ(samples.size(), 2u);
    EXPECT_EQ(copy_of(samples[0]), front_of(packet, kSnapAtMost));
    EXPECT_EQ(samples[0].original_length, packet.size());
    const Frame frame = joined(sent);
    const Unsealed unsealed = unseal(frame, gateway.key);
    EXPECT_TRUE(unsealed.header.sample);
    EXPECT_EQ(unsealed.inner, packet);
    EXPECT_EQ(samples[1].original_length, frame.size());
    EXPECT_EQ(copy_of(samples[1]), front_of(frame, kSnapAtMost));
  }
}

TEST(SampledFragments, ReassembledForTransportModeAreSelectedOnceAndCopiedWhole) {
  Drawing gateway(Mode::kTransport);
  const Frame packet = ipv4_marked(long_packet("10.1.0.5", "10.2.0.7", 820), 77, 0);
  Frame first(packet.begin(), packet.begin() + 420), second(packet.begin(), packet.begin() + 20);
  second.insert(second.end(), packet.begin() + 420, packet.end());
  put16(first, 2, 420);
  put16(second, 2, 420);
  EXPECT_TRUE(gateway.sends(ipv4_marked(second, 77, 50)).empty());
  const auto sent = gateway.sends(ipv4_marked(first, 77, 0x2000));
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(unseal(sent[0], gateway.key).inner, packet);
  const auto samples = gateway.sampled();
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(copy_of(samples[0]), packet);
  EXPECT_EQ(samples[0].source_port, 4000);
  EXPECT_EQ(copy_of(samples[1]), sent[0]);
  EXPECT_EQ(gateway.passed(Pipe::kEgressSampling).hit, 1u);
}

// Three peers: with the rate of all, with one of its own, and never sampled.
struct Peers3 : Gateway {
  Peers3() : Gateway(config_of()) {
    know_next_hop();
    for (uint16_t i = 0; i < 3; ++i) {
      install(flow("10.1.0.5", destination(i)), egress_key(5 + i), i);
    }
  }
  static EngineConfig config_of() {
    EngineConfig config = gateway_config();
    config.peers = {{.vips = {prefix("10.2.0.0/16")}},
                    {.vips = {prefix("10.3.0.0/16")}, .sampling_log2 = 1},
                    {.vips = {prefix("10.4.0.0/16")}, .sampling_log2 = std::optional<uint8_t>{}}};
    config.sampling.egress_log2 = 4;
    return config;
  }
  static std::string destination(uint16_t peer) { return "10." + std::to_string(2 + peer) + ".0.7"; }
  // Of so many packets towards each peer by turns, how many leave with S.
  std::array<double, 3> drawn(size_t count) {
    std::array<double, 3> result{};
    std::array<Frame, 3> frames;
    for (uint16_t i = 0; i < 3; ++i) frames[i] = psp::from_host("10.1.0.5", destination(i), "x");
    for (size_t left = 3 * count; left > 0;) {
      for (uint16_t i = 0; i < 30 && left > 0; ++i, --left) unsecured.received.push_back(frames[left % 3]);
      settle();
      for (const Frame& frame : secured.sent) {
        if (frame[14 + 20 + 8 + 3] & 0x80) ++result[spi_of(frame) - 5];
      }
      secured.sent.clear();
      for (const Sample& sample : sampled()) {
        EXPECT_EQ(sample.peer, sample.spi - 5);
        ++samples_by_rate[{sample.peer, sample.rate_log2}];
      }
    }
    return result;
  }
  std::map<std::pair<uint16_t, uint8_t>, size_t> samples_by_rate;
};

// With one degree of freedom: what would hold by chance in all but one of a thousand seeds.
void expect_rate(double drawn, double count, uint8_t log2) {
  const double expected = std::ldexp(count, -log2), off = (drawn - expected) * (drawn - expected);
  if (log2 == 0) {
    EXPECT_EQ(drawn, count);
  } else {
    EXPECT_LT(off / expected + off / (count - expected), 10.83) << drawn << " of 2^" << int{log2};
  }
}

TEST(SamplingByPeer, SelectsAtEachPeersOwnRate) {
  constexpr size_t kCount = 20'000;
  Peers3 gateway;
  auto drawn = gateway.drawn(kCount);
  expect_rate(drawn[0], kCount, 4);
  expect_rate(drawn[1], kCount, 1);
  EXPECT_EQ(drawn[2], 0);
  // What is never drawn is not counted as passed by either.
  const PipeCount count = gateway.passed(Pipe::kEgressSampling);
  EXPECT_EQ(count.hit, drawn[0] + drawn[1]);
  EXPECT_EQ(count.hit + count.miss, 2 * kCount);
  const std::map<std::pair<uint16_t, uint8_t>, size_t> expected = {{{0, 4}, static_cast<size_t>(drawn[0])},
                                                                   {{1, 1}, static_cast<size_t>(drawn[1])}};
  EXPECT_EQ(gateway.samples_by_rate, expected);
}

TEST(SamplingByPeer, IsSetForOneOrForAll) {
  constexpr size_t kCount = 5'000;
  Peers3 gateway;
  gateway.obey(SamplingCommand{uint16_t{1}, std::nullopt});
  gateway.obey(SamplingCommand{uint16_t{2}, uint8_t{0}});
  gateway.obey(SamplingCommand{uint16_t{3}, uint8_t{0}});  // there is none
  auto drawn = gateway.drawn(kCount);
  expect_rate(drawn[0], kCount, 4);
  EXPECT_EQ(drawn[1], 0);
  EXPECT_EQ(drawn[2], kCount);
  gateway.obey(SamplingCommand{std::nullopt, uint8_t{2}});
  drawn = gateway.drawn(kCount);
  for (const double one : drawn) expect_rate(one, kCount, 2);
  gateway.obey(SamplingCommand{std::nullopt, std::nullopt});
  drawn = gateway.drawn(kCount);
  for (const double one : drawn) EXPECT_EQ(one, 0);
}

// Words like "2:17": flow and number.
std::string word_of(const Frame& inner) {
  return words_of(inner);
}

// Four flows: two with keys, two that get theirs while packets of all come and the port takes few at a time.
TEST(SamplingOrder, IsThatOfThePacketsAtBothEnds) {
  EngineConfig a_config = gateway_config();
  a_config.sampling = {.egress_log2 = 1, .plain = true};
  EngineConfig b_config = gateway_config();
  std::swap(b_config.vips, b_config.peers[0].vips);
  b_config.gateways = {};
  b_config.secured_address = prefix("192.0.2.2/24");
  Gateway a(a_config), b(b_config);
  a.know_next_hop();
  b.host_sends(arp(true, kHostMac, "10.2.0.7", "10.1.0.5"));
  b.unsecured.sent.clear();
  std::array<FlowKey, 4> flows;
  for (uint32_t i = 0; i < 4; ++i) {
    flows[i] = flow("10.1.0." + std::to_string(5 + i), "10.2.0.7");
    b.admit(flows[i], 100 + i);
  }
  a.install(flows[0], key_of(100, 0));
  a.install(flows[1], key_of(101, 0));

  std::vector<std::string> keyed;  // of the flows that always had a key
  int number = 0;
  const auto send_some = [&] {
    for (int i = 0; i < 12; ++i, ++number) {
      const int one = i % 4;
      const std::string words = std::to_string(one) + ":" + std::to_string(number);
      if (one < 2) keyed.push_back(words);
      a.unsecured.received.push_back(from_host("10.1.0." + std::to_string(5 + one), "10.2.0.7", words));
    }
    a.turn(1);
  };
  for (int i = 0; i < 10; ++i) send_some();
  a.secured.takes = 5;
  a.install(flows[2], key_of(102, 0));
  for (int i = 0; i < 3; ++i) send_some();
  a.install(flows[3], key_of(103, 0));
  for (int i = 0; i < 6; ++i) {
    a.secured.takes = 7;
    send_some();
  }
  a.secured.takes = UINT64_MAX;
  for (int i = 0; i < 4; ++i) a.turn(1);
  for (int i = 0; i < 5; ++i) send_some();

  // On the wire: nothing lost, each flow in order, and the keyed ones among one another.
  std::vector<std::string> wire, wire_keyed, drawn;
  std::array<int, 4> last = {-1, -1, -1, -1};
  for (Frame frame : a.secured.sent) {
    const uint32_t one = spi_of(frame) - 100;
    ASSERT_LT(one, 4u);
    wire.push_back(word_of(opened(frame, key_of(100 + one, 0))));
    const int seen = std::stoi(wire.back().substr(2));
    EXPECT_GT(seen, last[one]);
    last[one] = seen;
    if (one < 2) wire_keyed.push_back(wire.back());
    if (frame[14 + 20 + 8 + 3] & 0x80) drawn.push_back(wire.back());
    std::copy(kSecuredMac.begin(), kSecuredMac.end(), frame.begin());
    b.secured.received.push_back(frame);
  }
  ASSERT_EQ(wire.size(), static_cast<size_t>(number));
  EXPECT_EQ(wire_keyed, keyed);
  EXPECT_GT(drawn.size(), wire.size() / 3);
  EXPECT_LT(drawn.size(), wire.size() * 2 / 3);

  // At the other end: the order of the wire, of all packets and of the samples.
  b.settle();
  std::vector<std::string> arrived, sampled_at_b;
  for (const Frame& frame : b.unsecured.sent) arrived.push_back(word_of({frame.begin() + 14, frame.end()}));
  for (const Sample& sample : b.sampled()) sampled_at_b.push_back(word_of(copy_of(sample)));
  EXPECT_EQ(arrived, wire);
  EXPECT_EQ(sampled_at_b, drawn);
  std::vector<std::string> plain, sealed;
  for (const Sample& sample : a.sampled()) {
    if (sample.point == SamplePoint::kEgressPlain) {
      plain.push_back(word_of(copy_of(sample)));
    } else {
      sealed.push_back(word_of(opened(copy_of(sample), key_of(sample.spi, 0))));
    }
  }
  EXPECT_EQ(plain, drawn);
  EXPECT_EQ(sealed, drawn);
}

TEST(SampleRing, KeepsCapturesApartAndGivesTheOldestOfBoth) {
  SampleRing ring(8, 4);
  const uint8_t octets[4] = {1, 2, 3, 4};
  SampleFacts capture, drawn;
  capture.point = SamplePoint::kIngressFailed;
  Sample sample;
  size_t captures = 0, samples = 0;
  for (capture.at_ns = 10; ring.push(capture, octets, 4); capture.at_ns += 10) ++captures;
  for (drawn.at_ns = 15; ring.push(drawn, octets, 4); drawn.at_ns += 10) ++samples;
  EXPECT_EQ(captures, 2u);
  EXPECT_EQ(samples, 8u);
  uint64_t last = 0;
  for (size_t i = 0; i < captures + samples; ++i) {
    ASSERT_TRUE(ring.pop(&sample));
    EXPECT_GT(sample.at_ns, last);
    last = sample.at_ns;
  }
  EXPECT_FALSE(ring.pop(&sample));
  ASSERT_TRUE(ring.push(capture, octets, 4));
  EXPECT_EQ(ring.due_in_ns(capture.at_ns), kSampleWaitMs * uint64_t{1'000'000});
}

}  // namespace
}  // namespace psp
