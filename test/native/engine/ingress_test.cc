// SPDX-License-Identifier: Apache-2.0
// Wire to host: what opens, what the ACL admits, how long an SPI lives, and what a rotation ends.
#include "gateway.h"

namespace psp {
namespace {

const FlowKey kInbound = flow("10.2.0.7", "10.1.0.5");

Frame inner(const std::string& words, const std::string& source = "10.2.0.7",
            const std::string& destination = "10.1.0.5") {
  return udp_packet(source, destination, words);
}

// A gateway that knows its host 10.1.0.5.
struct Receiver : Gateway {
  explicit Receiver(EngineConfig config = gateway_config()) : Gateway(std::move(config)) {
    know_host("10.1.0.5");
  }
  // Sends one packet under the SPI; whether it came through.
  bool passes(uint32_t spi, const FlowKey& inbound = kInbound, uint8_t version = 0) {
    const uint64_t before = value(Value::kForwardedIngress);
    wire_sends(sealed(key_of(spi, version), ip_packet(inbound.source, inbound.destination, kProtocolUdp,
                                                      udp(1, 2, text("probe")))));
    return value(Value::kForwardedIngress) == before + 1;
  }
  bool live(uint32_t spi) { return main->receive_spis.find(spi, 0) != 0; }
};

TEST(Ingress, DeliversWhatWasOfferedToItsHostInBothVersions) {
  for (const uint8_t version : {0, 1}) {
    Receiver gateway;
    ASSERT_TRUE(gateway.admit(kInbound, 17, version));
    const Frame packet = inner("hello");
    gateway.wire_sends(sealed(key_of(17, version), packet));
    ASSERT_EQ(gateway.unsecured.sent.size(), 1u);
    EXPECT_EQ(gateway.unsecured.sent[0], ethernet(kHostMac, kUnsecuredMac, 0x0800, packet));
    const auto seen = gateway.seen();
    ASSERT_EQ(seen.size(), 1u);
    EXPECT_EQ(seen[0].inbound, kInbound);
    EXPECT_EQ(seen[0].spi, 17u);
    gateway.wire_sends(sealed(key_of(17, version), packet, 2));
    EXPECT_EQ(gateway.unsecured.sent.size(), 2u);
    EXPECT_TRUE(gateway.seen().empty());
    EXPECT_EQ(gateway.value(Value::kKeyCacheMisses), 1u);
    gateway.expect_conservation();
  }
}

TEST(Ingress, ReportsAnSpiAgainWhenTheRingWasFull) {
  Gateway gateway(gateway_config(), 1500, 1600, 1);
  gateway.know_host("10.1.0.5");
  gateway.admit(kInbound, 17);
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.9", "fills the ring"));
  gateway.wire_sends(sealed(key_of(17, 0), inner("x")));
  EXPECT_TRUE(gateway.seen().empty());
  gateway.wire_sends(sealed(key_of(17, 0), inner("x"), 2));
  EXPECT_EQ(gateway.seen().size(), 1u);
  EXPECT_EQ(gateway.value(Value::kEventsDelayed), 1u);
  EXPECT_EQ(gateway.value(Value::kEventsLost), 0u);
}

TEST(Ingress, AnSpiThatEndsBeforeItCouldBeReportedIsAnEventLost) {
  Gateway gateway(gateway_config(), 1500, 1600, 1);
  gateway.know_host("10.1.0.5");
  gateway.admit(kInbound, 17);
  gateway.admit(kInbound, 18);
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.9", "fills the ring"));
  for (uint64_t iv = 1; iv < 5; ++iv) gateway.wire_sends(sealed(key_of(17, 0), inner("x"), iv));
  EXPECT_EQ(gateway.value(Value::kEventsLost), 0u);
  gateway.obey(RemoveCommand{{kInbound.reversed()}});
  EXPECT_EQ(gateway.value(Value::kEventsLost), 1u);
}

TEST(Ingress, TheAclAdmitsExactlyTheFlowThatTheSpiWasMadeFor) {
  Receiver gateway;
  gateway.know_host("10.1.0.6");
  gateway.admit(kInbound, 17);
  gateway.admit(flow("10.2.0.8", "10.1.0.6"), 18);
  EXPECT_TRUE(gateway.passes(17));
  EXPECT_FALSE(gateway.passes(17, flow("10.2.0.8", "10.1.0.5")));
  EXPECT_FALSE(gateway.passes(17, flow("10.2.0.7", "10.1.0.6")));
  EXPECT_FALSE(gateway.passes(17, flow("10.2.0.8", "10.1.0.6")));
  EXPECT_EQ(gateway.dropped(Drop::kIngressAclMiss), 3u);
  EXPECT_FALSE(gateway.passes(17, kInbound, 1));
  EXPECT_EQ(gateway.dropped(Drop::kIngressUnknownSpi), 1u);
  EXPECT_TRUE(gateway.passes(18, flow("10.2.0.8", "10.1.0.6")));
  gateway.expect_conservation();
}

TEST(Ingress, TheCookieMustBeTheOneOffered) {
  Receiver gateway;
  gateway.admit(kInbound, 17, 0, 0xc00c1e);
  gateway.admit(kInbound, 18, 0, 0);
  const auto send = [&](uint32_t spi, uint64_t cookie) {
    EgressKey key = key_of(spi, 0);
    key.cookie = cookie;
    gateway.unsecured.sent.clear();
    gateway.wire_sends(sealed(key, inner("x")));
    return gateway.unsecured.sent.size() == 1;
  };
  EXPECT_TRUE(send(17, 0xc00c1e));
  EXPECT_FALSE(send(17, 0xbad));
  EXPECT_FALSE(send(17, 0));
  EXPECT_FALSE(send(18, 0xc00c1e));
  EXPECT_TRUE(send(18, 0));
  EXPECT_EQ(gateway.dropped(Drop::kIngressAclMiss), 3u);
}

TEST(Ingress, AForgedPacketIsCountedAndPushesNoKeyOut) {
  Receiver gateway;
  gateway.admit(kInbound, 17);
  EgressKey wrong = key_of(17, 0);
  wrong.key[0] ^= 1;
  gateway.wire_sends(sealed(wrong, inner("x")));
  gateway.wire_sends(sealed(wrong, inner("x")));
  EXPECT_EQ(gateway.dropped(Drop::kIngressIcvFailure), 2u);
  // Neither forgery put a key into the cache.
  EXPECT_EQ(gateway.value(Value::kKeyCacheMisses), 2u);
  EXPECT_TRUE(gateway.passes(17));
  EXPECT_EQ(gateway.value(Value::kKeyCacheMisses), 3u);
  gateway.wire_sends(sealed(wrong, inner("x")));
  EXPECT_TRUE(gateway.passes(17));
  EXPECT_EQ(gateway.value(Value::kKeyCacheMisses), 3u);
  EXPECT_EQ(gateway.counters.pipes[static_cast<size_t>(Pipe::kSyndromeStats)].hit.value(), 3u);
  gateway.expect_conservation();
}

// As on the way out: the keys of the first and the last SPI share a place.
TEST(Ingress, SpisWhoseKeysShareASlotAreEachOpenedUnderTheirOwnInOneBurst) {
  constexpr uint32_t kLast = KeyCache::kFirstTier;
  Receiver gateway;
  const auto nth = [](uint32_t n) {
    return "10.2." + std::to_string(n >> 8) + "." + std::to_string(n & 255);
  };
  for (uint32_t n = 0; n <= kLast; ++n) ASSERT_TRUE(gateway.admit(flow(nth(n), "10.1.0.5"), 0x100 + n));
  for (int i = 0; i < 8; ++i) {
    const uint32_t n = i % 3 == 2 ? kLast : 0;
    gateway.secured.received.push_back(
        sealed(key_of(0x100 + n, 0), udp_packet(nth(n), "10.1.0.5", std::to_string(i))));
  }
  gateway.settle();
  ASSERT_EQ(gateway.unsecured.sent.size(), 8u);
  for (size_t i = 0; i < 8; ++i) {
    const Frame& frame = gateway.unsecured.sent[i];
    EXPECT_EQ(words_of(Frame(frame.begin() + 14, frame.end())), std::to_string(i));
  }
  gateway.expect_conservation();
}

TEST(Ingress, AnAuthenticPacketWithoutAnIpPacketInsideIsABadTrailer) {
  Receiver gateway;
  gateway.admit(kInbound, 17);
  Frame packet = inner("x");
  packet[0] = 0x15;
  gateway.wire_sends(sealed(key_of(17, 0), packet));
  EXPECT_EQ(gateway.dropped(Drop::kIngressBadTrailer), 1u);
}

TEST(Ingress, EveryWayOutOfDecryptHasItsReason) {
  Receiver gateway;
  gateway.admit(kInbound, 17);
  const EgressKey key = key_of(17, 0);
  const Frame good = sealed(key, inner("x"));
  constexpr size_t kUdp = 14 + 20, kPsp = kUdp + 8;
  const auto drops = [&](Frame frame, Drop reason) {
    const uint64_t before = gateway.dropped(reason);
    gateway.wire_sends(std::move(frame));
    EXPECT_EQ(gateway.dropped(reason), before + 1) << kDropReasons[static_cast<size_t>(reason)].name;
  };
  const auto fix_header = [](Frame& frame) {
    put16(frame, 24, 0);
    put16(frame, 24, checksum_fold(checksum_add(&frame[14], 20, 0)));
  };
  drops(sealed(key, inner("x"), 1, 255, "192.0.2.2", "192.0.2.9"), Drop::kIngressNotForUs);
  Frame fragment = good;
  put16(fragment, 20, 0x2000);
  fix_header(fragment);
  drops(fragment, Drop::kIngressFragmentMalformed);
  Frame other_port = good;
  put16(other_port, kUdp + 2, 1001);
  drops(other_port, Drop::kIngressNotPsp);
  drops(ethernet(kSecuredMac, kPeerMac, 0x0800,
                 ip_packet(address("192.0.2.2"), address("192.0.2.1"), 6, Frame(20))),
        Drop::kIngressNotPsp);
  drops(ethernet(kSecuredMac, kPeerMac, 0x88cc, Frame(60)), Drop::kIngressNotPsp);
  Frame long_udp = good;
  put16(long_udp, kUdp + 4, 2000);
  drops(long_udp, Drop::kIngressMalformed);
  Frame udp_checksum = good;
  put16(udp_checksum, kUdp + 6, 0x1234);
  drops(udp_checksum, Drop::kIngressUdpChecksum);
  drops(
      ethernet(kSecuredMac, kPeerMac, 0x0800,
               ip_packet(address("192.0.2.2"), address("192.0.2.1"), kProtocolUdp, udp(1, 1000, Frame(20)))),
      Drop::kIngressHeaderTruncated);
  Frame even = good;
  even[kPsp + 3] &= 0xfe;
  drops(even, Drop::kIngressHeaderMalformed);
  Frame offset = good;
  offset[kPsp + 2] = 0x3f;
  drops(offset, Drop::kIngressHeaderCryptOffset);
  drops(sealed(key, inner("x"), 1, 4), Drop::kIngressUnknownVersion);
  drops(sealed(key, inner("x"), 1, 9), Drop::kIngressUnknownVersion);
  drops(sealed(key_of(99, 0), inner("x")), Drop::kIngressUnknownSpi);
  drops(ethernet(kSecuredMac, kPeerMac, 0x8100, Frame{0, 7, 8, 0}), Drop::kIngressVlan);
  drops(ethernet(kHostMac, kPeerMac, 0x0800, udp_packet("192.0.2.2", "192.0.2.1", "x")),
        Drop::kIngressOtherHost);
  Frame cut = good;
  cut.resize(60);
  drops(cut, Drop::kIngressTruncated);
  EXPECT_TRUE(gateway.unsecured.sent.empty());
  gateway.expect_conservation();
}

TEST(Ingress, NoAesIsSpentOnUnknownSpis) {
  Receiver gateway;
  gateway.wire_sends(sealed(key_of(17, 0), inner("x")));
  EXPECT_EQ(gateway.dropped(Drop::kIngressUnknownSpi), 1u);
  EXPECT_EQ(gateway.value(Value::kKeyCacheMisses), 0u);
}

TEST(Ingress, OuterIpv4OptionsDoNotMatter) {
  Receiver gateway;
  gateway.admit(kInbound, 17);
  Frame frame = sealed(key_of(17, 0), inner("x"));
  frame.insert(frame.begin() + 34, {1, 1, 1, 0});
  frame[14] = 0x46;
  put16(frame, 16, get16(frame, 16) + 4u);
  put16(frame, 24, 0);
  put16(frame, 24, checksum_fold(checksum_add(&frame[14], 24, 0)));
  gateway.wire_sends(frame);
  EXPECT_EQ(gateway.unsecured.sent.size(), 1u);
}

TEST(Ingress, CongestionMarkedOnTheWayIsCarriedInward) {
  Receiver gateway;
  gateway.admit(kInbound, 17);
  const auto mark = [](Frame frame) {
    frame[15] |= 3;
    put16(frame, 24, 0);
    put16(frame, 24, checksum_fold(checksum_add(&frame[14], 20, 0)));
    return frame;
  };
  const Frame capable =
      ip_packet(kInbound.source, kInbound.destination, kProtocolUdp, udp(1, 2, text("x")), 2);
  const Frame marked =
      ip_packet(kInbound.source, kInbound.destination, kProtocolUdp, udp(1, 2, text("x")), 3);
  gateway.wire_sends(mark(sealed(key_of(17, 0), capable)));
  ASSERT_EQ(gateway.unsecured.sent.size(), 1u);
  EXPECT_EQ(gateway.unsecured.sent[0], ethernet(kHostMac, kUnsecuredMac, 0x0800, marked));
  gateway.wire_sends(mark(sealed(key_of(17, 0), inner("not capable"))));
  EXPECT_EQ(gateway.dropped(Drop::kIngressCongestion), 1u);

  const FlowKey six = flow("fd00:2::7", "fd00:1::5");
  gateway.know_host("fd00:1::5");
  gateway.admit(six, 18);
  gateway.wire_sends(mark(
      sealed(key_of(18, 0), ip_packet(six.source, six.destination, kProtocolUdp, udp(1, 2, text("x")), 1))));
  ASSERT_EQ(gateway.unsecured.sent.size(), 1u);
  EXPECT_EQ(gateway.unsecured.sent[0],
            ethernet(kHostMac, kUnsecuredMac, 0x86dd,
                     ip_packet(six.source, six.destination, kProtocolUdp, udp(1, 2, text("x")), 3)));
}

TEST(Ingress, PacketsThatExceedTheHostsMtuAndMustNotBeFragmentedAreCountedAsTooBig) {
  Gateway gateway(gateway_config(), 500, 1600);
  gateway.know_host("10.1.0.5");
  gateway.admit(kInbound, 17);
  const auto uncut = [](size_t length) {
    Frame packet = inner(std::string(length - 28, 'x'));
    packet[6] = 0x40;
    put16(packet, 10, 0);
    put16(packet, 10, checksum_fold(checksum_add(packet.data(), 20, 0)));
    return packet;
  };
  gateway.wire_sends(sealed(key_of(17, 0), uncut(500)));
  EXPECT_EQ(gateway.unsecured.sent.size(), 1u);
  gateway.wire_sends(sealed(key_of(17, 0), uncut(501)));
  EXPECT_EQ(gateway.dropped(Drop::kIngressTooBig), 1u);
}

TEST(Ingress, WhatAHostWouldBeSentOverALinkThatIsDownIsCounted) {
  Gateway gateway;
  gateway.know_host("10.1.0.5");
  gateway.admit(kInbound, 17);
  gateway.main->unsecured.tx.set_up(false);
  gateway.wire_sends(sealed(key_of(17, 0), inner("x")));
  EXPECT_EQ(gateway.dropped(Drop::kIngressPortDown), 1u);
  EXPECT_EQ(gateway.dropped(Drop::kEgressPortDown), 0u);
  gateway.expect_conservation();
}

TEST(Spis, AnOlderOneRetiresOnlyWhenNewerFirstAndItsOwnLastLieBack) {
  Receiver gateway;
  gateway.admit(kInbound, 1);
  EXPECT_TRUE(gateway.passes(1));
  gateway.turn(100000);
  gateway.admit(kInbound, 2);
  gateway.turn(100000);
  // Nothing came under the newer one: both live.
  EXPECT_TRUE(gateway.live(1));
  EXPECT_TRUE(gateway.passes(2));
  gateway.turn(999);
  EXPECT_TRUE(gateway.live(1));
  // A late packet under the old one keeps it for another second.
  EXPECT_TRUE(gateway.passes(1));
  gateway.turn(999);
  EXPECT_TRUE(gateway.live(1));
  gateway.turn(1);
  EXPECT_FALSE(gateway.live(1));
  EXPECT_FALSE(gateway.passes(1));
  EXPECT_TRUE(gateway.passes(2));
  EXPECT_EQ(gateway.value(Value::kReceiveSpis), 1u);
}

TEST(Spis, ALongIdleOneThatIsOvertakenLivesOnForASecond) {
  Receiver gateway;
  gateway.admit(kInbound, 1);
  EXPECT_TRUE(gateway.passes(1));
  gateway.turn(50000);
  gateway.admit(kInbound, 2);
  EXPECT_TRUE(gateway.passes(2));
  gateway.turn(500);
  EXPECT_TRUE(gateway.passes(1));
}

TEST(Spis, TheNewestNeverRetiresBySilence) {
  Receiver gateway;
  gateway.admit(kInbound, 1);
  gateway.admit(kInbound, 2);
  EXPECT_TRUE(gateway.passes(1));
  gateway.turn(100000);
  gateway.turn(1);
  EXPECT_TRUE(gateway.live(1));
  EXPECT_TRUE(gateway.live(2));
}

TEST(Spis, ANinthRetiresTheOldest) {
  Receiver gateway;
  for (uint32_t spi = 1; spi <= 8; ++spi) gateway.admit(kInbound, spi);
  EXPECT_TRUE(gateway.live(1));
  gateway.admit(kInbound, 9);
  EXPECT_FALSE(gateway.live(1));
  for (uint32_t spi = 2; spi <= 9; ++spi) EXPECT_TRUE(gateway.live(spi));
  EXPECT_EQ(gateway.value(Value::kReceiveSpis), 8u);
}

TEST(Spis, ANinthSparesTheNewestSeenWithinTheRetireTime) {
  Receiver gateway;
  for (uint32_t spi = 1; spi <= 8; ++spi) gateway.admit(kInbound, spi);
  EXPECT_TRUE(gateway.passes(1));
  gateway.turn(999);
  gateway.admit(kInbound, 9);
  EXPECT_TRUE(gateway.live(1));
  EXPECT_FALSE(gateway.live(2));
  // Once it has been silent, it is the oldest like any other.
  gateway.turn(1);
  gateway.admit(kInbound, 10);
  EXPECT_FALSE(gateway.live(1));
  // Two seen lately: only the newer of them is spared.
  EXPECT_TRUE(gateway.passes(3));
  EXPECT_TRUE(gateway.passes(4));
  gateway.admit(kInbound, 11);
  EXPECT_FALSE(gateway.live(3));
  EXPECT_TRUE(gateway.live(4));
}

TEST(Spis, AFullTableRetiresTheOldestThatNothingUsedOrAdmitsNone) {
  EngineConfig config = gateway_config();
  config.max_flows = 2;
  Receiver gateway(config);
  const auto inbound = [](int i) { return flow("10.2.0." + std::to_string(i), "10.1.0.5"); };
  for (uint32_t spi = 1; spi <= 4; ++spi) EXPECT_TRUE(gateway.admit(inbound(static_cast<int>(spi)), spi));
  EXPECT_TRUE(gateway.passes(1, inbound(1)));
  EXPECT_TRUE(gateway.admit(inbound(5), 5));
  EXPECT_TRUE(gateway.live(1));
  EXPECT_FALSE(gateway.live(2));
  EXPECT_TRUE(gateway.live(5));
  EXPECT_EQ(gateway.value(Value::kSpisEvicted), 1u);

  std::vector<FlowKey> flows;
  for (int spi = 10; spi < 14; ++spi) flows.push_back(inbound(spi));
  EXPECT_FALSE(gateway.admits(offer_of(flows, 10)));
  EXPECT_FALSE(gateway.live(10));
  EXPECT_TRUE(gateway.live(3));
  EXPECT_EQ(gateway.value(Value::kReceiveSpis), 4u);
}

TEST(Spis, APeerThatTakesManyLosesItsOwnAndNotThoseOfOthers) {
  EngineConfig config = gateway_config();
  config.max_flows = 4;  // 8 SPIs, 2 for each peer at least
  config.peers.push_back({.vips = {prefix("10.3.0.0/16")}});
  Receiver gateway(config);
  const auto admit = [&](const FlowKey& inbound, uint32_t spi, uint16_t peer) {
    return gateway.admit(inbound, spi, 0, 0, Mode::kTunnel, peer);
  };
  EXPECT_TRUE(admit(flow("10.3.0.1", "10.1.0.5"), 1, 1));
  for (uint32_t i = 10; i < 30; ++i) {
    EXPECT_TRUE(admit(flow("10.2.0." + std::to_string(i), "10.1.0.5"), i, 0));
  }
  EXPECT_TRUE(gateway.live(1));
  EXPECT_TRUE(gateway.live(29));
  EXPECT_FALSE(gateway.live(10));
  EXPECT_TRUE(admit(flow("10.3.0.2", "10.1.0.5"), 2, 1));
  EXPECT_TRUE(gateway.live(1));
}

TEST(Spis, WithdrawingAndRemovingEndThem) {
  Receiver gateway;
  gateway.admit(kInbound, 1);
  gateway.admit(kInbound, 2);
  gateway.obey(WithdrawCommand{{{flow("10.2.0.8", "10.1.0.5"), 1}}});
  EXPECT_TRUE(gateway.live(1));
  gateway.obey(WithdrawCommand{{{kInbound, 1}}});
  EXPECT_FALSE(gateway.live(1));
  EXPECT_TRUE(gateway.live(2));
  gateway.obey(RemoveCommand{{kInbound.reversed()}});
  EXPECT_FALSE(gateway.live(2));
  EXPECT_EQ(gateway.value(Value::kInboundFlows), 0u);
}

TEST(Spis, RotationEndsTheSlotItFillsAndLeavesTheOther) {
  static constexpr uint8_t kSecond[32] = {9, 9}, kThird[32] = {8, 8};
  constexpr uint32_t kOtherSlot = 0x80000011;
  Receiver gateway;
  gateway.admit(kInbound, 0x11);
  EXPECT_TRUE(gateway.passes(0x11));

  gateway.rotate(1, kSecond);
  EXPECT_EQ(gateway.master_keys.next, nullptr);
  gateway.admit(kInbound, kOtherSlot);
  EXPECT_TRUE(gateway.passes(0x11));
  gateway.unsecured.sent.clear();
  gateway.wire_sends(sealed(key_of(kOtherSlot, 0, kSecond), inner("x")));
  EXPECT_EQ(gateway.unsecured.sent.size(), 1u);

  const uint64_t tag = SpiRecords::key_tag(0x11, 0);
  const uint32_t number = gateway.main->receive_spis.find(0x11, 0);
  EXPECT_NE(gateway.main->ingress_keys.find(gateway.main->ingress_keys.slot_for(number, 0), tag), nullptr);
  gateway.rotate(0, kThird);
  EXPECT_NE(gateway.master_keys.next, nullptr);
  EXPECT_EQ(gateway.main->receive_spis.find(0x11, 0), 0u);
  EXPECT_FALSE(gateway.passes(0x11));
  EXPECT_EQ(gateway.dropped(Drop::kIngressUnknownSpi), 1u);
  gateway.turn(1);
  EXPECT_EQ(gateway.main->ingress_keys.find(gateway.main->ingress_keys.slot_for(number, 0), tag), nullptr);
  EXPECT_EQ(gateway.value(Value::kReceiveSpis), 1u);
  // The same number under the new master key is another SPI, whose key is not the cached one.
  gateway.admit(kInbound, 0x11);
  EXPECT_FALSE(gateway.passes(0x11));
  EXPECT_EQ(gateway.dropped(Drop::kIngressIcvFailure), 1u);
  gateway.unsecured.sent.clear();
  gateway.wire_sends(sealed(key_of(0x11, 0, kThird), inner("x")));
  EXPECT_EQ(gateway.unsecured.sent.size(), 1u);
}

TEST(Flows, PagesCoverBothDirectionsOnce) {
  Receiver gateway;
  for (int i = 0; i < 5; ++i) gateway.install(flow("10.1.0.5", "10.2.0." + std::to_string(i)), egress_key(5));
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.99", "held"));
  gateway.admit(kInbound, 17);
  gateway.admit(kInbound, 18);
  gateway.passes(17);
  std::vector<FlowRow> rows;
  uint64_t cursor = 0;
  do {
    FlowsCommand page;
    page.cursor = cursor;
    page.rows.resize(2);
    page = gateway.obey(std::move(page));
    rows.insert(rows.end(), page.rows.begin(), page.rows.begin() + page.count);
    cursor = page.next_cursor;
  } while (cursor != 0);
  ASSERT_EQ(rows.size(), 7u);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(rows[i].state, FlowRow::State::kKeyed);
  EXPECT_EQ(rows[5].state, FlowRow::State::kWanted);
  EXPECT_EQ(rows[5].held, 1u);
  EXPECT_EQ(rows[6].state, FlowRow::State::kSeen);
  EXPECT_EQ(rows[6].flow, kInbound);
  EXPECT_EQ(rows[6].live_spis, 2);
  EXPECT_EQ(rows[6].spi, 18u);
  EXPECT_EQ(rows[6].packets, 1u);
}

}  // namespace
}  // namespace psp
