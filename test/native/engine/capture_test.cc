// SPDX-License-Identifier: Apache-2.0
// Captures of packets that failed: what they show, how many there are, and that they cost nothing else.
#include "sealed_frames.h"

namespace psp {
namespace {

const FlowKey kFlow = flow("10.1.0.5", "10.2.0.7");
constexpr uint32_t kSpi = 17;

EngineConfig capturing(bool ingress, bool egress, uint32_t per_second = 1000, uint16_t snap = kSnapAtMost) {
  EngineConfig config = gateway_config();
  config.capture = {ingress, egress, per_second};
  config.sampling.snap_bytes = snap;
  return config;
}

uint8_t index_of(Drop reason) {
  return static_cast<uint8_t>(reason);
}
Frame copy_of(const Sample& sample) {
  return Frame(sample.octets.begin(), sample.octets.begin() + sample.copied);
}

// A frame that does not open: the last octet of its ICV is wrong, and `mark` at the end of its cipher text.
Frame forged(uint8_t mark = 0, const std::string& words = "words") {
  Frame frame = sealed(key_of(kSpi, 0), udp_packet("10.2.0.7", "10.1.0.5", words));
  frame.back() ^= 1;
  frame[frame.size() - kIcvLength - 1] = mark;
  return frame;
}

// An authentic frame whose next header says that it holds no IP packet.
Frame holding_no_ip(const Frame& inner) {
  const EgressKey key = key_of(kSpi, 0);
  Frame frame = sealed(key, inner);
  uint8_t* const payload = frame.data() + 14 + tunnel_headroom(false, false);
  std::memcpy(payload, inner.data(), inner.size());
  Header header;
  header.next_header = 59;
  header.spi = key.spi;
  header.iv = 1;
  const auto aead = make_aead_libcrypto();
  void* expanded = std::aligned_alloc(kAeadKeyAlignment, (aead->expanded_size() + 63) / 64 * 64);
  aead->construct(expanded);
  aead->expand(expanded, key.key.data(), key.version);
  AeadJob job;
  lay_out_payload(expanded, 50000, &header, payload, inner.size(), &job);
  aead->seal(job);
  aead->destroy(expanded);
  std::free(expanded);
  return frame;
}

// A gateway that admits the flow towards 10.1.0.5.
struct Receiving : Gateway {
  explicit Receiving(const EngineConfig& config, size_t sample_room = 4096)
      : Gateway(config, 1500, 1600, 4096, sample_room) {
    know_host("10.1.0.5");
    admit(kFlow.reversed(), kSpi);
  }
  // So many forged frames at one time; how many were captured.
  size_t flood(int count) {
    for (int i = 0; i < count; ++i) secured.received.push_back(forged());
    settle();
    return sampled().size();
  }
};

struct Axes {
  bool inner_ipv6, outer_ipv6;
  Mode mode;
  uint8_t version;
};

std::vector<Axes> all_axes() {
  std::vector<Axes> all;
  for (const bool inner : {false, true}) {
    for (const bool outer : {false, true}) {
      for (const Mode mode : {Mode::kTunnel, Mode::kTransport}) {
        for (uint8_t version = 0; version < 4; ++version) all.push_back({inner, outer, mode, version});
      }
    }
  }
  return all;
}

std::string name_of(const testing::TestParamInfo<Axes>& info) {
  const Axes& axes = info.param;
  return std::string(axes.inner_ipv6 ? "v6" : "v4") + "_over_" + (axes.outer_ipv6 ? "v6" : "v4") + "_" +
         (axes.mode == Mode::kTunnel ? "tunnel" : "transport") + "_" + std::to_string(axes.version);
}

class CaptureForged : public testing::TestWithParam<Axes> {};

TEST_P(CaptureForged, ShowsTheFrameAsItWasSent) {
  const Axes& axes = GetParam();
  EngineConfig a_config = gateway_config(), b_config = capturing(true, false);
  std::swap(b_config.vips, b_config.peers[0].vips);
  b_config.gateways = {};
  a_config.peers[0].mode = b_config.peers[0].mode = axes.mode;
  a_config.secured_address = prefix(axes.outer_ipv6 ? "fd00:9::1/64" : "192.0.2.1/24");
  b_config.secured_address = prefix(axes.outer_ipv6 ? "fd00:9::2/64" : "192.0.2.2/24");
  Gateway a(a_config), b(b_config);
  EgressKey key = key_of(kSpi, axes.version);
  key.mode = axes.mode;
  key.mac = kSecuredMac;
  key.outer_destination = b_config.secured_address.address;
  const FlowKey inner = axes.inner_ipv6 ? flow("fd00:1::5", "fd00:2::7") : kFlow;
  a.install(inner, key);
  ASSERT_TRUE(b.admit(inner, kSpi, axes.version, 0, axes.mode));
  const Frame packet =
      axes.inner_ipv6 ? long_packet("fd00:1::5", "fd00:2::7", 600) : long_packet("10.1.0.5", "10.2.0.7", 600);
  a.host_sends(psp::from_host(packet));
  std::erase_if(a.secured.sent, [](const Frame& frame) { return (frame[0] & 1) != 0; });
  ASSERT_EQ(a.secured.sent.size(), 1u);
  const Frame good = a.secured.sent[0];

  // Where the bit is wrong: in the ICV, and in the middle of the payload.
  for (const size_t at : {good.size() - 1, good.size() / 2}) {
    Frame frame = good;
    frame[at] ^= 0x10;
    b.wire_sends(frame);
    const auto samples = b.sampled();
    ASSERT_EQ(samples.size(), 1u);
    EXPECT_EQ(copy_of(samples[0]), frame);
    EXPECT_EQ(samples[0].original_length, frame.size());
    EXPECT_EQ(samples[0].point, SamplePoint::kIngressFailed);
    EXPECT_EQ(samples[0].reason, index_of(Drop::kIngressIcvFailure));
    EXPECT_EQ(samples[0].at_ns, b.now * 1'000'000);
    EXPECT_EQ(samples[0].spi, kSpi);
    EXPECT_EQ(samples[0].peer, 0);
    EXPECT_EQ(samples[0].rate_log2, kRateUnknown);
    EXPECT_EQ(samples[0].protocol, kProtocolUdp);
    EXPECT_EQ(samples[0].destination_port, 1000);
    const FlowKey outer{a_config.secured_address.address, b_config.secured_address.address};
    EXPECT_EQ(samples[0].flow, axes.mode == Mode::kTunnel ? outer : inner);
  }
  EXPECT_EQ(b.dropped(Drop::kIngressIcvFailure), 2u);
  EXPECT_EQ(b.value(Value::kCapturesTaken), 2u);
  EXPECT_EQ(b.value(Value::kSamplesTaken), 0u);
  // The good one is no capture.
  b.wire_sends(good);
  EXPECT_EQ(b.dropped(Drop::kIngressIcvFailure), 2u);
  EXPECT_TRUE(b.sampled().empty());
  b.expect_conservation();
}

INSTANTIATE_TEST_SUITE_P(All, CaptureForged, testing::ValuesIn(all_axes()), name_of);

TEST(Capture, IsOffUntilItIsAskedFor) {
  for (const auto& [ingress, egress] : {std::pair{false, false}, {true, false}, {false, true}}) {
    Receiving gateway(capturing(ingress, egress));
    EgressKey nowhere = egress_key(5);
    nowhere.outer_destination = address("198.51.100.9");
    gateway.install(kFlow, nowhere);
    EXPECT_EQ(gateway.flood(3), ingress ? 3u : 0u);
    gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "plaintext"));
    EXPECT_EQ(gateway.dropped(Drop::kEgressNoNextHop), 1u);
    EXPECT_EQ(gateway.sampled().size(), egress ? 1u : 0u);
    EXPECT_EQ(gateway.value(Value::kCapturesTaken), 3u * ingress + egress);
    EXPECT_EQ(gateway.value(Value::kCapturesSuppressed) + gateway.value(Value::kCapturesLost), 0u);
  }
  EXPECT_FALSE(EngineConfig{}.capture.ingress || EngineConfig{}.capture.egress);
}

TEST(Capture, ShowsABadTrailerAsItWasSent) {
  Receiving gateway(capturing(true, false));
  const Frame frame = holding_no_ip(udp_packet("10.2.0.7", "10.1.0.5", "words"));
  gateway.wire_sends(frame);
  EXPECT_EQ(gateway.dropped(Drop::kIngressBadTrailer), 1u);
  const auto samples = gateway.sampled();
  ASSERT_EQ(samples.size(), 1u);
  EXPECT_EQ(copy_of(samples[0]), frame);
  EXPECT_EQ(samples[0].reason, index_of(Drop::kIngressBadTrailer));
  EXPECT_EQ(samples[0].point, SamplePoint::kIngressFailed);
}

TEST(Capture, ShowsNothingThatFailsBeforeItIsOpened) {
  Receiving gateway(capturing(true, false));
  gateway.wire_sends(sealed(egress_key(99), udp_packet("10.2.0.7", "10.1.0.5", "x")));
  EXPECT_EQ(gateway.dropped(Drop::kIngressUnknownSpi), 1u);
  gateway.wire_sends(sealed(key_of(kSpi, 0), udp_packet("10.2.0.8", "10.1.0.5", "x")));
  EXPECT_EQ(gateway.dropped(Drop::kIngressAclMiss), 1u);
  EXPECT_TRUE(gateway.sampled().empty());
  EXPECT_EQ(gateway.value(Value::kCapturesSuppressed), 0u);
}

TEST(Capture, DistinguishesThePacketsOfABurst) {
  Receiving gateway(capturing(true, false));
  std::vector<Frame> sent;
  for (uint8_t i = 0; i < 24; ++i) {
    if (i % 3 == 0) {
      gateway.secured.received.push_back(
          sealed(key_of(kSpi, 0), udp_packet("10.2.0.7", "10.1.0.5", "good"), i));
    } else {
      sent.push_back(forged(i, std::string(i, 'x')));
      gateway.secured.received.push_back(sent.back());
    }
  }
  gateway.settle();
  EXPECT_EQ(gateway.unsecured.sent.size(), 8u);
  const auto samples = gateway.sampled();
  ASSERT_EQ(samples.size(), sent.size());
  for (size_t i = 0; i < sent.size(); ++i) EXPECT_EQ(copy_of(samples[i]), sent[i]);
}

TEST(Capture, TruncatesCopiesAndKeepsTheirLength) {
  Receiving gateway(capturing(true, true, 1000, 64));
  const Frame frame = forged(1, std::string(400, 'x'));
  gateway.wire_sends(frame);
  const auto samples = gateway.sampled();
  ASSERT_EQ(samples.size(), 1u);
  EXPECT_EQ(copy_of(samples[0]), Frame(frame.begin(), frame.begin() + 64));
  EXPECT_EQ(samples[0].original_length, frame.size());
}

TEST(Capture, TakesSoManyASecondAndCountsTheRest) {
  // A burst is the share of a tenth of a second.
  Receiving gateway(capturing(true, true, 20));
  for (int i = 0; i < 100; ++i) {
    gateway.wire_sends(sealed(key_of(kSpi, 0), udp_packet("10.2.0.7", "10.1.0.5", "costs none"), i + 1));
  }
  EXPECT_EQ(gateway.flood(10), 2u);
  EXPECT_EQ(gateway.value(Value::kCapturesSuppressed), 8u);
  gateway.turn(49);
  EXPECT_EQ(gateway.flood(5), 0u);
  gateway.turn(1);
  EXPECT_EQ(gateway.flood(5), 1u);
  gateway.turn(60'000);
  EXPECT_EQ(gateway.flood(5), 2u);

  // One bucket for both directions.
  EgressKey nowhere = egress_key(5);
  nowhere.outer_destination = address("198.51.100.9");
  gateway.install(kFlow, nowhere);
  gateway.turn(1000);
  EXPECT_EQ(gateway.flood(1), 1u);
  for (int i = 0; i < 3; ++i) gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "x"));
  const auto samples = gateway.sampled();
  ASSERT_EQ(samples.size(), 1u);
  EXPECT_EQ(samples[0].point, SamplePoint::kEgressFailed);
  EXPECT_EQ(gateway.flood(1), 0u);
  EXPECT_EQ(gateway.dropped(Drop::kIngressIcvFailure),
            gateway.value(Value::kCapturesTaken) - 1 + gateway.value(Value::kCapturesSuppressed) - 2);
}

TEST(Capture, HoldsItsRateOverAFlood) {
  for (const uint32_t per_second : {1u, 5u, 20u, 100u}) {
    Receiving gateway(capturing(true, false, per_second));
    const size_t burst = std::max(per_second / 10, 1u);
    size_t taken = gateway.flood(20);
    EXPECT_EQ(taken, burst);
    for (int ms = 0; ms < 10'000; ms += 5) {
      gateway.turn(5);
      taken += gateway.flood(2);
    }
    EXPECT_EQ(taken, burst + 10 * per_second);
    EXPECT_EQ(gateway.value(Value::kCapturesTaken), taken);
    EXPECT_EQ(gateway.value(Value::kCapturesTaken) + gateway.value(Value::kCapturesSuppressed),
              gateway.dropped(Drop::kIngressIcvFailure));
  }
  Receiving none(capturing(true, true, 0));
  EXPECT_EQ(none.flood(3), 0u);
}

TEST(Capture, FloodsCostNoSample) {
  EngineConfig config = capturing(true, false, 10'000);
  config.sampling.egress_log2 = 0;
  Receiving gateway(config, 8);
  gateway.know_next_hop();
  gateway.install(kFlow, egress_key(5));
  for (int i = 0; i < 100; ++i) gateway.secured.received.push_back(forged());
  gateway.settle();
  EXPECT_EQ(gateway.value(Value::kCapturesTaken), 2u);
  EXPECT_EQ(gateway.value(Value::kCapturesLost), 98u);
  for (int i = 0; i < 9; ++i) gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "x"));
  EXPECT_EQ(gateway.value(Value::kSamplesTaken), 8u);
  EXPECT_EQ(gateway.value(Value::kSamplesLost), 1u);
  EXPECT_EQ(gateway.sampled().size(), 10u);
  gateway.expect_conservation();
}

// A gateway that captures what its hosts' packets fail of, and draws every packet.
struct Sealing : Gateway {
  explicit Sealing(Mode mode, uint16_t secured_mtu = 1600) : Gateway(config_of(), 1500, secured_mtu) {
    know_next_hop();
    EgressKey key = egress_key(5);
    key.mode = mode;
    install(kFlow, key);
  }
  static EngineConfig config_of() {
    EngineConfig config = capturing(false, true);
    config.sampling.egress_log2 = 0;
    config.sampling.plain = true;
    return config;
  }
  // The packet is dropped for this reason and captured as it came.
  void expect_captured(const Frame& packet, Drop reason, const Ports& ports) {
    const uint64_t before = dropped(reason);
    host_sends(psp::from_host(packet));
    EXPECT_EQ(dropped(reason), before + 1);
    const auto samples = sampled();
    ASSERT_EQ(samples.size(), 1u);
    EXPECT_EQ(copy_of(samples[0]), Frame(packet.begin(), packet.begin() + samples[0].copied));
    EXPECT_EQ(samples[0].copied, std::min<size_t>(packet.size(), kSnapAtMost));
    EXPECT_EQ(samples[0].original_length, packet.size());
    EXPECT_EQ(samples[0].point, SamplePoint::kEgressFailed);
    EXPECT_EQ(samples[0].reason, index_of(reason));
    EXPECT_EQ(samples[0].flow, kFlow);
    EXPECT_EQ(samples[0].spi, 5u);
    EXPECT_EQ(samples[0].peer, 0);
    EXPECT_EQ(samples[0].rate_log2, kRateUnknown);
    EXPECT_EQ(samples[0].at_ns, now * 1'000'000);
    EXPECT_EQ(samples[0].source_port, ports.source);
    EXPECT_EQ(samples[0].destination_port, ports.destination);
    expect_conservation();
  }
};

TEST(CaptureUnsealed, ShowsWhatSealingTurnedAway) {
  for (const Mode mode : {Mode::kTunnel, Mode::kTransport}) {
    Sealing gateway(mode, 1400);
    gateway.expect_captured(with_df(long_packet("10.1.0.5", "10.2.0.7", 1400)), Drop::kEgressTooBig,
                            {4000, 5000});
    // A GSO packet.
    gateway.expect_captured(long_packet("10.1.0.5", "10.2.0.7", 4000), Drop::kEgressTooBig, {4000, 5000});
    EgressKey nowhere = egress_key(5);
    nowhere.outer_destination = address("198.51.100.9");
    gateway.install(kFlow, nowhere);
    gateway.expect_captured(long_packet("10.1.0.5", "10.2.0.7", 100), Drop::kEgressNoNextHop, {4000, 5000});
  }
  Sealing gateway(Mode::kTransport);
  const Frame inner = udp_packet("10.9.0.1", "10.9.0.2", "x");
  gateway.expect_captured(ip_packet(kFlow.source, kFlow.destination, 4, inner), Drop::kEgressTransportIpInIp,
                          {});
}

TEST(CaptureUnsealed, ShowsNothingOfWhatHadNoKeyOrWasSealed) {
  Sealing gateway(Mode::kTunnel);
  gateway.host_sends(from_host("10.1.0.5", "10.9.0.7", "x"));
  EXPECT_EQ(gateway.dropped(Drop::kEgressNoPeer), 1u);
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.8", "held"));
  gateway.refuse(flow("10.1.0.5", "10.2.0.8"), Refusal::kRefused, 1000);
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.8", "x"));
  EXPECT_EQ(gateway.dropped(Drop::kEgressRefused), 1u);
  EXPECT_EQ(gateway.dropped(Drop::kEgressHoldDown), 1u);
  EXPECT_TRUE(gateway.sampled().empty());
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "sealed"));
  for (const Sample& sample : gateway.sampled()) EXPECT_FALSE(is_capture(sample.point));
  EXPECT_EQ(gateway.value(Value::kSamplesTaken), 2u);
  EXPECT_EQ(gateway.value(Value::kCapturesTaken) + gateway.value(Value::kCapturesSuppressed), 0u);
}

// Held for a peer in transport mode, where it turns out to have no form.
TEST(CaptureUnsealed, ShowsHeldPacketsToo) {
  Gateway gateway(Sealing::config_of());
  gateway.know_next_hop();
  const Frame packet = ip_packet(kFlow.source, kFlow.destination, 4, udp_packet("10.9.0.1", "10.9.0.2", "x"));
  gateway.host_sends(psp::from_host(packet));
  EgressKey key = egress_key(5);
  key.mode = Mode::kTransport;
  gateway.install(kFlow, key);
  gateway.turn();
  const auto samples = gateway.sampled();
  ASSERT_EQ(samples.size(), 1u);
  EXPECT_EQ(copy_of(samples[0]), packet);
  EXPECT_EQ(samples[0].reason, index_of(Drop::kEgressTransportIpInIp));
}

}  // namespace
}  // namespace psp
