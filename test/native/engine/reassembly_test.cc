// SPDX-License-Identifier: Apache-2.0
// Fragments in any order, twice, torn, contradictory and by the thousand: what comes out is whole or nothing,
// and every fragment has one end.
#include "engine/ip/reassembly.h"

#include <random>

#include "wire_frames.h"

namespace psp {
namespace {

const FlowKey kFour = flow("10.2.0.7", "10.1.0.5"), kSix = flow("fd00:2::7", "fd00:1::5");

// The class by itself.
struct Bench {
  Bench()
      : eal((enter_eal(kTestEal), true)),
        pool("bench", 1024, 16384),
        reassembly(
            {Drop::kIngressFragmentTimeout, Drop::kIngressFragmentOverlap, Drop::kIngressFragmentDuplicate,
             Drop::kIngressFragmentTableFull, Drop::kIngressFragmentMalformed},
            counters) {}

  rte_mbuf* mbuf_of(const Frame& frame) {
    rte_mbuf* mbuf = rte_pktmbuf_alloc(pool.get());
    std::memcpy(rte_pktmbuf_append(mbuf, static_cast<uint16_t>(frame.size())), frame.data(), frame.size());
    return mbuf;
  }
  // The whole frame, if this was the last that lacked.
  Frame add(const Frame& frame) {
    ++sent;
    Packet packet;
    packet.mbuf = mbuf_of(frame);
    packet.peer = 3;
    EXPECT_EQ(read_ip(packet.layer3(), packet.layer3_length(), &packet.ip), IpFault::kNone);
    EXPECT_TRUE(packet.ip.fragment);
    if (!reassembly.add(packet, now_ms)) return {};
    EXPECT_TRUE(packet.reassembled);
    EXPECT_FALSE(packet.ip.fragment);
    EXPECT_EQ(packet.peer, 3);
    EXPECT_EQ(packet.ip.length, packet.layer3_length());
    EXPECT_GE(rte_pktmbuf_headroom(packet.mbuf), transport_headroom(true));
    EXPECT_GE(rte_pktmbuf_tailroom(packet.mbuf), kIcvLength);
    Frame whole(packet.frame(), packet.frame() + packet.mbuf->data_len);
    if (keeping) {
      kept.push_back(packet.mbuf);
    } else {
      rte_pktmbuf_free(packet.mbuf);
    }
    return whole;
  }
  Frame add_all(const std::vector<Frame>& frames) {
    Frame whole;
    for (const Frame& frame : frames) {
      Frame one = add(frame);
      if (!one.empty()) {
        EXPECT_TRUE(whole.empty());
        whole = one;
      }
    }
    return whole;
  }
  void tick(uint64_t ms) {
    now_ms += ms;
    Budget all = Budget::unlimited();
    reassembly.tick(now_ms, all);
  }
  uint64_t dropped(Drop reason) { return counters[reason].value(); }
  uint64_t waiting() { return counters[Value::kFragmentsWaiting].value(); }
  // Each fragment waits, went into a whole one, or was dropped; and no buffer is lost.
  void expect_conservation() {
    uint64_t ends =
        waiting() + counters[Value::kFragmentsJoined].value() + counters[Value::kReassembled].value();
    for (const Counter& drop : counters.drops) ends += drop.value();
    EXPECT_EQ(ends, sent);
    EXPECT_EQ(rte_mempool_avail_count(pool.get()), 1024u);
  }

  bool eal;
  Counters counters;
  Pool pool;
  Reassembly reassembly;
  uint64_t now_ms = 1000, sent = 0;
  bool keeping = false;
  std::vector<rte_mbuf*> kept;
};

Frame whole_four(size_t length, uint16_t identification = 7) {
  return from_wire(ipv4_marked(long_packet("10.2.0.7", "10.1.0.5", length), identification, 0));
}
Frame whole_six(size_t length) {
  return from_wire(long_packet("fd00:2::7", "fd00:1::5", length));
}

TEST(Reassembly, PutsFragmentsTogetherInAnyOrder) {
  Bench bench;
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    const size_t length = 100 + random() % 9000, step = 8 * (1 + random() % 180);
    const bool six = random() % 2;
    const auto identification = static_cast<uint16_t>(round + 1);
    const Frame whole = six ? whole_six(length) : whole_four(length, identification);
    auto fragments = in_fragments(whole, step, identification);
    if (fragments.size() < 2) continue;
    std::shuffle(fragments.begin(), fragments.end(), random);
    ASSERT_EQ(bench.add_all(fragments), whole) << round;
  }
  EXPECT_EQ(bench.waiting(), 0u);
  EXPECT_FALSE(bench.reassembly.waits());
  EXPECT_GT(bench.counters[Value::kReassembled].value(), 150u);
  bench.expect_conservation();
}

TEST(Reassembly, KeepsManyDatagramsApart) {
  Bench bench;
  std::mt19937 random(2);
  std::vector<std::pair<Frame, size_t>> all;  // of which datagram
  std::vector<Frame> wholes;
  const auto add = [&](Frame whole, uint32_t identification) {
    for (Frame& fragment : in_fragments(whole, 400, identification))
      all.emplace_back(fragment, wholes.size());
    wholes.push_back(std::move(whole));
  };
  // Alike but for one thing each: identification, source, destination, protocol, family.
  for (uint16_t id = 1; id <= 8; ++id) add(whole_four(1300 + id, id), id);
  for (int host = 10; host < 30; ++host) {
    const std::string end = std::to_string(host);
    add(from_wire(ipv4_marked(long_packet("10.2.0." + end, "10.1.0.5", 1400), 1, 0)), 1);
    add(from_wire(ipv4_marked(long_packet("10.2.0.8", "10.1.0." + end, 1400), 1, 0)), 1);
    if (host < 18) continue;
    wholes.pop_back();
    std::erase_if(all, [&](const auto& one) { return one.second == wholes.size(); });
  }
  add(from_wire(ipv4_marked(ip_packet(kFour.source, kFour.destination, 253, Frame(1333, 5)), 1, 0)), 1);
  for (uint32_t id = 1; id <= 4; ++id) add(whole_six(1400 + id), id << 16 | 1);
  std::shuffle(all.begin(), all.end(), random);
  size_t done = 0;
  for (const auto& [fragment, of] : all) {
    const Frame whole = bench.add(fragment);
    if (whole.empty()) continue;
    EXPECT_EQ(whole, wholes[of]);
    ++done;
  }
  EXPECT_EQ(done, wholes.size());
  bench.expect_conservation();
}

TEST(Reassembly, KeepsTheHeadersOfTheFirstFragment) {
  Bench bench;
  // IPv4 options that later fragments do not repeat, another hop limit in each.
  const Frame whole =
      from_wire(ipv4_marked(with_options(ip_of(whole_four(900)), {7, 7, 4, 0, 0, 0, 0, 0}), 7, 0));
  auto fragments = in_fragments(whole, 304);
  Frame later = ip_of(fragments[1]);
  later.erase(later.begin() + 20, later.begin() + 28);
  later[0] = 0x45;
  later[8] = 3;
  put16(later, 2, static_cast<uint32_t>(later.size()));
  fix_ipv4(later);
  fragments[1] = from_wire(later);
  EXPECT_EQ(bench.add_all({fragments[1], fragments[2], fragments[0]}), whole);

  // IPv6 hop-by-hop options and routing header in front of the fragment header, destination options behind.
  Frame extended =
      with_extensions(long_packet("fd00:2::7", "fd00:1::5", 1000), kProtocolHopByHop,
                      {43, 0, 1, 4, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0});
  const Frame six = from_wire(extended);
  auto pieces = in_fragments(six, 256, 9, 56, 48);
  ASSERT_GT(pieces.size(), 2u);
  std::swap(pieces[0], pieces[1]);
  EXPECT_EQ(bench.add_all(pieces), six);
  bench.expect_conservation();
}

TEST(Reassembly, DropsARepeatedFragmentAlone) {
  Bench bench;
  const Frame whole = whole_four(3000);
  auto fragments = in_fragments(whole, 800);
  std::vector<Frame> twice;
  for (size_t i = 0; i + 1 < fragments.size(); ++i) twice.insert(twice.end(), {fragments[i], fragments[i]});
  twice.push_back(fragments.back());
  EXPECT_EQ(bench.add_all(twice), whole);
  EXPECT_EQ(bench.dropped(Drop::kIngressFragmentDuplicate), fragments.size() - 1);
  bench.expect_conservation();
}

// Each case: what comes after the first good fragment (octets 0 to 800 of 3000 - 20), and contradicts.
TEST(Reassembly, AnyOverlapEndsTheDatagramAndWhatStillComesOfIt) {
  const Frame whole = whole_four(3000);
  const auto fragments = in_fragments(whole, 800);
  const auto cut_at = [&](size_t offset, size_t length, bool more) {
    Frame ip = ip_of(whole);
    ip.resize(ip.size() + 8);  // some pieces reach beyond the end
    Frame data(ip.begin() + 20 + static_cast<ptrdiff_t>(offset),
               ip.begin() + 20 + static_cast<ptrdiff_t>(offset + length));
    const Frame piece = ip_packet(kFour.source, kFour.destination, 17, data);
    return from_wire(ipv4_marked(piece, 7, static_cast<uint16_t>(offset / 8 | (more ? 0x2000 : 0))));
  };
  Frame changed = fragments[0];
  changed.back() ^= 1;
  struct Contradiction {
    const char* name;
    std::vector<Frame> before;
    Frame frame;
  };
  const Contradiction contradictions[] = {
      {"the same place, other octets", {fragments[0]}, changed},
      {"reaches into the next", {fragments[1]}, cut_at(0, 808, true)},
      {"begins in the one before", {fragments[0]}, cut_at(792, 800, true)},
      {"lies around another", {fragments[1]}, cut_at(0, 2400, true)},
      {"lies within another and beyond", {fragments[1]}, cut_at(1592, 16, true)},
      {"ends in front of what came", {fragments[1]}, cut_at(400, 400, false)},
      {"a second, later end", {cut_at(800, 800, false)}, fragments[3]},
      {"a second, earlier end", {fragments[3]}, cut_at(800, 800, false)},
      {"lies behind the end", {cut_at(800, 800, false)}, fragments[2]},
      {"reaches the end and says more", {fragments[3]}, cut_at(2400, 584, true)},
  };
  for (const auto& [name, before, frame] : contradictions) {
    Bench bench;
    EXPECT_TRUE(bench.add_all(before).empty());
    EXPECT_TRUE(bench.add(frame).empty());
    EXPECT_EQ(bench.dropped(Drop::kIngressFragmentOverlap), before.size() + 1) << name;
    // All of it comes once more, in vain.
    EXPECT_TRUE(bench.add_all(fragments).empty()) << name;
    EXPECT_EQ(bench.dropped(Drop::kIngressFragmentOverlap), before.size() + 1 + fragments.size()) << name;
    EXPECT_EQ(bench.waiting(), 0u);
    bench.expect_conservation();
    // Until its time is over.
    bench.tick(Reassembly::kTimeoutMs);
    EXPECT_EQ(bench.add_all(fragments), whole) << name;
    EXPECT_EQ(bench.dropped(Drop::kIngressFragmentTimeout), 0u);
  }
}

TEST(Reassembly, OverlapsOfIpv6EndTheDatagramToo) {
  Bench bench;
  const auto coarse = in_fragments(whole_six(2000), 800), fine = in_fragments(whole_six(2000), 400);
  // A part of what came already changes nothing; what reaches beyond it does, octets alike or not.
  EXPECT_TRUE(bench.add_all({coarse[0], fine[1]}).empty());
  EXPECT_EQ(bench.dropped(Drop::kIngressFragmentDuplicate), 1u);
  EXPECT_TRUE(bench.add_all({fine[3], coarse[1], coarse[2]}).empty());
  EXPECT_EQ(bench.dropped(Drop::kIngressFragmentOverlap), 4u);
  bench.expect_conservation();
}

TEST(Reassembly, RefusesImpossibleOffsetsAndLengths) {
  Bench bench;
  const auto refused = [&](const Frame& frame) {
    const uint64_t before = bench.dropped(Drop::kIngressFragmentMalformed);
    EXPECT_TRUE(bench.add(frame).empty());
    return bench.dropped(Drop::kIngressFragmentMalformed) == before + 1 && bench.waiting() == 0;
  };
  const auto four = [](size_t length, uint16_t marks) {
    return from_wire(ipv4_marked(ip_packet(kFour.source, kFour.destination, 17, Frame(length)), 7, marks));
  };
  EXPECT_TRUE(refused(four(801, 0x2000)));   // more, and not in blocks of 8
  EXPECT_TRUE(refused(four(0, 0x2000)));     // nothing in it
  EXPECT_TRUE(refused(four(0, 100)));        // nothing in it, and last
  EXPECT_TRUE(refused(four(1400, 0x1fff)));  // beyond 65535 octets
  EXPECT_TRUE(refused(four(8, 0x1fff)));     // at the very edge
  const auto six = [](const Frame& extensions, uint8_t first) {
    return from_wire(with_extensions(long_packet("fd00:2::7", "fd00:1::5", 200), first, extensions));
  };
  EXPECT_TRUE(refused(six({17, 0, 0xff, 0xf9, 0, 0, 0, 1}, 44)));
  // More headers than there is room for.
  Frame options(256, 0);
  options[0] = 44;
  options[1] = 31;
  options.insert(options.end(), {17, 0, 0, 1, 0, 0, 0, 1});
  EXPECT_TRUE(refused(six(options, kProtocolHopByHop)));
  // An authentication header stands behind fragments, never in front of them.
  EXPECT_TRUE(refused(six({44, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 1, 0, 0, 0, 1},
                          kProtocolAuthentication)));
  EXPECT_FALSE(bench.reassembly.waits());
  bench.expect_conservation();
}

TEST(Reassembly, TakesDatagramsUpToItsBound) {
  Bench bench;
  const Frame most = whole_four(20 + Reassembly::kDataAtMost);
  EXPECT_EQ(bench.add_all(in_fragments(most, 8992)), most);
  // An octet more begins a new one, in vain.
  const Frame beyond = whole_four(21 + Reassembly::kDataAtMost, 8);
  EXPECT_TRUE(bench.add_all(in_fragments(beyond, 8992, 8)).empty());
  EXPECT_EQ(bench.dropped(Drop::kIngressFragmentMalformed), 1u);
  const Frame tiny = whole_four(2000, 9);
  EXPECT_EQ(bench.add_all(in_fragments(tiny, 8, 9)), tiny);
  bench.tick(Reassembly::kTimeoutMs);
  bench.expect_conservation();
}

TEST(Reassembly, GivesUpAfterItsTime) {
  Bench bench;
  const auto fragments = in_fragments(whole_four(3000), 800);
  bench.add_all({fragments[0], fragments[1]});
  bench.tick(Reassembly::kTimeoutMs - 1);
  EXPECT_EQ(bench.dropped(Drop::kIngressFragmentTimeout), 0u);
  EXPECT_TRUE(bench.reassembly.waits());
  // A later fragment gives no more time.
  bench.add(fragments[2]);
  bench.tick(1);
  EXPECT_EQ(bench.dropped(Drop::kIngressFragmentTimeout), 3u);
  EXPECT_FALSE(bench.reassembly.waits());
  EXPECT_TRUE(bench.add(fragments[3]).empty());
  EXPECT_EQ(bench.waiting(), 1u);
  bench.expect_conservation();
}

TEST(Reassembly, BoundsOneSourceAndAll) {
  Bench bench;
  const auto first_of = [](const std::string& source, uint16_t id) {
    return in_fragments(from_wire(ipv4_marked(long_packet(source, "10.1.0.5", 1000), id, 0)), 600, id);
  };
  const auto honest = first_of("10.2.0.7", 1);
  bench.add(honest[0]);
  // An unknown source floods: only its own fragments are dropped.
  for (uint16_t id = 1; id <= 5000; ++id) bench.add(first_of("192.0.2.66", id)[0]);
  EXPECT_EQ(bench.dropped(Drop::kIngressFragmentTableFull), 5000u - Reassembly::kPerSource);
  EXPECT_EQ(bench.waiting(), Reassembly::kPerSource + 1);
  EXPECT_FALSE(bench.add(honest[1]).empty());
  // The newest of its own are what it keeps.
  EXPECT_FALSE(bench.add(first_of("192.0.2.66", 5000)[1]).empty());
  EXPECT_TRUE(bench.add(first_of("192.0.2.66", 1)[1]).empty());

  // Many unknown sources flood: the oldest fragments are dropped, and the memory in use does not grow.
  for (int host = 0; host < 2000; ++host) {
    bench.add(first_of("10." + std::to_string(3 + host / 250) + ".0." + std::to_string(host % 250), 1)[0]);
  }
  EXPECT_EQ(bench.waiting(), Reassembly::kDatagrams);
  bench.tick(Reassembly::kTimeoutMs);
  EXPECT_EQ(bench.waiting(), 0u);
  bench.expect_conservation();
  const Frame whole = whole_four(1000, 9);
  EXPECT_EQ(bench.add_all(in_fragments(whole, 600, 9)), whole);
}

TEST(Reassembly, GoesOnWhenWholeOnesAreKeptForLong) {
  Bench bench;
  bench.keeping = true;
  uint16_t id = 0;
  while (id < 1000 && bench.dropped(Drop::kIngressFragmentTableFull) == 0) {
    ++id;
    bench.add_all(in_fragments(whole_four(1000, id), 600, id));
  }
  // Out of memory at last: counted, not lost; and good again once some are back.
  EXPECT_GT(bench.kept.size(), Reassembly::kDatagrams);
  EXPECT_LT(bench.kept.size(), 1000u);
  bench.expect_conservation();
  for (rte_mbuf* mbuf : bench.kept) rte_pktmbuf_free(mbuf);
  bench.keeping = false;
  const Frame whole = whole_four(1000, 5000);
  EXPECT_EQ(bench.add_all(in_fragments(whole, 600, 5000)), whole);
}

TEST(Reassembly, MarksCongestionThatOneFragmentMet) {
  const auto with_ecn = [](const Frame& frame, uint8_t ecn) {
    Frame ip = ip_of(frame);
    if (ip[0] >> 4 == 4) {
      ip[1] = ecn;
      fix_ipv4(ip);
    } else {
      ip[1] = static_cast<uint8_t>(ecn << 4);
    }
    return from_wire(ip);
  };
  struct Case {
    uint8_t first, second;
    int whole;
  };
  for (const auto& [first, second, expected] :
       {Case{0, 0, 0}, Case{2, 2, 2}, Case{2, 3, 3}, Case{3, 2, 3}, Case{1, 3, 3}, Case{1, 2, 1},
        Case{3, 3, 3}, Case{0, 3, -1}, Case{3, 0, -1}, Case{0, 2, 0}}) {
    for (const Frame& whole : {whole_four(1000), whole_six(1000)}) {
      Bench bench;
      auto fragments = in_fragments(whole, 600);
      fragments[0] = with_ecn(fragments[0], first);
      fragments[1] = with_ecn(fragments[1], second);
      const Frame got = bench.add_all(fragments);
      if (expected < 0) {
        EXPECT_TRUE(got.empty());
        EXPECT_EQ(bench.dropped(Drop::kIngressFragmentMalformed), 2u);
      } else {
        EXPECT_EQ(got, with_ecn(whole, static_cast<uint8_t>(expected))) << int{first} << int{second};
      }
      bench.expect_conservation();
    }
  }
}

TEST(Reassembly, EndsRandomFragmentsCounted) {
  Bench bench;
  std::mt19937 random(3);
  const auto four = in_fragments(whole_four(2000), 400), six = in_fragments(whole_six(2000), 400);
  for (int i = 0; i < 50000; ++i) {
    Frame frame = (random() % 2 ? four : six)[random() % four.size()];
    for (uint32_t n = random() % 4; n > 0; --n) {
      frame[14 + random() % 60] = static_cast<uint8_t>(random());
    }
    if (frame[14] >> 4 == 4) {
      put16(frame, 24, 0);
      put16(frame, 24,
            checksum_fold(checksum_add(&frame[14], std::min<size_t>(60, (frame[14] & 15) * 4u), 0)));
    }
    IpPacket ip;
    if (read_ip(&frame[14], frame.size() - 14, &ip) != IpFault::kNone || !ip.fragment) continue;
    bench.add(frame);
    if (i % 64 == 0) bench.tick(random() % 50);
  }
  bench.tick(Reassembly::kTimeoutMs);
  EXPECT_EQ(bench.waiting(), 0u);
  bench.expect_conservation();
}

// In a gateway: outer fragments.

struct Receiver : Gateway {
  explicit Receiver(Mode mode, uint16_t unsecured_mtu = 1500) : Gateway(config_of(mode), unsecured_mtu) {
    know_host("10.1.0.5");
    know_host("fd00:1::5");
    admit(kFour, 17, 0, 0, mode);
    admit(kSix, 18, 0, 0, mode);
  }
  static EngineConfig config_of(Mode mode) {
    EngineConfig config = gateway_config();
    config.peers[0].mode = mode;
    return config;
  }
};

TEST(OuterFragments, AreOpenedOnceTheyAreTogether) {
  for (const Mode mode : {Mode::kTunnel, Mode::kTransport}) {
    for (const bool six : {false, true}) {
      Receiver gateway(mode);
      const Frame packet = six ? long_packet("fd00:2::7", "fd00:1::5", 1400)
                               : ipv4_marked(long_packet("10.2.0.7", "10.1.0.5", 1400), 99, 0);
      auto fragments = in_fragments(on_wire(mode_key(six ? 18 : 17, 0, mode), packet), 512);
      std::swap(fragments[0], fragments[2]);
      for (const Frame& fragment : fragments) gateway.wire_sends(fragment);
      ASSERT_EQ(gateway.unsecured.sent.size(), 1u);
      // A transport packet keeps the identification of the fragments' header.
      Frame expected = packet;
      if (mode == Mode::kTransport && !six) expected = ipv4_marked(packet, 7, 0);
      EXPECT_EQ(ip_of(gateway.unsecured.sent[0]), expected);
      EXPECT_EQ(gateway.value(Value::kReassembled), 1u);
      EXPECT_EQ(gateway.value(Value::kFragmentsJoined), fragments.size() - 1);
      gateway.expect_conservation();
    }
  }
}

TEST(OuterFragments, TakeTheSlotOfTheLastThatArrived) {
  Receiver gateway(Mode::kTunnel);
  const auto fragments = in_fragments(
      on_wire(mode_key(17, 0, Mode::kTunnel), udp_packet("10.2.0.7", "10.1.0.5", std::string(900, 'f'))),
      512);
  ASSERT_EQ(fragments.size(), 2u);
  const auto single = [](const std::string& words, uint64_t iv) {
    WireOptions options;
    options.iv = iv;
    return on_wire(mode_key(17, 0, Mode::kTunnel), udp_packet("10.2.0.7", "10.1.0.5", words), options);
  };
  for (const Frame& frame :
       {single("one", 2), fragments[0], single("two", 3), fragments[1], single("three", 4)}) {
    gateway.secured.received.push_back(frame);
  }
  gateway.settle();
  std::vector<std::string> words;
  for (const Frame& frame : gateway.unsecured.sent) words.push_back(words_of(ip_of(frame)).substr(0, 5));
  EXPECT_EQ(words, (std::vector<std::string>{"one", "two", "fffff", "three"}));
}

TEST(OuterFragments, AreFragmentedAgainForHostsInTransportModeOnly) {
  for (const bool six : {false, true}) {
    Receiver transport(Mode::kTransport);
    const Frame packet = six ? long_packet("fd00:2::7", "fd00:1::5", 5000)
                             : ipv4_marked(long_packet("10.2.0.7", "10.1.0.5", 5000), 7, 0);
    const auto send = [&](Receiver& gateway, Mode mode) {
      for (const Frame& fragment : in_fragments(on_wire(mode_key(six ? 18 : 17, 0, mode), packet), 1480)) {
        gateway.wire_sends(fragment);
      }
    };
    send(transport, Mode::kTransport);
    ASSERT_EQ(transport.unsecured.sent.size(), 4u);
    for (const Frame& frame : transport.unsecured.sent) EXPECT_LE(frame.size(), 14 + 1500u);
    const std::vector<Frame> sent(transport.unsecured.sent.begin(), transport.unsecured.sent.end());
    EXPECT_EQ(ip_of(joined(sent)), packet);
    transport.expect_conservation();

    Receiver tunnel(Mode::kTunnel);
    send(tunnel, Mode::kTunnel);
    // No sender in tunnel mode sent IPv6 in fragments that anybody but the hosts puts together.
    if (six) {
      EXPECT_EQ(tunnel.dropped(Drop::kIngressTooBig), 1u);
    } else {
      EXPECT_EQ(tunnel.unsecured.sent.size(), 4u);
    }
    tunnel.expect_conservation();
  }
}

TEST(OuterFragments, ForOthersAreNotEvenKept) {
  Receiver gateway(Mode::kTransport);
  for (const std::string to : {"192.0.2.9", "10.9.0.5", "10.2.0.5"}) {
    gateway.wire_sends(in_fragments(from_wire(long_packet("192.0.2.2", to, 900)), 512)[0]);
  }
  EXPECT_EQ(gateway.value(Value::kFragmentsWaiting), 0u);
  EXPECT_EQ(gateway.dropped(Drop::kIngressNotForUs), 3u);
}

TEST(OuterFragments, EndInTimeWithoutAnyPacket) {
  Receiver gateway(Mode::kTunnel);
  gateway.turn(40'000);
  gateway.wire_sends(in_fragments(
      on_wire(mode_key(17, 0, Mode::kTunnel), udp_packet("10.2.0.7", "10.1.0.5", std::string(900, 'f'))),
      512)[0]);
  EXPECT_LE(gateway.main->idle_timeout_ms(), 100u);
  gateway.turn(Reassembly::kTimeoutMs);
  EXPECT_EQ(gateway.dropped(Drop::kIngressFragmentTimeout), 1u);
  gateway.expect_conservation();
}

TEST(OuterFragments, WaitForNeighboursInOtherMemory) {
  Receiver gateway(Mode::kTunnel);
  const FlowKey silent = flow("10.2.0.7", "10.1.0.77");
  gateway.admit(silent, 30);
  const Frame packet = udp_packet("10.2.0.7", "10.1.0.77", std::string(900, 's'));
  // More of them than reassembly has buffers wait for a host that does not answer.
  for (uint16_t id = 1; id <= 300; ++id) {
    WireOptions options;
    options.iv = id;
    for (const Frame& fragment :
         in_fragments(on_wire(mode_key(30, 0, Mode::kTunnel), packet, options), 512, id)) {
      gateway.secured.received.push_back(fragment);
    }
  }
  gateway.settle();
  EXPECT_EQ(gateway.value(Value::kNeighbourQueued), 64u);
  EXPECT_EQ(gateway.dropped(Drop::kIngressFragmentTableFull), 0u);
  EXPECT_EQ(gateway.value(Value::kReassembled), 300u);
  gateway.expect_conservation();
}

}  // namespace
}  // namespace psp
