// SPDX-License-Identifier: Apache-2.0
// Wire to host in every mode, version and family: what opens is delivered bit for bit, everything else ends
// under its reason.
#include <set>

#include "wire_frames.h"

namespace psp {
namespace {

const FlowKey kFour = flow("10.2.0.7", "10.1.0.5"), kSix = flow("fd00:2::7", "fd00:1::5");
constexpr uint64_t kCookie = 0x1122334455667788;

EngineConfig config_of(Mode mode, bool outer_ipv6 = false) {
  EngineConfig config = gateway_config();
  config.peers[0].mode = mode;
  if (outer_ipv6) config.secured_address = prefix("fd00:99::1/64");
  return config;
}

struct Receiver : Gateway {
  explicit Receiver(const EngineConfig& engine_config = config_of(Mode::kTransport),
                    uint16_t unsecured_mtu = 1500)
      : Gateway(engine_config, unsecured_mtu) {
    know_host("10.1.0.5");
    know_host("fd00:1::5");
  }
  // What the host gets.
  std::vector<Frame> gets(Frame frame) {
    unsecured.sent.clear();
    wire_sends(std::move(frame));
    std::vector<Frame> result(unsecured.sent.begin(), unsecured.sent.end());
    return result;
  }
  uint64_t drops(Frame frame, Drop reason) {
    const uint64_t before = dropped(reason);
    EXPECT_TRUE(gets(std::move(frame)).empty());
    return dropped(reason) - before;
  }
};

struct Axes {
  Mode mode;
  bool ipv6, outer_ipv6;
  uint8_t version;
};

std::vector<Axes> all_axes() {
  std::vector<Axes> result;
  for (const Mode mode : {Mode::kTunnel, Mode::kTransport}) {
    for (const bool ipv6 : {false, true}) {
      for (const bool outer_ipv6 : {false, true}) {
        // In transport mode there is no outer header.
        if (mode == Mode::kTransport && outer_ipv6) continue;
        for (uint8_t version = 0; version <= 3; ++version)
          result.push_back({mode, ipv6, outer_ipv6, version});
      }
    }
  }
  return result;
}

std::string name_of(const testing::TestParamInfo<Axes>& info) {
  const Axes& axes = info.param;
  std::string name = axes.mode == Mode::kTunnel ? "tunnel" : "transport";
  name += axes.ipv6 ? "_v6" : "_v4";
  if (axes.mode == Mode::kTunnel) name += axes.outer_ipv6 ? "_in_v6" : "_in_v4";
  return name + "_version" + std::to_string(axes.version);
}

class IngressModes : public testing::TestWithParam<Axes> {
 protected:
  const Axes axes = GetParam();
  const FlowKey inbound = axes.ipv6 ? kSix : kFour;
  const Frame packet = ip_packet(inbound.source, inbound.destination, kProtocolUdp,
                                 udp(4000, 5000, text("forty-one octets that say nothing at all.")), 0, 33);

  WireOptions options() const {
    WireOptions result;
    if (axes.outer_ipv6) {
      result.from = "fd00:99::2";
      result.to = "fd00:99::1";
    }
    return result;
  }
};

TEST_P(IngressModes, DeliverWhatWasSealedWithAndWithoutCookieOffsetAndExtensionWords) {
  Receiver gateway(config_of(axes.mode, axes.outer_ipv6));
  uint32_t spi = 100;
  uint64_t octets = 0, packets = 0;
  for (const uint64_t cookie : {uint64_t{0}, kCookie}) {
    const EgressKey key = mode_key(++spi, axes.version, axes.mode, cookie);
    ASSERT_TRUE(gateway.admit(inbound, spi, axes.version, cookie, axes.mode));
    for (const uint8_t offset : {0, 1, 2, 5, 12}) {
      for (const uint8_t words : {0, 1, 3}) {
        for (const bool checksum : {false, true}) {
          WireOptions wire = options();
          wire.iv = ++packets;
          wire.crypt_offset = offset;
          wire.extension_words = words;
          wire.udp_checksum = checksum;
          const auto got = gateway.gets(on_wire(key, packet, wire));
          ASSERT_EQ(got.size(), 1u) << int{offset} << " " << int{words};
          EXPECT_EQ(got[0], ethernet(kHostMac, kUnsecuredMac, axes.ipv6 ? 0x86dd : 0x0800, packet));
          const size_t payload = packet.size() - (axes.mode == Mode::kTunnel ? 0 : axes.ipv6 ? 40 : 20);
          octets += payload + size_t{8} * words + (cookie != 0 ? 8 : 0);
        }
      }
    }
  }
  EXPECT_EQ(gateway.value(Value::kRxPackets), packets);
  EXPECT_EQ(gateway.value(Value::kRxBytes), octets);
  for (const Value none : {Value::kRxAuthFail, Value::kRxError, Value::kRxBad, Value::kAclBypassed}) {
    EXPECT_EQ(gateway.value(none), 0u);
  }
  gateway.expect_conservation();
}

TEST_P(IngressModes, RefuseEveryFlippedBitFromThePspHeaderToTheIcv) {
  Receiver gateway(config_of(axes.mode, axes.outer_ipv6));
  const EgressKey key = mode_key(17, axes.version, axes.mode, kCookie);
  ASSERT_TRUE(gateway.admit(inbound, 17, axes.version, kCookie, axes.mode));
  WireOptions wire = options();
  wire.crypt_offset = 3;
  wire.extension_words = 1;
  const Frame good = on_wire(key, packet, wire);
  const bool outer_ipv6 = axes.mode == Mode::kTunnel ? axes.outer_ipv6 : axes.ipv6;
  const size_t psp = 14 + (outer_ipv6 ? 40 : 20) + 8;
  for (size_t at = psp; at < good.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      Frame bad = good;
      bad[at] ^= static_cast<uint8_t>(1 << bit);
      EXPECT_TRUE(gateway.gets(bad).empty()) << "octet " << at - psp << " bit " << bit;
    }
  }
  EXPECT_EQ(gateway.value(Value::kRxPackets), 0u);
  EXPECT_EQ(gateway.dropped(Drop::kIngressAclMiss), 0u);
  EXPECT_EQ(gateway.value(Value::kRxAuthFail), gateway.dropped(Drop::kIngressIcvFailure));
  EXPECT_GT(gateway.value(Value::kRxAuthFail), (good.size() - psp - kHeaderLength) * 8);
  EXPECT_EQ(gateway.gets(good).size(), 1u);
  gateway.expect_conservation();
}

TEST_P(IngressModes, AdmitNothingButWhatWasOffered) {
  EngineConfig config = config_of(Mode::kTransport, axes.outer_ipv6);
  Receiver strict(config);
  config.ingress_acl = false;
  Receiver lax(config);
  const Address other_host = address(axes.ipv6 ? "fd00:1::6" : "10.1.0.6");
  const auto with = [&](const Address& source, const Address& destination) {
    return ip_packet(source, destination, kProtocolUdp, udp(4000, 5000, text("x")));
  };
  const Address stranger = address(axes.ipv6 ? "fd00:2::8" : "10.2.0.8");
  const EgressKey key = mode_key(17, axes.version, axes.mode, kCookie);
  EgressKey wrong_cookie = key, no_cookie = key;
  wrong_cookie.cookie ^= 1;
  no_cookie.cookie = 0;
  const std::vector<Frame> others = {
      on_wire(key, with(stranger, inbound.destination), options()),
      on_wire(key, with(inbound.source, other_host), options()),
      on_wire(key, with(inbound.destination, inbound.destination), options()),
      on_wire(wrong_cookie, packet, options()),
      on_wire(no_cookie, packet, options()),
  };
  // Another key altogether: SPI, version or mode.
  const uint8_t other_version = (axes.version + 1) % 4;
  const Mode other_mode = axes.mode == Mode::kTunnel ? Mode::kTransport : Mode::kTunnel;
  for (Receiver* gateway : {&strict, &lax}) {
    gateway->know_host(axes.ipv6 ? "fd00:1::6" : "10.1.0.6");
    ASSERT_TRUE(gateway->admit(inbound, 17, axes.version, kCookie, axes.mode));
    EXPECT_EQ(gateway->drops(on_wire(mode_key(18, axes.version, axes.mode, kCookie), packet, options()),
                             Drop::kIngressUnknownSpi),
              1u);
    EXPECT_EQ(gateway->drops(on_wire(mode_key(17, other_version, axes.mode, kCookie), packet, options()),
                             Drop::kIngressUnknownSpi),
              1u);
    EXPECT_EQ(gateway->drops(on_wire(mode_key(17, axes.version, other_mode, kCookie), packet, options()),
                             Drop::kIngressWrongMode),
              1u);
    EXPECT_EQ(gateway->gets(on_wire(key, packet, options())).size(), 1u);
    EXPECT_EQ(gateway->value(Value::kAclBypassed), 0u);
  }
  uint64_t passed = 0;
  for (const Frame& other : others) {
    EXPECT_EQ(strict.drops(other, Drop::kIngressAclMiss), 1u);
    EXPECT_EQ(lax.gets(other).size(), 1u);
    EXPECT_EQ(lax.value(Value::kAclBypassed), ++passed);
  }
  // Not even then to a place that is not behind us: in transport mode it is not taken from the wire at all.
  const Frame elsewhere = on_wire(key, with(inbound.source, stranger), options());
  const Drop reason = axes.mode == Mode::kTunnel ? Drop::kIngressAclMiss : Drop::kIngressNotForUs;
  EXPECT_EQ(lax.drops(elsewhere, reason), 1u);
  EXPECT_EQ(lax.value(Value::kAclBypassed), passed);
  strict.expect_conservation();
  lax.expect_conservation();
}

TEST_P(IngressModes, WhatIsAuthenticButOfAnotherShapeIsABadTrailer) {
  Receiver gateway(config_of(axes.mode, axes.outer_ipv6));
  const EgressKey key = mode_key(17, axes.version, axes.mode);
  ASSERT_TRUE(gateway.admit(inbound, 17, axes.version, 0, axes.mode));
  WireOptions wire = options();
  // The next header never makes a tunnel of transport mode, nor the other way.
  for (const uint8_t next : {4, 41, 17, 59}) {
    const bool truth = next == (axes.mode == Mode::kTransport ? 17 : axes.ipv6 ? 41 : 4);
    const bool harmless = axes.mode == Mode::kTransport && next == 59;
    if (truth || harmless) continue;
    wire.next_header = next;
    EXPECT_EQ(gateway.drops(on_wire(key, packet, wire), Drop::kIngressBadTrailer), 1u) << int{next};
  }
  EXPECT_GT(gateway.value(Value::kRxError), 0u);
  EXPECT_EQ(gateway.value(Value::kRxError), gateway.dropped(Drop::kIngressBadTrailer));
  EXPECT_EQ(gateway.value(Value::kRxPackets), 0u);
}

INSTANTIATE_TEST_SUITE_P(All, IngressModes, testing::ValuesIn(all_axes()), name_of);

TEST(Ingress, NoCookieMeansThatNoneMayComeNotEvenOneOfZero) {
  Receiver gateway;
  gateway.admit(kFour, 17, 0, 0, Mode::kTunnel);
  const Frame packet = udp_packet("10.2.0.7", "10.1.0.5", "x");
  EXPECT_EQ(gateway.drops(on_wire(mode_key(17, 0, Mode::kTunnel, kCookie), packet), Drop::kIngressAclMiss),
            1u);
  WireOptions zero;
  zero.zero_cookie = true;
  EXPECT_EQ(gateway.drops(on_wire(mode_key(17, 0, Mode::kTunnel), packet, zero), Drop::kIngressAclMiss), 1u);
}

TEST(Ingress, AWrongUdpChecksumIsRefusedInBothFamiliesAndModes) {
  for (const bool outer_ipv6 : {false, true}) {
    Receiver gateway(config_of(Mode::kTransport, outer_ipv6));
    const FlowKey inbound = outer_ipv6 ? kSix : kFour;
    const Frame packet = ip_packet(inbound.source, inbound.destination, 17, udp(1, 2, text("x")));
    uint32_t spi = 20;
    for (const Mode mode : {Mode::kTunnel, Mode::kTransport}) {
      gateway.admit(inbound, ++spi, 0, 0, mode);
      WireOptions wire;
      wire.udp_checksum = true;
      if (outer_ipv6) wire.from = "fd00:99::2", wire.to = "fd00:99::1";
      Frame frame = on_wire(mode_key(spi, 0, mode), packet, wire);
      EXPECT_EQ(gateway.gets(frame).size(), 1u);
      frame[14 + (outer_ipv6 ? 40 : 20) + 7] ^= 1;
      const uint64_t errors = gateway.value(Value::kRxError);
      EXPECT_EQ(gateway.drops(frame, Drop::kIngressUdpChecksum), 1u);
      EXPECT_EQ(gateway.value(Value::kRxError), errors + 1);
      // The port has seen to it already.
      gateway.secured.flags = RTE_MBUF_F_RX_L4_CKSUM_GOOD;
      EXPECT_EQ(gateway.gets(frame).size(), 1u);
      gateway.secured.flags = 0;
    }
  }
}

TEST(Ingress, CountsByTheSpecification) {
  Receiver gateway;
  const Frame packet = udp_packet("10.2.0.7", "10.1.0.5", "x");
  gateway.admit(kFour, 17);
  gateway.admit(kFour, 0x80000011);
  const EgressKey key = mode_key(17, 0, Mode::kTunnel);
  const Frame good = on_wire(key, packet);
  const size_t psp = 14 + 20 + 8;
  const auto counts = [&](Frame frame, Value counted) {
    std::vector<uint64_t> before, after;
    const std::vector<Value> all = {Value::kRxPackets, Value::kRxAuthFail, Value::kRxError, Value::kRxBad};
    for (const Value value : all) before.push_back(gateway.value(value));
    gateway.wire_sends(std::move(frame));
    for (const Value value : all) after.push_back(gateway.value(value) - (value == counted ? 1 : 0));
    EXPECT_EQ(before, after) << kValues[static_cast<size_t>(counted)].name;
  };
  counts(good, Value::kRxPackets);
  Frame damaged = good;
  damaged.back() ^= 1;
  counts(damaged, Value::kRxAuthFail);
  for (const uint8_t version : {4, 15}) {
    WireOptions wire;
    wire.wire_version = version;
    counts(on_wire(key, packet, wire), Value::kRxBad);
  }
  // A master key that we do not have.
  counts(on_wire(mode_key(0x80000011, 0, Mode::kTunnel), packet), Value::kRxBad);
  EXPECT_EQ(gateway.dropped(Drop::kIngressNoKey), 1u);
  Frame even = good, offset = good, udp_length = good;
  even[psp + 3] &= 0xfe;
  counts(even, Value::kRxError);
  offset[psp + 2] = 63;
  counts(offset, Value::kRxError);
  put16(udp_length, 14 + 20 + 4, 2000);
  counts(udp_length, Value::kRxError);
  counts(from_wire(ip_packet(address("192.0.2.2"), address("192.0.2.1"), 17, udp(9, 1000, Frame(31)))),
         Value::kRxError);
  // Authentic, though not of the flow; and what is not PSP counts nowhere.
  counts(on_wire(key, udp_packet("10.2.0.9", "10.1.0.5", "x")), Value::kRxPackets);
  const std::vector<uint64_t> before = {gateway.value(Value::kRxPackets), gateway.value(Value::kRxError)};
  gateway.wire_sends(from_wire(udp_packet("192.0.2.2", "192.0.2.1", "x")));
  gateway.wire_sends(on_wire(mode_key(18, 0, Mode::kTunnel), packet));
  EXPECT_EQ(before,
            (std::vector<uint64_t>{gateway.value(Value::kRxPackets), gateway.value(Value::kRxError)}));
  gateway.expect_conservation();
}

TEST(Ingress, WithoutTransportPeersTheWireHasNoWayToAVip) {
  Receiver gateway(config_of(Mode::kTunnel));
  gateway.admit(kFour, 17, 0, 0, Mode::kTunnel);
  EXPECT_EQ(gateway.drops(from_wire(udp_packet("10.2.0.7", "10.1.0.5", "x")), Drop::kIngressNotForUs), 1u);
  EXPECT_EQ(gateway.drops(on_wire(transport_key(17), udp_packet("10.2.0.7", "10.1.0.5", "x")),
                          Drop::kIngressNotForUs),
            1u);
  const Frame long_one = from_wire(long_packet("10.2.0.7", "10.1.0.5", 1400));
  for (const Frame& fragment : in_fragments(long_one, 512)) {
    EXPECT_EQ(gateway.drops(fragment, Drop::kIngressNotForUs), 1u);
  }
  EXPECT_EQ(gateway.value(Value::kFragmentsWaiting), 0u);
}

TEST(Ingress, WithTransportPeersPlaintextToAVipIsNotPsp) {
  Receiver gateway;
  EXPECT_EQ(gateway.drops(from_wire(udp_packet("10.2.0.7", "10.1.0.5", "x")), Drop::kIngressNotPsp), 1u);
  EXPECT_EQ(gateway.drops(from_wire(udp_packet("fd00:2::7", "fd00:1::5", "x")), Drop::kIngressNotPsp), 1u);
  EXPECT_EQ(gateway.drops(from_wire(udp_packet("10.2.0.7", "10.9.0.5", "x")), Drop::kIngressNotForUs), 1u);
}

// RFC 6040, figure 4: outer by inner.
TEST(Ingress, CarriesCongestionInwardByTheTableOfRfc6040) {
  Receiver gateway;
  gateway.admit(kFour, 17);
  gateway.admit(kSix, 18);
  constexpr int kDrop = -1;
  constexpr int kTable[4][4] = {// inner: not-ECT, ECT(1), ECT(0), CE
                                {0, 1, 2, 3},
                                {0, 1, 1, 3},
                                {0, 1, 2, 3},
                                {kDrop, 3, 3, 3}};
  for (uint8_t outer = 0; outer < 4; ++outer) {
    for (uint8_t ecn = 0; ecn < 4; ++ecn) {
      for (const FlowKey& inbound : {kFour, kSix}) {
        const auto packet = [&](int value) {
          return ip_packet(inbound.source, inbound.destination, 17, udp(1, 2, text("x")),
                           static_cast<uint8_t>(0x48 | value), 1);
        };
        WireOptions wire;
        wire.traffic_class = 0x20 | outer;
        const EgressKey key = mode_key(inbound == kFour ? 17 : 18, 0, Mode::kTunnel);
        const int expected = kTable[outer][ecn];
        if (expected == kDrop) {
          EXPECT_EQ(gateway.drops(on_wire(key, packet(ecn), wire), Drop::kIngressCongestion), 1u);
          continue;
        }
        const auto got = gateway.gets(on_wire(key, packet(ecn), wire));
        ASSERT_EQ(got.size(), 1u) << int{outer} << int{ecn};
        // DSCP and hop limit stay.
        EXPECT_EQ(ip_of(got[0]), packet(expected)) << int{outer} << int{ecn};
      }
    }
  }
}

TEST(Ingress, InTransportModeAllEcnValuesArriveAsTheyCame) {
  Receiver gateway;
  gateway.admit(kFour, 17, 0, 0, Mode::kTransport);
  for (uint8_t ecn = 0; ecn < 4; ++ecn) {
    const Frame packet = ip_packet(kFour.source, kFour.destination, 17, udp(1, 2, text("x")), ecn, 7);
    const auto got = gateway.gets(on_wire(mode_key(17, 0, Mode::kTransport), packet));
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(ip_of(got[0]), packet);
  }
}

TEST(Ingress, PacketsTooLongForTheHostsAreFragmentedWhereIpAllowsIt) {
  Receiver gateway(config_of(Mode::kTransport), 1280);
  gateway.admit(kFour, 17);
  gateway.admit(kSix, 18);
  gateway.admit(kFour, 19, 0, 0, Mode::kTransport);
  gateway.admit(kSix, 20, 0, 0, Mode::kTransport);
  const Frame four = ipv4_marked(long_packet("10.2.0.7", "10.1.0.5", 1400), 77, 0);
  const Frame six = long_packet("fd00:2::7", "fd00:1::5", 1400);
  const auto rejoined = [&](uint32_t spi, Mode mode, const Frame& packet) {
    const auto got = gateway.gets(on_wire(mode_key(spi, 0, mode), packet));
    EXPECT_EQ(got.size(), 2u);
    for (const Frame& frame : got) {
      EXPECT_LE(frame.size(), 14 + 1280u);
      EXPECT_EQ(std::memcmp(frame.data(), kHostMac.data(), 6), 0);
    }
    return got.size() == 2 ? ip_of(joined(got)) : Frame{};
  };
  EXPECT_EQ(rejoined(17, Mode::kTunnel, four), four);
  EXPECT_EQ(rejoined(19, Mode::kTransport, four), four);
  EXPECT_EQ(rejoined(20, Mode::kTransport, six), six);
  EXPECT_EQ(gateway.drops(on_wire(mode_key(18, 0, Mode::kTunnel), six), Drop::kIngressTooBig), 1u);
  EXPECT_EQ(gateway.drops(on_wire(mode_key(17, 0, Mode::kTunnel), with_df(four)), Drop::kIngressTooBig), 1u);
  EXPECT_EQ(gateway.drops(on_wire(mode_key(19, 0, Mode::kTransport), with_df(four)), Drop::kIngressTooBig),
            1u);
  gateway.expect_conservation();
}

TEST(Vlan, APriorityTagIsTakenOffOnBothPorts) {
  Receiver gateway;
  gateway.know_next_hop();
  gateway.install(kFour.reversed(), egress_key(5));
  gateway.admit(kFour, 17);
  const auto tagged = [](Frame frame, const std::vector<std::pair<uint16_t, uint16_t>>& tags) {
    for (auto tag = tags.rbegin(); tag != tags.rend(); ++tag) {
      frame.insert(frame.begin() + 12,
                   {static_cast<uint8_t>(tag->first >> 8), static_cast<uint8_t>(tag->first),
                    static_cast<uint8_t>(tag->second >> 8), static_cast<uint8_t>(tag->second)});
    }
    return frame;
  };
  const Frame host = from_host("10.1.0.5", "10.2.0.7", "there");
  const Frame wire = on_wire(mode_key(17, 0, Mode::kTunnel), udp_packet("10.2.0.7", "10.1.0.5", "back"));
  using Tags = std::vector<std::pair<uint16_t, uint16_t>>;
  for (const Tags& tags : {Tags{{0x8100, 0}}, Tags{{0x8100, 0xe000}}, Tags{{0x88a8, 0x1000}},
                           Tags{{0x88a8, 0}, {0x8100, 0x7000}}, Tags{{0x8100, 0}, {0x8100, 0}}}) {
    gateway.secured.sent.clear();
    gateway.host_sends(tagged(host, tags));
    ASSERT_EQ(gateway.secured.sent.size(), 1u);
    EXPECT_EQ(words_of(opened(gateway.secured.sent[0], egress_key(5))), "there");
    const auto got = gateway.gets(tagged(wire, tags));
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0], ethernet(kHostMac, kUnsecuredMac, 0x0800, udp_packet("10.2.0.7", "10.1.0.5", "back")));
  }
  for (const Tags& tags : {Tags{{0x8100, 1}}, Tags{{0x88a8, 0xe123}}, Tags{{0x88a8, 0}, {0x8100, 4095}},
                           Tags{{0x88a8, 5}, {0x8100, 0}}, Tags{{0x8100, 0}, {0x8100, 0}, {0x8100, 0}}}) {
    const uint64_t before = gateway.dropped(Drop::kEgressVlan);
    gateway.secured.sent.clear();
    gateway.host_sends(tagged(host, tags));
    EXPECT_TRUE(gateway.secured.sent.empty());
    EXPECT_EQ(gateway.dropped(Drop::kEgressVlan), before + 1);
    EXPECT_EQ(gateway.drops(tagged(wire, tags), Drop::kIngressVlan), 1u);
  }
  // Neighbours are heard behind a priority tag too.
  gateway.unsecured.sent.clear();
  gateway.host_sends(tagged(arp(true, kHostMac, "10.1.0.5", "10.2.0.7"), {{0x8100, 0}}));
  EXPECT_EQ(gateway.unsecured.sent.size(), 1u);
  gateway.expect_conservation();
}

TEST(Vlan, ATagThatThePortTookOffCountsByItsVlan) {
  Receiver gateway;
  gateway.admit(kFour, 17);
  const Frame wire = on_wire(mode_key(17, 0, Mode::kTunnel), udp_packet("10.2.0.7", "10.1.0.5", "x"));
  gateway.secured.flags = RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
  gateway.secured.vlan = 0x6000;
  EXPECT_EQ(gateway.gets(wire).size(), 1u);
  gateway.secured.vlan = 0x6001;
  EXPECT_EQ(gateway.drops(wire, Drop::kIngressVlan), 1u);
}

TEST(Runts, OfEveryLengthEndCounted) {
  Receiver gateway;
  gateway.admit(kFour, 17);
  const Frame wire = on_wire(mode_key(17, 0, Mode::kTunnel), udp_packet("10.2.0.7", "10.1.0.5", "x"));
  const Frame host = from_host("10.1.0.5", "10.2.0.7", "x");
  Frame tagged = wire;
  tagged.insert(tagged.begin() + 12, {0x81, 0, 0, 0});
  for (const Frame& whole : {wire, tagged}) {
    for (size_t length = 1; length < whole.size(); ++length) {
      EXPECT_TRUE(gateway.gets(Frame(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(length))).empty());
    }
  }
  for (size_t length = 1; length < host.size(); ++length) {
    gateway.host_sends(Frame(host.begin(), host.begin() + static_cast<ptrdiff_t>(length)));
  }
  EXPECT_EQ(gateway.dropped(Drop::kEgressTruncated) + gateway.dropped(Drop::kEgressMalformed),
            host.size() - 1);
  EXPECT_EQ(gateway.value(Value::kRxPackets), 0u);
  gateway.expect_conservation();
}

EngineConfig with_bypass(std::vector<BypassRule> rules) {
  EngineConfig config = config_of(Mode::kTunnel);
  config.bypass = std::move(rules);
  return config;
}

TEST(BypassFromTheWire, IsTheWayBackOfARuleAndNothingElse) {
  Receiver gateway(with_bypass({{prefix("192.168.9.0/24"), kProtocolUdp, 53},
                                {prefix("192.168.8.0/24"), kProtocolIcmp, 0},
                                {prefix("0.0.0.0/0"), kProtocolUdp, 123}}));
  const auto from = [](const std::string& source, uint16_t port, const std::string& to = "10.1.0.5") {
    return ip_packet(address(source), address(to), kProtocolUdp, udp(port, 40000, text("x")), 3, 1);
  };
  const Frame answer = from("192.168.9.1", 53);
  const auto got = gateway.gets(from_wire(answer));
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0], ethernet(kHostMac, kUnsecuredMac, 0x0800, answer));
  EXPECT_EQ(gateway.counters.bypass[0].ingress_packets.value(), 1u);

  EXPECT_EQ(gateway.drops(from_wire(from("192.168.9.1", 54)), Drop::kIngressNotPsp), 1u);
  EXPECT_EQ(gateway.drops(from_wire(from("192.168.7.1", 53)), Drop::kIngressNotPsp), 1u);
  EXPECT_EQ(gateway.drops(from_wire(from("192.168.9.1", 53, "10.9.0.5")), Drop::kIngressNotForUs), 1u);
  EXPECT_EQ(gateway.drops(from_wire(from("192.168.9.1", 53, "192.0.2.1")), Drop::kIngressNotPsp), 1u);
  // Nobody out there has an address of ours.
  EXPECT_EQ(gateway.drops(from_wire(from("10.1.0.6", 123)), Drop::kIngressNotPsp), 1u);
  EXPECT_EQ(gateway.drops(from_wire(from("169.254.1.1", 123)), Drop::kIngressNotPsp), 1u);
  EXPECT_EQ(gateway.gets(from_wire(from("172.16.0.1", 123))).size(), 1u);
  // What claims to be PSP is judged as PSP.
  const Frame psp = ip_packet(address("192.168.9.1"), address("10.1.0.5"), 17, udp(53, 1000, Frame(60, 1)));
  EXPECT_TRUE(gateway.gets(from_wire(psp)).empty());
  // ICMP by a rule of its own.
  const Frame pong = icmp_packet("192.168.8.1", "10.1.0.5", {0, 0, 0, 0, 0, 1, 0, 1});
  EXPECT_EQ(gateway.gets(from_wire(pong)).size(), 1u);
  EXPECT_EQ(gateway.drops(from_wire(icmp_packet("192.168.9.1", "10.1.0.5", {0, 0, 0, 0, 0, 1, 0, 1})),
                          Drop::kIngressIcmp),
            1u);
  EXPECT_EQ(gateway.counters.bypass[0].ingress_packets.value(), 1u);
  EXPECT_EQ(gateway.counters.bypass[1].ingress_packets.value(), 1u);
  EXPECT_EQ(gateway.counters.bypass[2].ingress_packets.value(), 1u);
  gateway.expect_conservation();
}

TEST(BypassFromTheWire, JudgesFragmentsTogetherAndFragmentsThemAgain) {
  Receiver gateway(with_bypass({{prefix("192.168.9.0/24"), kProtocolUdp, 53}}));
  Frame answer = ipv4_marked(
      ip_packet(address("192.168.9.1"), address("10.1.0.5"), kProtocolUdp, udp(53, 40000, Frame(2500, 9))),
      99, 0);
  std::vector<Frame> got;
  for (const Frame& fragment : in_fragments(from_wire(answer), 1480, 99)) {
    for (const Frame& frame : gateway.gets(fragment)) got.push_back(frame);
  }
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(ip_of(joined(got)), answer);
  EXPECT_EQ(gateway.counters.bypass[0].ingress_packets.value(), 1u);
  // The first one alone would fit the rule, the whole has another port.
  put16(answer, 20, 54);
  for (const Frame& fragment : in_fragments(from_wire(answer), 1480, 100)) {
    EXPECT_TRUE(gateway.gets(fragment).empty());
  }
  EXPECT_EQ(gateway.dropped(Drop::kIngressNotPsp), 1u);
  gateway.expect_conservation();
}

TEST(BypassFromTheWire, HasItsPartialChecksumCompleted) {
  Receiver gateway(with_bypass({{prefix("192.168.9.0/24"), kProtocolUdp, 53}}));
  Frame answer =
      ip_packet(address("192.168.9.1"), address("10.1.0.5"), kProtocolUdp, udp(53, 40000, text("x")));
  IpPacket ip;
  ASSERT_EQ(read_ip(answer.data(), answer.size(), &ip), IpFault::kNone);
  put16(answer, 26, static_cast<uint16_t>(~checksum_fold(pseudo_header_sum(ip, 9))));
  const auto got = gateway.gets(from_wire(answer));
  ASSERT_EQ(got.size(), 1u);
  EXPECT_NE(get16(got[0], 14 + 26), 0);
  EXPECT_TRUE(udp_checksum_ok(ip, ip_of(got[0]).data()));
  EXPECT_EQ(gateway.value(Value::kChecksumsCompleted), 1u);
}

TEST(BypassFromTheWire, IsAbsentWithoutRules) {
  Receiver gateway(config_of(Mode::kTunnel));
  EXPECT_EQ(gateway.drops(from_wire(udp_packet("192.168.9.1", "10.1.0.5", "x")), Drop::kIngressNotForUs), 1u);
}

}  // namespace
}  // namespace psp
