// SPDX-License-Identifier: Apache-2.0
// What does not fit the path: cut, or told to its sender with the right number; and what is known of paths.
#include "engine/ip/oversize.h"
#include "engine/software/pipes/egress/path.h"
#include "sealed_frames.h"

namespace psp {
namespace {

const FlowKey kFlow = flow("10.1.0.5", "10.2.0.7");
const FlowKey kFlow6 = flow("fd00:1::5", "fd00:2::7");

// What sealing adds to packets without a cookie.
constexpr size_t kTunnelIpv4 = 60, kTunnelIpv6 = 80, kTransport = 40;

// A gateway whose hosts and next hop are known and whose flows of both families have a key.
struct Wired : Gateway {
  Wired(Mode mode, uint16_t secured_mtu, EngineConfig engine_config = gateway_config())
      : Gateway(std::move(engine_config), 1500, secured_mtu), key(egress_key(5)) {
    key.mode = mode;
    key.mac = kPeerMac;
    if (!is_ipv4(config.secured_address.address)) key.outer_destination = address("fd00:9::2");
    know_host("10.1.0.5");
    know_host("fd00:1::5");
    install(kFlow, key);
    install(kFlow6, key);
    turn();
    secured.sent.clear();
  }
  // What leaves on the wire when the host sends this.
  std::vector<Frame> sends(const Frame& packet) {
    secured.sent.clear();
    unsecured.sent.clear();
    host_sends(from_host(packet));
    expect_conservation();
    return {secured.sent.begin(), secured.sent.end()};
  }
  // The MTU that the host was told; 0: it was told nothing.
  uint32_t told() {
    if (unsecured.sent.empty()) return 0;
    EXPECT_EQ(unsecured.sent.size(), 1u);
    const Frame& frame = unsecured.sent[0];
    EXPECT_EQ(std::memcmp(frame.data(), kHostMac.data(), 6), 0);
    return frame[14] >> 4 == 4 ? get16(frame, 14 + 26) : load_u32(&frame[14 + 44]);
  }
  Frame opened_of(const Frame& frame) { return unseal(frame, key).inner; }
  EgressKey key;
};

EngineConfig over_ipv6() {
  EngineConfig config = gateway_config();
  config.secured_address = prefix("fd00:9::1/64");
  return config;
}

TEST(Oversize, FollowsItsTable) {
  const auto sealed = [](uint32_t length, bool ipv6, bool df, bool reassembled, Mode mode) {
    return oversize_sealed({length, ipv6, df, reassembled, false}, 1400, mode);
  };
  for (const Mode mode : {Mode::kTunnel, Mode::kTransport}) {
    for (const bool ipv6 : {false, true}) {
      for (const bool df : {false, true})
        EXPECT_EQ(sealed(1400, ipv6, df, false, mode).action, OversizeAction::kFits);
    }
    EXPECT_EQ(sealed(1401, false, true, false, mode).action, OversizeAction::kDrop);
    EXPECT_EQ(sealed(1401, false, true, false, mode).error_mtu, 1400);
    EXPECT_EQ(sealed(1401, true, false, false, mode).action, OversizeAction::kDrop);
    EXPECT_EQ(sealed(1401, true, false, false, mode).error_mtu, 1400);
    EXPECT_EQ(sealed(1401, false, true, true, mode).action, OversizeAction::kSealThenFragment);
    EXPECT_EQ(sealed(1401, true, false, true, mode).action, OversizeAction::kSealThenFragment);
    // IPv6 needs 1280.
    EXPECT_EQ(oversize_sealed({1280, true, false, false, false}, 1220, mode).action,
              OversizeAction::kSealThenFragment);
    EXPECT_EQ(oversize_sealed({1281, true, false, false, false}, 1220, mode).action, OversizeAction::kDrop);
    EXPECT_EQ(oversize_sealed({1281, true, false, false, false}, 1220, mode).error_mtu, 1280);
    EXPECT_EQ(oversize_sealed({1401, false, false, false, true}, 1400, mode).action, OversizeAction::kDrop);
    EXPECT_EQ(oversize_sealed({1401, false, false, false, true}, 1400, mode).error_mtu, 0);
  }
  EXPECT_EQ(sealed(1401, false, false, false, Mode::kTunnel).action, OversizeAction::kFragment);
  EXPECT_EQ(sealed(1401, false, false, false, Mode::kTransport).action, OversizeAction::kSealThenFragment);

  EXPECT_EQ(oversize_clear({1400, false, false, false, false}, 1400).action, OversizeAction::kFits);
  EXPECT_EQ(oversize_clear({1401, false, false, false, false}, 1400).action, OversizeAction::kFragment);
  EXPECT_EQ(oversize_clear({1401, false, true, false, false}, 1400).action, OversizeAction::kDrop);
  EXPECT_EQ(oversize_clear({1401, true, false, false, false}, 1400).error_mtu, 1400);
  EXPECT_EQ(oversize_clear({1401, false, false, false, true}, 1400).error_mtu, 0);
}

TEST(Mtu, OfAPacketWithDfOrOfIpv6IsReportedToItsSender) {
  struct Case {
    Mode mode;
    bool outer_ipv6;
    size_t overhead4, overhead6;
  };
  for (const Case& c : {Case{Mode::kTunnel, false, kTunnelIpv4, kTunnelIpv4},
                        Case{Mode::kTunnel, true, kTunnelIpv6, kTunnelIpv6},
                        Case{Mode::kTransport, false, kTransport, kTransport}}) {
    Wired gateway(c.mode, 1500, c.outer_ipv6 ? over_ipv6() : gateway_config());
    const size_t room4 = 1500 - c.overhead4, room6 = 1500 - c.overhead6;
    EXPECT_EQ(gateway.sends(with_df(long_packet("10.1.0.5", "10.2.0.7", room4))).size(), 1u);
    EXPECT_EQ(gateway.secured.sent[0].size(), 14u + 1500u);
    EXPECT_EQ(gateway.told(), 0u);
    EXPECT_TRUE(gateway.sends(with_df(long_packet("10.1.0.5", "10.2.0.7", room4 + 1))).empty());
    EXPECT_EQ(gateway.told(), room4);
    EXPECT_EQ(gateway.sends(long_packet("fd00:1::5", "fd00:2::7", room6)).size(), 1u);
    EXPECT_TRUE(gateway.sends(long_packet("fd00:1::5", "fd00:2::7", room6 + 1)).empty());
    EXPECT_EQ(gateway.told(), room6);
    EXPECT_EQ(gateway.dropped(Drop::kEgressTooBig), 2u);
    EXPECT_EQ(gateway.value(Value::kIcmpSent), 2u);
    EXPECT_EQ(gateway.value(Value::kIcmpSuppressed), 0u);
    // A cookie takes 8 more.
    gateway.key.cookie = 1;
    gateway.install(kFlow, gateway.key);
    EXPECT_TRUE(gateway.sends(with_df(long_packet("10.1.0.5", "10.2.0.7", room4))).empty());
    EXPECT_EQ(gateway.told(), room4 - 8);
  }
}

TEST(Mtu, IsReportedFromTheGatewaysAddressOrOneThatNeedsNone) {
  Wired gateway(Mode::kTunnel, 1500);
  gateway.sends(with_df(long_packet("10.1.0.5", "10.2.0.7", 1500)));
  ASSERT_EQ(gateway.unsecured.sent.size(), 1u);
  EXPECT_EQ(mapped(&gateway.unsecured.sent[0][14 + 12]), address("10.1.0.1"));
  gateway.sends(long_packet("fd00:1::5", "fd00:2::7", 1500));
  EXPECT_EQ(std::memcmp(&gateway.unsecured.sent.at(0)[14 + 8], address("fd00:1::1").data(), 16), 0);

  EngineConfig config = gateway_config();
  config.gateways = {};
  Gateway bare(config, 1500, 1500);
  EgressKey key = egress_key(5);
  bare.install(kFlow, key);
  bare.install(kFlow6, key);
  bare.unsecured.sent.clear();
  bare.host_sends(from_host(with_df(long_packet("10.1.0.5", "10.2.0.7", 1500))));
  bare.host_sends(arp(false, kHostMac, "10.1.0.5", "0.0.0.0"));
  ASSERT_EQ(bare.unsecured.sent.size(), 2u);  // the gateway asks for the host first
  EXPECT_EQ(mapped(&bare.unsecured.sent[1][14 + 12]), address("192.0.0.8"));
  bare.unsecured.sent.clear();
  bare.host_sends(from_host(long_packet("fd00:1::5", "fd00:2::7", 1500)));
  bare.host_sends(
      neighbour_message(136, kHostMac, kUnsecuredMac, "fd00:1::5", "fe80::ff:fe00:101", "fd00:1::5"));
  ASSERT_EQ(bare.unsecured.sent.size(), 2u);
  EXPECT_EQ(std::memcmp(&bare.unsecured.sent[1][14 + 8], link_local(kUnsecuredMac).data(), 16), 0);
}

TEST(Mtu, OfAnIpv4PacketWithoutDfFragmentsItBeforeItIsSealedInTunnelMode) {
  for (const bool outer_ipv6 : {false, true}) {
    Wired gateway(Mode::kTunnel, 1500, outer_ipv6 ? over_ipv6() : gateway_config());
    const Frame packet = ipv4_marked(long_packet("10.1.0.5", "10.2.0.7", 1500), 4711, 0);
    const auto frames = gateway.sends(packet);
    ASSERT_EQ(frames.size(), 2u);
    std::vector<Frame> pieces;
    for (const Frame& frame : frames) {
      EXPECT_LE(frame.size(), 14u + 1500u);
      const Unsealed unsealed = unseal(frame, gateway.key);
      EXPECT_FALSE(unsealed.outer.fragment);
      if (!outer_ipv6) {
        EXPECT_EQ(get16(unsealed.outer_octets, 6), 0x4000);  // the outer one must not be cut
      }
      ASSERT_TRUE(unsealed.opened);
      pieces.push_back(from_host(unsealed.inner));
    }
    EXPECT_NE(unseal(frames[0], gateway.key).header.iv, unseal(frames[1], gateway.key).header.iv);
    EXPECT_EQ(unseal(frames[0], gateway.key).udp_source, unseal(frames[1], gateway.key).udp_source);
    EXPECT_EQ(joined(pieces), from_host(packet));
    EXPECT_EQ(gateway.told(), 0u);
    EXPECT_EQ(gateway.value(Value::kPacketsFragmented), 1u);
    EXPECT_EQ(gateway.value(Value::kFragmentsMade), 2u);
  }
}

// Fragments and packets that fit share a batch, and fill it in every order that a burst can have.
TEST(Mtu, ABurstOfPacketsThatFitAndPacketsThatAreFragmentedLeavesWholeAndInOrder) {
  Wired gateway(Mode::kTunnel, 1500);
  const Frame cut = long_packet("10.1.0.5", "10.2.0.7", 1500);
  const Frame fits = udp_packet("10.1.0.5", "10.2.0.7", "fits");
  uint16_t number = 0;
  std::vector<uint16_t> expected;
  const auto queue = [&](const Frame& packet, uint32_t count, uint32_t frames) {
    for (uint32_t i = 0; i < count; ++i) {
      gateway.unsecured.received.push_back(from_host(ipv4_marked(packet, ++number, 0)));
      expected.insert(expected.end(), frames, number);
    }
  };
  for (uint32_t first = 0; first <= 3; ++first) {
    for (uint32_t fitting = 0; first + fitting < kBurst; ++fitting) {
      expected.clear();
      gateway.secured.sent.clear();
      queue(cut, first, 2);
      queue(fits, fitting, 1);
      queue(cut, 1, 2);
      queue(fits, kBurst - first - fitting, 1);
      gateway.settle();
      std::vector<uint16_t> left;
      for (const Frame& frame : gateway.secured.sent) {
        const Frame inner = gateway.opened_of(frame);
        ASSERT_GE(inner.size(), 20u) << first << " cut, then " << fitting;
        left.push_back(get16(inner, 4));
      }
      ASSERT_EQ(left, expected) << first << " cut, then " << fitting;
    }
  }
  gateway.expect_conservation();
}

TEST(Mtu, APartialChecksumIsCompletedBeforeFragmentation) {
  Wired gateway(Mode::kTunnel, 1500);
  Frame packet = ipv4_marked(long_packet("10.1.0.5", "10.2.0.7", 1500), 4711, 0);
  IpPacket ip;
  ASSERT_EQ(read_ip(packet.data(), packet.size(), &ip), IpFault::kNone);
  put16(packet, 26, static_cast<uint16_t>(~checksum_fold(pseudo_header_sum(ip, 1480))));
  std::vector<Frame> pieces;
  for (const Frame& frame : gateway.sends(packet)) pieces.push_back(from_host(gateway.opened_of(frame)));
  ASSERT_EQ(pieces.size(), 2u);
  const Frame whole = joined(pieces);
  EXPECT_EQ(checksum_fold(checksum_add(&whole[14 + 20], 1480, pseudo_header_sum(ip, 1480))), 0);
}

TEST(Mtu, AnIpv6PacketOf1280OctetsAlwaysPassesThoughTheOuterOneIsFragmented) {
  struct Case {
    Mode mode;
    bool outer_ipv6;
    uint16_t mtu;
  };
  for (const Case& c : {Case{Mode::kTunnel, false, 1300}, Case{Mode::kTunnel, false, 576},
                        Case{Mode::kTunnel, true, 1280}, Case{Mode::kTransport, false, 1280}}) {
    Wired gateway(c.mode, c.mtu, c.outer_ipv6 ? over_ipv6() : gateway_config());
    const Frame packet = long_packet("fd00:1::5", "fd00:2::7", 1280);
    const auto frames = gateway.sends(packet);
    ASSERT_GE(frames.size(), 2u);
    for (const Frame& frame : frames) {
      EXPECT_LE(frame.size(), 14u + c.mtu);
      EXPECT_EQ(std::memcmp(frame.data(), kPeerMac.data(), 6), 0);
      EXPECT_EQ(std::memcmp(frame.data() + 6, kSecuredMac.data(), 6), 0);
    }
    EXPECT_EQ(gateway.opened_of(joined(frames)), packet);
    EXPECT_NE(piece_of(frames[0]).identification, piece_of(gateway.sends(packet)[0]).identification);
    EXPECT_EQ(gateway.told(), 0u);
    // One octet more is told 1280, which is more than fits in one piece.
    EXPECT_TRUE(gateway.sends(long_packet("fd00:1::5", "fd00:2::7", 1281)).empty());
    EXPECT_EQ(gateway.told(), 1280u);
  }
}

TEST(Mtu, InTransportModeIpv4WithoutDfIsSealedWholeAndThenFragmented) {
  Wired gateway(Mode::kTransport, 1500);
  const Frame packet = ipv4_marked(long_packet("10.1.0.5", "10.2.0.7", 1500), 4711, 0);
  const auto frames = gateway.sends(packet);
  ASSERT_EQ(frames.size(), 2u);
  for (const Frame& frame : frames) EXPECT_LE(frame.size(), 14u + 1500u);
  EXPECT_EQ(piece_of(frames[1]).identification, 4711u);
  EXPECT_EQ(gateway.opened_of(joined(frames)), packet);
  // Hop-by-hop options stay in front of the fragment header.
  Wired narrow(Mode::kTransport, 1280);
  const Frame hops =
      with_extensions(long_packet("fd00:1::5", "fd00:2::7", 1272), 0, {17, 0, 1, 4, 0, 0, 0, 0});
  const auto cut = narrow.sends(hops);
  ASSERT_EQ(cut.size(), 2u);
  for (const Frame& frame : cut) EXPECT_EQ(frame[14 + 6], 0);
  EXPECT_EQ(narrow.opened_of(joined(cut)), hops);
}

TEST(Mtu, IsNotReportedForErrorsLaterFragmentsOrGsoPackets) {
  Wired gateway(Mode::kTunnel, 1500);
  Frame error = ip_packet(kFlow.source, kFlow.destination, 1, Frame(1460));
  error[20] = 3;
  Frame error6 = ip_packet(kFlow6.source, kFlow6.destination, 58, Frame(1450));
  error6[40] = 1;
  const std::vector<Frame> quiet = {
      with_df(error),
      error6,
      ipv4_marked(ip_packet(kFlow.source, kFlow.destination, 17, Frame(1480)), 7, 0x4000 | 100),
      with_extensions(ip_packet(kFlow6.source, kFlow6.destination, 17, Frame(1448)), 44,
                      {17, 0, 0, 80, 0, 0, 0, 1}),
      with_df(long_packet("10.1.0.5", "10.2.0.7", 1501)),
      long_packet("fd00:1::5", "fd00:2::7", 1501),
  };
  for (const Frame& packet : quiet) {
    EXPECT_TRUE(gateway.sends(packet).empty());
    EXPECT_EQ(gateway.told(), 0u);
  }
  EXPECT_EQ(gateway.value(Value::kIcmpSent), 0u);
  EXPECT_EQ(gateway.value(Value::kIcmpSuppressed), quiet.size());
  EXPECT_EQ(gateway.dropped(Drop::kEgressTooBig), quiet.size());
  // The first fragment is told of.
  EXPECT_TRUE(gateway.sends(ipv4_marked(long_packet("10.1.0.5", "10.2.0.7", 1500), 7, 0x6000)).empty());
  EXPECT_EQ(gateway.told(), 1440u);
}

TEST(Mtu, IsReportedNoMoreOftenThanTheLimitAllows) {
  Wired gateway(Mode::kTunnel, 1500);
  const Frame packet = with_df(long_packet("10.1.0.5", "10.2.0.7", 1500));
  for (int i = 0; i < 100; ++i) gateway.host_sends(from_host(packet));
  EXPECT_EQ(gateway.value(Value::kIcmpSent), 10u);
  EXPECT_EQ(gateway.value(Value::kIcmpSuppressed), 90u);
  EXPECT_EQ(gateway.dropped(Drop::kEgressTooBig), 100u);
  EXPECT_EQ(gateway.unsecured.sent.size(), 10u);
  gateway.turn(1000);
  for (int i = 0; i < 100; ++i) gateway.host_sends(from_host(packet));
  EXPECT_EQ(gateway.value(Value::kIcmpSent), 20u);
  gateway.expect_conservation();
}

TEST(Mtu, OfHeldPacketsIsJudgedWhenTheirKeyComesAndTheirOrderStays) {
  for (const Mode mode : {Mode::kTunnel, Mode::kTransport}) {
    Gateway gateway(gateway_config(), 1500, 1500);
    gateway.know_next_hop();
    gateway.know_host("10.1.0.5");
    const Frame small = long_packet("10.1.0.5", "10.2.0.7", 100);
    const Frame large = ipv4_marked(long_packet("10.1.0.5", "10.2.0.7", 1500), 9, 0);
    const Frame fixed = with_df(large);
    const Frame last = long_packet("10.1.0.5", "10.2.0.7", 101);
    for (const Frame& packet : {small, large, fixed, last}) gateway.host_sends(from_host(packet));
    EXPECT_EQ(gateway.value(Value::kHeld), 4u);
    EXPECT_TRUE(gateway.unsecured.sent.empty());
    EgressKey key = egress_key(5);
    key.mode = mode;
    gateway.install(kFlow, key);
    gateway.settle();
    ASSERT_EQ(gateway.secured.sent.size(), 4u);
    const auto& sent = gateway.secured.sent;
    EXPECT_EQ(unseal(sent[0], key).inner, small);
    if (mode == Mode::kTunnel) {
      EXPECT_EQ(joined({from_host(unseal(sent[1], key).inner), from_host(unseal(sent[2], key).inner)}),
                from_host(large));
    } else {
      EXPECT_EQ(unseal(joined({sent[1], sent[2]}), key).inner, large);
    }
    EXPECT_EQ(unseal(sent[3], key).inner, last);
    ASSERT_EQ(gateway.unsecured.sent.size(), 1u);
    EXPECT_EQ(get16(gateway.unsecured.sent[0], 14 + 26), mode == Mode::kTunnel ? 1440 : 1460);
    gateway.expect_conservation();
  }
}

TEST(Mtu, ADrainStopsWhereThePortHasNoSpaceForAllFragmentsOfAPacket) {
  Gateway gateway(gateway_config(), 1500, 576);
  gateway.know_next_hop();
  for (int i = 0; i < 64; ++i) {
    gateway.host_sends(
        from_host(ipv4_marked(long_packet("10.1.0.5", "10.2.0.7", 1500), static_cast<uint16_t>(i), 0)));
  }
  gateway.secured.takes = 0;
  gateway.install(flow("10.1.0.6", "10.2.0.7"), egress_key(6));
  for (uint32_t i = 0; i < TxQueue::kCapacity - 20; ++i)
    gateway.host_sends(from_host("10.1.0.6", "10.2.0.7", "other"));
  gateway.install(kFlow, egress_key(5));
  gateway.turn();
  EXPECT_GT(gateway.value(Value::kHeld), 50u);
  gateway.secured.takes = UINT64_MAX;
  for (int i = 0; i < 8; ++i) gateway.turn(1);
  EXPECT_EQ(gateway.value(Value::kHeld), 0u);
  EXPECT_EQ(gateway.dropped(Drop::kEgressTxFull), 0u);
  EXPECT_EQ(gateway.value(Value::kPacketsFragmented), 64u);
  gateway.expect_conservation();
}

TEST(Mtu, PacketsWithoutMemoryForTheirFragmentsAreCounted) {
  Wired gateway(Mode::kTunnel, 576);
  gateway.secured.takes = 0;
  std::vector<rte_mbuf*> taken(2046);
  ASSERT_EQ(rte_pktmbuf_alloc_bulk(gateway.main->shared->fragment_pool.get(), taken.data(), 2046), 0);
  gateway.host_sends(from_host(ipv4_marked(long_packet("10.1.0.5", "10.2.0.7", 1500), 7, 0)));
  EXPECT_EQ(gateway.dropped(Drop::kEgressNoMemory), 1u);
  gateway.expect_conservation();
  rte_pktmbuf_free_bulk(taken.data(), 2046);
}

TEST(Mtu, AFragmentThatEndsAfterTheLongestPacketCannotBeFragmented) {
  Wired gateway(Mode::kTunnel, 576);
  gateway.sends(ipv4_marked(long_packet("10.1.0.5", "10.2.0.7", 1500), 7, 0x1f60));
  EXPECT_EQ(gateway.dropped(Drop::kEgressTooBig), 1u);
  EXPECT_EQ(gateway.dropped(Drop::kEgressNoMemory), 0u);
}

// A packet in fragments of at most 1000 octets of data.
std::vector<Frame> host_fragments(const Frame& packet, uint16_t identification) {
  std::vector<Frame> fragments;
  const bool ipv6 = packet[0] >> 4 == 6;
  const size_t front = ipv6 ? 40 : 20, step = 1000;
  for (size_t at = 0; at < packet.size() - front; at += step) {
    const size_t length = std::min(step, packet.size() - front - at);
    const bool more = at + length < packet.size() - front;
    Frame piece(packet.begin(), packet.begin() + static_cast<ptrdiff_t>(front));
    const auto data = packet.begin() + static_cast<ptrdiff_t>(front + at);
    if (ipv6) {
      Frame extension = {packet[6], 0, 0, 0, 0, 0, 0, 0};
      put16(extension, 2, static_cast<uint32_t>(at | (more ? 1 : 0)));
      put16(extension, 6, identification);
      piece.insert(piece.end(), extension.begin(), extension.end());
      piece.insert(piece.end(), data, data + static_cast<ptrdiff_t>(length));
      piece[6] = kProtocolFragment;
      put16(piece, 4, static_cast<uint32_t>(piece.size() - 40));
    } else {
      piece.insert(piece.end(), data, data + static_cast<ptrdiff_t>(length));
      put16(piece, 2, static_cast<uint32_t>(piece.size()));
      piece = ipv4_marked(piece, identification, static_cast<uint16_t>(at / 8 | (more ? 0x2000 : 0)));
    }
    fragments.push_back(piece);
  }
  return fragments;
}

TEST(HostFragments, InTransportModeAreReassembledSealedWholeAndFragmentedAgain) {
  for (const bool ipv6 : {false, true}) {
    for (const size_t length : {1400u, 1520u, 9000u, 60000u}) {
      Wired gateway(Mode::kTransport, 1500);
      const Frame packet = ipv6 ? long_packet("fd00:1::5", "fd00:2::7", length)
                                : ipv4_marked(long_packet("10.1.0.5", "10.2.0.7", length), 99, 0);
      auto fragments = host_fragments(packet, 99);
      std::rotate(fragments.begin(), fragments.begin() + 1, fragments.end());
      for (size_t i = 0; i + 1 < fragments.size(); ++i) EXPECT_TRUE(gateway.sends(fragments[i]).empty());
      const auto sent = gateway.sends(fragments.back());
      for (const Frame& frame : sent) EXPECT_LE(frame.size(), 14u + 1500u);
      ASSERT_FALSE(sent.empty());
      EXPECT_EQ(sent.size() > 1, length > 1460);
      const Frame whole = sent.size() == 1 ? sent[0] : joined(sent);
      EXPECT_EQ(gateway.opened_of(whole), packet) << length;
      if (!ipv6 && sent.size() > 1) {
        EXPECT_EQ(piece_of(sent[0]).identification, 99u);
      }
      EXPECT_EQ(gateway.told(), 0u);
    }
  }
}

// The fragments of so many packets exceed the transmit queue and the pool. The queue is the reason: a pool of
// any size would not let more of them leave.
TEST(HostFragments, PacketsOfABurstWhoseFragmentsExceedTheTransmitQueueAreDroppedAsTxFull) {
  Wired gateway(Mode::kTransport, 576);
  EgressKey key = gateway.key;
  key.spi = 6;
  gateway.install(flow("10.1.0.6", "10.2.0.7"), key);
  std::vector<Frame> last;
  for (uint16_t i = 0; i < 20; ++i) {
    const char* source = i % 2 == 0 ? "10.1.0.5" : "10.1.0.6";
    auto fragments = host_fragments(ipv4_marked(long_packet(source, "10.2.0.7", 60'000), i, 0), i);
    last.push_back(std::move(fragments.back()));
    fragments.pop_back();
    for (Frame& fragment : fragments) gateway.unsecured.received.push_back(from_host(fragment));
    gateway.settle();
  }
  gateway.secured.takes = 0;
  for (const Frame& fragment : last) gateway.unsecured.received.push_back(from_host(fragment));
  gateway.turn();
  EXPECT_TRUE(gateway.unsecured.received.empty());
  EXPECT_EQ(gateway.value(Value::kReassembled), 20u);
  EXPECT_EQ(gateway.main->secured.tx.room(), 0u);
  EXPECT_GT(gateway.dropped(Drop::kEgressTxFull), 0u);
  EXPECT_EQ(gateway.dropped(Drop::kEgressNoMemory), 0u);
  gateway.expect_conservation();
}

TEST(HostFragments, HeldForATransportKeyAreReassembledInOrder) {
  Gateway gateway(gateway_config(), 1500, 1500);
  gateway.know_next_hop();
  const Frame before = long_packet("10.1.0.5", "10.2.0.7", 100),
              after = long_packet("10.1.0.5", "10.2.0.7", 101);
  const Frame packet = ipv4_marked(long_packet("10.1.0.5", "10.2.0.7", 4000), 99, 0);
  gateway.host_sends(from_host(before));
  for (const Frame& fragment : host_fragments(packet, 99)) gateway.host_sends(from_host(fragment));
  gateway.host_sends(from_host(after));
  const EgressKey key = transport_key(5);
  gateway.install(kFlow, key);
  gateway.settle();
  const auto& sent = gateway.secured.sent;
  ASSERT_EQ(sent.size(), 5u);
  EXPECT_EQ(unseal(sent[0], key).inner, before);
  EXPECT_EQ(unseal(joined({sent[1], sent[2], sent[3]}), key).inner, packet);
  EXPECT_EQ(unseal(sent[4], key).inner, after);
  gateway.expect_conservation();
}

// Fragments of held packets need no place in the port until the last of a packet comes to be drained.
TEST(HostFragments, HeldOnesKeepNoOtherFlowFromDraining) {
  Gateway gateway(gateway_config(), 1500, 1500);
  gateway.know_next_hop();
  const FlowKey other = flow("10.1.0.5", "10.2.0.8"), full = flow("10.1.0.5", "10.2.0.9");
  const Frame packet = ipv4_marked(long_packet("10.1.0.5", "10.2.0.7", 9000), 99, 0);
  const auto fragments = host_fragments(packet, 99);
  for (const Frame& fragment : fragments) gateway.host_sends(from_host(fragment));
  for (int i = 0; i < 3; ++i) gateway.host_sends(from_host(long_packet("10.1.0.5", "10.2.0.8", 100)));
  gateway.install(full, egress_key(9));
  gateway.secured.takes = 0;
  for (uint32_t i = 0; i < TxQueue::kCapacity - 4; ++i) {
    gateway.host_sends(from_host(long_packet("10.1.0.5", "10.2.0.9", 100)));
  }
  gateway.install(kFlow, transport_key(5));
  gateway.install(other, egress_key(6));
  gateway.turn();
  // The whole packet would not fit; the other flow does.
  EXPECT_EQ(gateway.value(Value::kHeld), 1u);
  EXPECT_EQ(gateway.value(Value::kFragmentsWaiting), fragments.size() - 1);
  EXPECT_EQ(gateway.main->secured.tx.room(), 1u);
  gateway.secured.takes = UINT64_MAX;
  gateway.turn(1);
  gateway.turn(1);
  EXPECT_EQ(gateway.value(Value::kHeld), 0u);
  EXPECT_EQ(gateway.dropped(Drop::kEgressTxFull), 0u);
  const auto& sent = gateway.secured.sent;
  ASSERT_GT(sent.size(), TxQueue::kCapacity);
  EXPECT_EQ(unseal(joined({sent.begin() + TxQueue::kCapacity - 1, sent.end()}), transport_key(5)).inner,
            packet);
  gateway.expect_conservation();
}

// As many as a host sends: the few buffers of reassembly are not what they wait in.
TEST(HostFragments, WaitForASilentNextHopInOtherMemory) {
  Wired gateway(Mode::kTransport, 1500);
  gateway.key.mac = {};
  for (const char* silent : {"192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6"}) {
    gateway.key.outer_destination = address(silent);
    gateway.install(kFlow, gateway.key);
    for (uint16_t id = 0; id < 64; ++id) {
      const Frame packet = ipv4_marked(long_packet("10.1.0.5", "10.2.0.7", 1400), id, 0);
      for (const Frame& fragment : host_fragments(packet, id)) gateway.sends(fragment);
    }
  }
  EXPECT_EQ(gateway.value(Value::kNeighbourQueued), 256u);
  EXPECT_EQ(gateway.value(Value::kReassembled), 256u);
  EXPECT_EQ(gateway.dropped(Drop::kEgressFragmentTableFull), 0u);
  gateway.wire_sends(arp(true, kPeerMac, "192.0.2.3", "192.0.2.1"));
  ASSERT_EQ(gateway.secured.sent.size(), 65u);
  EXPECT_EQ(gateway.opened_of(gateway.secured.sent[1]),
            ipv4_marked(long_packet("10.1.0.5", "10.2.0.7", 1400), 1, 0));
}

TEST(HostFragments, ThatNeverBecomeWholeOrHideIpInIpAreDroppedInTransportMode) {
  Wired gateway(Mode::kTransport, 1500);
  const Frame packet = ipv4_marked(long_packet("10.1.0.5", "10.2.0.7", 4000), 99, 0);
  const auto fragments = host_fragments(packet, 99);
  gateway.sends(fragments[0]);
  gateway.sends(fragments[1]);
  gateway.turn(Reassembly::kTimeoutMs + 1);
  EXPECT_EQ(gateway.dropped(Drop::kEgressFragmentTimeout), 2u);
  const Frame inside =
      ip_packet(kFlow.source, kFlow.destination, 4, long_packet("172.16.0.1", "172.16.0.2", 2000));
  for (const Frame& fragment : host_fragments(inside, 100)) EXPECT_TRUE(gateway.sends(fragment).empty());
  EXPECT_EQ(gateway.dropped(Drop::kEgressTransportIpInIp), 1u);
  gateway.expect_conservation();
}

TEST(HostFragments, AGsoPacketIsNotMistakenForAReassembledPacket) {
  Wired gateway(Mode::kTransport, 1500);
  EXPECT_TRUE(gateway.sends(ipv4_marked(long_packet("10.1.0.5", "10.2.0.7", 3000), 99, 0)).empty());
  EXPECT_EQ(gateway.dropped(Drop::kEgressTooBig), 1u);
}

TEST(PathMtu, IsTheLeastOfPortConfigurationAndWhatWasLearned) {
  EngineConfig config = gateway_config();
  config.peers[0].mtu = 1400;
  Wired gateway(Mode::kTunnel, 1500, config);
  const auto fits = [&](size_t mtu) {
    const auto packet = [](size_t length) { return with_df(long_packet("10.1.0.5", "10.2.0.7", length)); };
    return gateway.sends(packet(mtu - kTunnelIpv4)).size() == 1 &&
           gateway.sends(packet(mtu - kTunnelIpv4 + 1)).empty();
  };
  const Address us = address("192.0.2.1"), peer = address("192.0.2.2");
  EXPECT_TRUE(fits(1400));
  EXPECT_FALSE(learn_path_mtu(*gateway.main, us, peer, 6, 1300));                         // another SPI
  EXPECT_FALSE(learn_path_mtu(*gateway.main, us, address("192.0.2.3"), 5, 1300));         // another peer
  EXPECT_FALSE(learn_path_mtu(*gateway.main, kFlow.source, kFlow.destination, 5, 1300));  // another mode
  EXPECT_FALSE(learn_path_mtu(*gateway.main, us, peer, 5, 1450));                         // never raises
  EXPECT_TRUE(fits(1400));
  // Two flows have the SPI here; either may be meant.
  EXPECT_TRUE(gateway.obey(RemoveCommand{{kFlow6}}).flows.size() == 1);
  EXPECT_TRUE(learn_path_mtu(*gateway.main, us, peer, 5, 1300));
  EXPECT_TRUE(fits(1300));
  EXPECT_FALSE(learn_path_mtu(*gateway.main, us, peer, 5, 1301));
  EXPECT_TRUE(fits(1300));
  // What the wire needs at least.
  EXPECT_TRUE(learn_path_mtu(*gateway.main, us, peer, 5, 0));
  EXPECT_TRUE(fits(576));
  // It lasts ten minutes, a new key of the same path included.
  gateway.key.spi = 6;
  gateway.install(kFlow, gateway.key);
  gateway.turn(598'000);
  gateway.know_next_hop();
  gateway.know_host("10.1.0.5");
  EXPECT_TRUE(fits(576));
  gateway.turn(3'000);
  EXPECT_TRUE(fits(1400));
  // Another path has to be learned anew.
  EXPECT_TRUE(learn_path_mtu(*gateway.main, us, peer, 6, 1000));
  gateway.key.outer_destination = address("192.0.2.9");
  gateway.install(kFlow, gateway.key);
  EXPECT_FALSE(learn_path_mtu(*gateway.main, us, peer, 6, 900));
  gateway.turn();
  EXPECT_TRUE(fits(1400));
  EXPECT_TRUE(learn_path_mtu(*gateway.main, us, address("192.0.2.9"), 6, 900));
  // A flow that is gone.
  gateway.obey(RemoveCommand{{kFlow}});
  EXPECT_FALSE(learn_path_mtu(*gateway.main, us, address("192.0.2.9"), 6, 800));
}

// A peer may give one SPI to all its flows; that must cost no more than one place.
TEST(PathMtu, OfFlowsThatShareAnSpiIsLearnedByTheFirst) {
  Gateway gateway(gateway_config(), 1500, 1500);
  const FlowTable& flows = gateway.main->flow_table;
  const auto found = [&] { return flows.find_tunnel(address("192.0.2.2"), 5); };
  const auto number = [&](int host) {
    return flows.find(flow("10.1.0.5", "10.2.0." + std::to_string(host)));
  };
  for (int host = 1; host <= 3; ++host) {
    gateway.install(flow("10.1.0.5", "10.2.0." + std::to_string(host)), egress_key(5));
  }
  EXPECT_EQ(found(), number(1));
  // One that is not indexed leaves the first alone, as it goes and as its key changes.
  gateway.obey(RemoveCommand{{flow("10.1.0.5", "10.2.0.3")}});
  gateway.install(flow("10.1.0.5", "10.2.0.2"), egress_key(6));
  gateway.install(flow("10.1.0.5", "10.2.0.2"), egress_key(5));
  EXPECT_EQ(found(), number(1));
  gateway.obey(RemoveCommand{{flow("10.1.0.5", "10.2.0.1")}});
  EXPECT_EQ(found(), 0u);
  gateway.install(flow("10.1.0.5", "10.2.0.2"), egress_key(5));
  EXPECT_EQ(found(), number(2));
}

TEST(PathMtu, IsNotLearnedByAnSpiThatAFlowHadBefore) {
  Gateway gateway(gateway_config(), 1500, 1500);
  const auto learns = [&] {
    return learn_path_mtu(*gateway.main, address("192.0.2.1"), address("192.0.2.2"), 5, 1300);
  };
  gateway.install(kFlow, egress_key(5));
  gateway.install(kFlow, egress_key(6));
  EXPECT_FALSE(learns());
  gateway.install(kFlow, egress_key(5));
  gateway.obey(RemoveCommand{{kFlow}});
  // The record serves another flow, which is no tunnel.
  gateway.install(flow("10.1.0.9", "10.2.0.9"), transport_key(5));
  EXPECT_FALSE(learns());
  gateway.install(flow("10.1.0.9", "10.2.0.9"), egress_key(5));
  EXPECT_TRUE(learns());
}

TEST(PathMtu, OfTransportFlowsIsLearnedByTheirOwnAddresses) {
  Wired gateway(Mode::kTransport, 1500);
  EXPECT_FALSE(learn_path_mtu(*gateway.main, kFlow.source, kFlow.destination, 6, 1300));
  EXPECT_FALSE(learn_path_mtu(*gateway.main, kFlow.destination, kFlow.source, 5, 1300));
  EXPECT_FALSE(learn_path_mtu(*gateway.main, address("192.0.2.1"), address("192.0.2.2"), 5, 1300));
  EXPECT_TRUE(learn_path_mtu(*gateway.main, kFlow.source, kFlow.destination, 5, 100));
  gateway.sends(with_df(long_packet("10.1.0.5", "10.2.0.7", 1000)));
  EXPECT_EQ(gateway.told(), 576 - kTransport);
  EXPECT_TRUE(learn_path_mtu(*gateway.main, kFlow6.source, kFlow6.destination, 5, 100));
  gateway.sends(long_packet("fd00:1::5", "fd00:2::7", 1400));
  EXPECT_EQ(gateway.told(), 1280u);
  EXPECT_EQ(gateway.sends(long_packet("fd00:1::5", "fd00:2::7", 1240)).size(), 1u);
  // The flows of one peer each for itself.
  gateway.install(flow("10.1.0.5", "10.2.0.8"), gateway.key);
  EXPECT_EQ(gateway.sends(with_df(long_packet("10.1.0.5", "10.2.0.8", 1000))).size(), 1u);
}

TEST(PathMtu, OfAPeerIsNotBelowWhatItsFamilyNeeds) {
  EngineConfig config = over_ipv6();
  config.peers[0].mtu = 600;
  Wired gateway(Mode::kTunnel, 1500, config);
  gateway.sends(with_df(long_packet("10.1.0.5", "10.2.0.7", 1400)));
  EXPECT_EQ(gateway.told(), 1280 - kTunnelIpv6);
}

TEST(PathMtu, StandsInTheListOfFlows) {
  Wired gateway(Mode::kTransport, 1500);
  learn_path_mtu(*gateway.main, kFlow.source, kFlow.destination, 5, 1300);
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.9", "wanted"));
  FlowsCommand command;
  command.rows.resize(8);
  command = gateway.obey(std::move(command));
  ASSERT_EQ(command.count, 3u);
  EXPECT_EQ(command.rows[0].mode, Mode::kTransport);
  EXPECT_EQ(command.rows[0].path_mtu, 1300);
  EXPECT_EQ(command.rows[1].path_mtu, 1500);
  EXPECT_EQ(command.rows[2].path_mtu, 0);
}

}  // namespace
}  // namespace psp
