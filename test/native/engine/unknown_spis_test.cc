// SPDX-License-Identifier: Apache-2.0
// Which SPIs are reported as unknown: a bounded random choice of those that arrive, and nothing of packets
// that fail for another reason.
#include "engine/software/tables/unknown_spis.h"

#include <algorithm>
#include <map>
#include <set>

#include "lcores.h"

namespace psp {
namespace {

using Reported = std::map<Address, std::set<uint32_t>>;

Reported report(UnknownSpis& spis, uint64_t now_ms) {
  Reported result;
  Budget all = Budget::unlimited();
  spis.tick(now_ms, all, [&](const UnknownSpi& packet) {
    EXPECT_TRUE(result[packet.source].insert(packet.spi).second);
    return true;
  });
  return result;
}

const Address kPeer = address("192.0.2.2");

TEST(UnknownSpis, AreReportedSoonAndThenOnceASecond) {
  UnknownSpis spis(kSeed);
  spis.add({kPeer, 7}, 10'000);
  spis.add({kPeer, 8}, 10'010);
  EXPECT_TRUE(report(spis, 10'049).empty());
  EXPECT_EQ(report(spis, 10'050), (Reported{{kPeer, {7, 8}}}));
  EXPECT_FALSE(spis.any());
  spis.add({kPeer, 9}, 10'060);
  EXPECT_TRUE(report(spis, 11'049).empty());
  EXPECT_EQ(report(spis, 11'050), (Reported{{kPeer, {9}}}));
}

TEST(UnknownSpis, OfOneSourceAreAtMost64ChosenAtRandomAmongAllThatArrived) {
  UnknownSpis spis(kSeed);
  constexpr uint32_t kArrived = 10'000;
  // In each tenth of what arrived, over many rounds: the same share.
  std::array<uint32_t, 10> tenths{};
  for (uint64_t round = 0; round < 100; ++round) {
    for (uint32_t spi = 1; spi <= kArrived; ++spi) spis.add({kPeer, spi}, 1000 * round);
    const Reported reported = report(spis, 1000 * round + 999 + UnknownSpis::kGatherMs);
    ASSERT_EQ(reported.size(), 1u);
    ASSERT_EQ(reported.at(kPeer).size(), UnknownSpis::kSpis);
    for (const uint32_t spi : reported.at(kPeer)) ++tenths[(spi - 1) / (kArrived / 10)];
  }
  for (const uint32_t count : tenths) {
    EXPECT_GT(count, 540u);
    EXPECT_LT(count, 740u);
  }
}

TEST(UnknownSpis, OfManyPacketsHaveNoBetterChanceThanOfOne) {
  UnknownSpis spis(kSeed);
  for (uint32_t i = 0; i < 100'000; ++i) spis.add({kPeer, 7}, 5000);
  for (uint32_t spi = 100; spi < 163; ++spi) spis.add({kPeer, spi}, 5000);
  EXPECT_EQ(report(spis, 6000).at(kPeer).size(), 64u);
}

TEST(UnknownSpis, OfAnySourcesAreBounded) {
  UnknownSpis spis(kSeed);
  for (uint32_t i = 0; i < 1'000'000; ++i) {
    Address source = kPeer;
    std::memcpy(&source[12], &i, 4);
    spis.add({source, i}, 5000);
  }
  const Reported reported = report(spis, 6000);
  EXPECT_LE(reported.size(), UnknownSpis::kSources);
  EXPECT_GT(reported.size(), UnknownSpis::kSources / 2);
}

TEST(UnknownSpis, OfASourceThatSharesASlotWithAnotherHaveTheirTurn) {
  UnknownSpis spis(kSeed);
  uint32_t rounds = 0;
  for (uint64_t round = 0; round < 1000; ++round) {
    // More sources than slots, ten packets of each.
    for (uint32_t packet = 0; packet < 10; ++packet) {
      for (uint8_t last = 1; last <= 100; ++last) {
        Address source = kPeer;
        source[15] = last;
        spis.add({source, last}, 2000 * round);
      }
    }
    rounds += report(spis, 2000 * round + 1999).count(kPeer);
  }
  // About a third of the rounds, and fewer where its slot has more sources; slots are seeded at random.
  EXPECT_GT(rounds, 40u);
}

TEST(UnknownSpis, ThatTheRingDoesNotTakeFollowLaterAndWhatTheBudgetDoesNotAllow) {
  UnknownSpis spis(kSeed);
  for (uint32_t spi = 1; spi <= 50; ++spi) spis.add({kPeer, spi}, 5000);
  std::set<uint32_t> reported;
  Budget all = Budget::unlimited();
  EXPECT_TRUE(spis.tick(6000, all, [&](const UnknownSpi& packet) {
    return reported.size() < 20 && reported.insert(packet.spi).second;
  }));
  Budget little(10);
  EXPECT_FALSE(
      spis.tick(6001, little, [&](const UnknownSpi& packet) { return reported.insert(packet.spi).second; }));
  EXPECT_EQ(reported.size(), 30u);
  EXPECT_TRUE(spis.any());
  EXPECT_EQ(report(spis, 6002).at(kPeer).size(), 20u);
  EXPECT_FALSE(spis.any());
}

const FlowKey kInbound = flow("10.2.0.7", "10.1.0.5");

Frame sealed_under(uint32_t spi, const std::string& from = "192.0.2.2") {
  return sealed(key_of(spi, 0), udp_packet("10.2.0.7", "10.1.0.5", "x"), 1, 255, from);
}

Reported events_of(Gateway& gateway) {
  Reported result;
  for (Event event; gateway.events.pop(&event);) {
    if (const auto* one = std::get_if<UnknownSpiEvent>(&event)) result[one->source].insert(one->spi);
  }
  return result;
}

TEST(UnknownSpis, OfPacketsFromTheWireAreEvents) {
  Gateway gateway;
  gateway.know_host("10.1.0.5");
  gateway.admit(kInbound, 17);
  gateway.wire_sends(sealed_under(17));
  gateway.wire_sends(sealed_under(18));
  gateway.turn(2000);
  EXPECT_EQ(events_of(gateway), (Reported{{kPeer, {18}}}));
  // In a later report, because two sources of one report may share a slot.
  gateway.wire_sends(sealed_under(19, "192.0.2.9"));
  gateway.turn(2000);
  EXPECT_EQ(events_of(gateway), (Reported{{address("192.0.2.9"), {19}}}));
  gateway.turn(2000);
  EXPECT_TRUE(events_of(gateway).empty());
  EXPECT_EQ(gateway.dropped(Drop::kIngressUnknownSpi), 2u);
  gateway.expect_conservation();
}

TEST(UnknownSpis, AreThoseOfARotatedKeyToo) {
  Gateway gateway;
  gateway.admit(kInbound, 17);
  gateway.rotate(1);
  gateway.rotate(0);
  gateway.wire_sends(sealed_under(17));
  gateway.turn(2000);
  EXPECT_EQ(events_of(gateway), (Reported{{kPeer, {17}}}));
}

TEST(UnknownSpis, AreNotThoseOfForgedReplayedOrMalformedPackets) {
  Gateway gateway;
  gateway.know_host("10.1.0.5");
  gateway.admit(kInbound, 17);
  gateway.admit(flow("10.2.0.9", "10.1.0.5"), 18);
  EgressKey wrong = key_of(17, 0);
  wrong.key[0] ^= 1;
  const Frame forged = sealed(wrong, udp_packet("10.2.0.7", "10.1.0.5", "x"));
  Frame truncated = sealed_under(21);
  truncated.resize(14 + 20 + 8 + 4);
  Frame for_another =
      sealed(key_of(22, 0), udp_packet("10.2.0.7", "10.1.0.5", "x"), 1, 255, "192.0.2.2", "192.0.2.77");
  for (int i = 0; i < 1000; ++i) {
    gateway.wire_sends(forged);
    gateway.wire_sends(sealed_under(17));  // a replay after the first
    gateway.wire_sends(sealed_under(18));  // of another flow
    gateway.wire_sends(truncated);
    gateway.wire_sends(for_another);
  }
  gateway.turn(2000);
  EXPECT_TRUE(events_of(gateway).empty());
  EXPECT_EQ(gateway.dropped(Drop::kIngressUnknownSpi), 0u);
  EXPECT_EQ(gateway.dropped(Drop::kIngressIcvFailure), 1000u);
}

TEST(UnknownSpis, CauseFewEventsAndNoOtherStateHoweverManyPacketsArrive) {
  Gateway gateway;
  gateway.admit(kInbound, 17);
  gateway.seen();
  for (uint32_t spi = 1000; spi < 6000; ++spi) gateway.wire_sends(sealed_under(spi));
  gateway.turn(2000);
  const Reported reported = events_of(gateway);
  ASSERT_EQ(reported.size(), 1u);
  EXPECT_EQ(reported.at(kPeer).size(), UnknownSpis::kSpis);
  EXPECT_EQ(gateway.value(Value::kReceiveSpis), 1u);
  EXPECT_EQ(gateway.value(Value::kEventsDelayed), 0u);
  gateway.expect_conservation();
}

TEST(UnknownSpis, OfWorkerLcoresAreReportedByTheMainOne) {
  TwoLcores gateway;
  gateway.know_next_hop();
  gateway.wire_sends_to_worker(sealed_under(18));
  gateway.wire_sends_to_worker(sealed_under(19));
  gateway.turn(2000);
  gateway.turn(2000);
  EXPECT_EQ(events_of(gateway), (Reported{{kPeer, {18, 19}}}));
}

}  // namespace
}  // namespace psp
