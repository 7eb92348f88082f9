// SPDX-License-Identifier: Apache-2.0
// The copies of a worker lcore: what becomes of them, and of their expanded keys, when slots run out, when a
// flow gets another key amid a burst, and when records or a master key end.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "chosen_aead.h"
#include "engine/software/tables/flow_copies.h"
#include "engine/software/tables/spi_copies.h"

namespace psp {
namespace {

FlowKey nth(uint32_t n) {
  FlowKey key{};
  key.source.fill(1);
  std::memcpy(key.destination.data(), &n, sizeof n);
  return key;
}

// Steps of a round through so many copies.
uint32_t steps_of(uint32_t copies) {
  return (copies + CopySlots::kStep - 1) / CopySlots::kStep;
}

// A table of flows and one lcore's copies of it.
struct Flows {
  explicit Flows(uint32_t max_flows, uint32_t places)
      : records(max_flows, ivs),
        table(records, ivs, max_flows, 1, counters, 1),
        keys(*aead, places),
        places(places, ivs),
        copies(table, this->places, keys, 0) {
    counters.peers = std::vector<PeerCounters>(1);
  }
  // A key whose octets, and SPI, are the number.
  void install(uint32_t n, uint32_t spi) {
    EgressKey key{};
    key.spi = spi;
    key.key.fill(static_cast<uint8_t>(spi));
    ASSERT_NE(table.install(nth(n), 0, key), 0u);
  }
  void remove(uint32_t n) { table.remove(table.find(nth(n))); }
  // As a packet of the flow does; 0: it would be handed off to the main lcore.
  uint32_t use(uint32_t n) {
    bool renewed;
    const uint32_t place = copies.find(nth(n), table.hash(nth(n)), &renewed);
    if (place == 0) return 0;
    const EgressFlow& flow = places[place];
    const size_t at = keys.slot_for(place, 0);
    if (keys.find(at, flow.key_tag) == nullptr) {
      keys.add(at, flow.key_tag, places.key_bytes(place), flow.version);
    }
    return place;
  }
  // A step of a round, a millisecond later.
  void sweep() {
    Budget all = Budget::unlimited();
    EXPECT_TRUE(copies.sweep(++now_ms, all));
  }
  bool has_key(uint32_t place, uint64_t tag) { return keys.find(keys.slot_for(place, 0), tag) != nullptr; }
  // Whether the place has octets of that key.
  bool has_octets(uint32_t place, uint32_t spi) {
    const uint8_t* const octets = places.key_bytes(place);
    return std::find(octets, octets + FlowRecords::kKeyBytes, static_cast<uint8_t>(spi)) !=
           octets + FlowRecords::kKeyBytes;
  }

  std::unique_ptr<Aead> aead = chosen_aead();
  Counters counters;
  IvCounter ivs;
  FlowRecords records;
  FlowTable table;
  KeyCache keys;
  FlowRecords places;
  FlowCopies copies;
  uint64_t now_ms = 0;
};

TEST(FlowCopies, AKeyThatIsReplacedAmidABurstIsWipedBehindIt) {
  Flows flows(64, 64);
  flows.install(1, 5);
  const uint32_t place = flows.use(1);
  const uint64_t before = flows.places[place].key_tag;
  flows.install(1, 6);
  bool renewed;
  // Packets may be gathered under the old key.
  ASSERT_EQ(flows.copies.find(nth(1), flows.table.hash(nth(1)), &renewed), place);
  EXPECT_TRUE(renewed);
  EXPECT_EQ(flows.places[place].spi, 6u);
  EXPECT_TRUE(flows.has_key(place, before));
  flows.copies.end_burst();
  EXPECT_FALSE(flows.has_key(place, before));
  // What changes something else than the key keeps it.
  flows.use(1);
  const uint64_t tag = flows.places[place].key_tag;
  flows.table.set_path_mtu(flows.table.find(nth(1)), 1280, 1);
  ASSERT_EQ(flows.use(1), place);
  flows.copies.end_burst();
  EXPECT_TRUE(flows.has_key(place, tag));
  EXPECT_EQ(flows.places[place].path_mtu, 1280u);
}

TEST(FlowCopies, WhoeverIsPushedOutIsOfNoPacketOfTheBurstAndLeavesNothing) {
  constexpr uint32_t kPlaces = kBurst + 1;
  Flows flows(64, kPlaces);
  std::vector<uint32_t> places;
  std::vector<uint64_t> tags;
  for (uint32_t n = 0; n < kPlaces; ++n) {
    flows.install(n, 100 + n);
    places.push_back(flows.use(n));
    ASSERT_NE(places.back(), 0u);
    tags.push_back(flows.places[places.back()].key_tag);
    flows.copies.end_burst();
  }
  // All but the last one are of a burst when another flow comes. That pushes out the last one.
  for (uint32_t n = 0; n < kBurst - 1; ++n) ASSERT_EQ(flows.use(n), places[n]);
  flows.install(60, 60);
  const uint32_t place = flows.use(60);
  EXPECT_TRUE(place == places[kPlaces - 1] || place == places[kPlaces - 2]);
  EXPECT_FALSE(flows.has_key(place, tags[kPlaces - 1]) || flows.has_key(place, tags[kPlaces - 2]));
  for (uint32_t n = 0; n < kBurst - 1; ++n) {
    EXPECT_EQ(flows.places[places[n]].spi, 100 + n);
    EXPECT_TRUE(flows.has_key(places[n], tags[n]));
  }
  flows.copies.end_burst();
  // It comes back, at another's expense.
  for (uint32_t n = 0; n < kPlaces; ++n) {
    const uint32_t again = flows.use(n);
    ASSERT_NE(again, 0u);
    EXPECT_EQ(flows.places[again].spi, 100 + n);
    flows.copies.end_burst();
  }
}

TEST(FlowCopies, WhatEndedIsWipedWithinOneRoundWhereverTheHandStands) {
  constexpr uint32_t kCopies = 3 * CopySlots::kStep;
  for (const uint32_t hand : {0u, 1u, 2u}) {
    Flows flows(2 * kCopies, 2 * kCopies);
    std::vector<uint32_t> places;
    for (uint32_t n = 0; n < kCopies; ++n) {
      flows.install(n, 100 + n);
      places.push_back(flows.use(n));
      flows.copies.end_burst();
    }
    EXPECT_FALSE(flows.copies.sweeping());
    // The hand stands there after so many steps of a round for something else.
    flows.remove(kCopies - 1);
    for (uint32_t i = 0; i < hand; ++i) flows.sweep();
    const std::array<uint32_t, 5> ended = {0, CopySlots::kStep - 1, CopySlots::kStep,
                                           2 * CopySlots::kStep - 1, 2 * CopySlots::kStep};
    std::vector<uint64_t> tags;
    for (const uint32_t n : ended) {
      tags.push_back(flows.places[places[n]].key_tag);
      ASSERT_TRUE(flows.has_key(places[n], tags.back()));
      ASSERT_TRUE(flows.has_octets(places[n], 100 + n));
      flows.remove(n);
      EXPECT_EQ(flows.use(n), 0u);
    }
    constexpr uint32_t kNew = 8;
    for (uint32_t i = 0; i < steps_of(kCopies + kNew); ++i) {
      flows.sweep();
      // New copies, more than places were given back, hide nothing from the round.
      for (uint32_t n = kCopies; i == 0 && n < kCopies + kNew; ++n) {
        flows.install(n, 7);
        flows.use(n);
        flows.copies.end_burst();
      }
    }
    for (size_t i = 0; i < ended.size(); ++i) {
      EXPECT_FALSE(flows.has_key(places[ended[i]], tags[i])) << hand << ", " << ended[i];
      EXPECT_FALSE(flows.has_octets(places[ended[i]], 100 + ended[i])) << hand << ", " << ended[i];
    }
    // Others are as they were, and nothing is looked at any more.
    EXPECT_EQ(flows.use(1), places[1]);
    flows.copies.end_burst();
    flows.sweep();
    EXPECT_FALSE(flows.copies.sweeping());
  }
}

TEST(FlowCopies, NewFlowsAloneBeginNoRound) {
  Flows flows(64, 64);
  for (uint32_t n = 0; n < 8; ++n) {
    flows.install(n, 100 + n);
    flows.use(n);
    flows.copies.end_burst();
  }
  EXPECT_EQ(flows.table.published().endings(), 0u);
  flows.install(3, 200);
  EXPECT_EQ(flows.table.published().endings(), 1u);
  flows.remove(3);
  EXPECT_EQ(flows.table.published().endings(), 2u);
}

TEST(FlowCopies, AFlowThatIsRekeyedKeepsItsSlotAmongTheMany) {
  Flows flows(64, 64);
  flows.install(1, 5);
  const uint32_t place = flows.use(1);
  flows.places[place].key_misses = KeyCache::kSettlesAfter;
  flows.install(1, 6);
  ASSERT_EQ(flows.use(1), place);
  EXPECT_EQ(flows.places[place].key_misses, KeyCache::kSettlesAfter);
  flows.copies.end_burst();
  // Whose place it is next has proved nothing.
  flows.remove(1);
  flows.sweep();
  flows.install(2, 7);
  ASSERT_EQ(flows.use(2), place);
  EXPECT_EQ(flows.places[place].key_misses, 0u);
}

// A table of SPIs and one lcore's copies of it.
struct Spis {
  explicit Spis(uint32_t spis)
      : main_keys(*aead, spis),
        records(spis),
        table(records, {8, 1000}, 1, main_keys, counters, 1),
        keys(*aead, spis),
        places(spis),
        copies(table, places, keys, 0) {
    counters.peers = std::vector<PeerCounters>(1);
  }
  void admit(uint32_t spi) {
    ASSERT_TRUE(table.admit({nth(spi), spi, 0, 0, 0, Mode::kTunnel}, 0, 0));
    const uint32_t number = table.find(spi, 0);
    table.mark_seen(number, 0);
    table.reported(number);
  }
  uint32_t find(uint32_t spi) {
    bool sure;
    const uint32_t place = copies.find(spi, 0, table.hash(spi), &sure);
    copies.end_burst();
    return place;
  }
  // As a packet that opens does.
  uint32_t use(uint32_t spi) {
    const uint32_t place = find(spi);
    const uint8_t key[32] = {1};
    if (place != 0 && !has_key(place, spi)) {
      keys.add(keys.slot_for(place, 0), SpiRecords::key_tag(spi, 0), key, 0);
    }
    return place;
  }
  // A step of a round, a millisecond later.
  void sweep() {
    Budget all = Budget::unlimited();
    EXPECT_TRUE(copies.sweep(++now_ms, all));
  }
  bool has_key(uint32_t place, uint32_t spi) {
    return keys.find(keys.slot_for(place, 0), SpiRecords::key_tag(spi, 0)) != nullptr;
  }

  std::unique_ptr<Aead> aead = chosen_aead();
  Counters counters;
  KeyCache main_keys;
  SpiRecords records;
  ReceiveSpis table;
  KeyCache keys;
  SpiRecords places;
  SpiCopies copies;
  uint64_t now_ms = 0;
};

TEST(SpiCopies, NothingOfADeadMasterKeyIsFoundAndOneRoundWipesIt) {
  constexpr uint32_t kCopies = 2 * CopySlots::kStep + 100, kOtherSlot = 0x80000001;
  Spis spis(2 * kCopies);
  std::vector<uint32_t> places;
  for (uint32_t spi = 1; spi <= kCopies; ++spi) {
    spis.admit(spi);
    places.push_back(spis.use(spi));
    ASSERT_NE(places.back(), 0u);
  }
  spis.admit(kOtherSlot);
  const uint32_t other = spis.use(kOtherSlot);
  // Copies and records of them stand still: none is of any use, from now on.
  spis.table.end_slot(0);
  spis.copies.renew_generations();
  for (uint32_t spi = 1; spi <= kCopies; ++spi) EXPECT_EQ(spis.find(spi), 0u);
  EXPECT_EQ(spis.find(kOtherSlot), other);
  // An SPI that comes again, before its old copy was met, does not meet the old key.
  ASSERT_TRUE(spis.has_key(places[kCopies - 1], kCopies));
  spis.admit(kCopies);
  const uint32_t again = spis.find(kCopies);
  ASSERT_NE(again, 0u);
  EXPECT_FALSE(spis.has_key(again, kCopies));
  for (uint32_t i = 0; i < steps_of(kCopies + 1); ++i) spis.sweep();
  for (uint32_t spi = 1; spi <= kCopies; ++spi) {
    EXPECT_FALSE(spis.has_key(places[spi - 1], spi)) << spi;
    EXPECT_EQ(spis.places[places[spi - 1]].spi, spi == kCopies ? spi : 0) << spi;
  }
  EXPECT_TRUE(spis.has_key(other, kOtherSlot));
  EXPECT_EQ(spis.find(kOtherSlot), other);
}

TEST(SpiCopies, AnSpiThatEndedIsFoundNoMoreAndWipedWithinOneRound) {
  constexpr uint32_t kCopies = CopySlots::kStep + 1;
  Spis spis(2 * kCopies);
  for (uint32_t spi = 1; spi <= kCopies; ++spi) {
    spis.admit(spi);
    ASSERT_NE(spis.use(spi), 0u);
  }
  const uint32_t first = spis.use(1), last = spis.use(kCopies);
  spis.table.withdraw(nth(1), 1);
  spis.table.withdraw(nth(kCopies), kCopies);
  EXPECT_EQ(spis.use(1), 0u);
  for (uint32_t i = 0; i < steps_of(kCopies); ++i) spis.sweep();
  EXPECT_FALSE(spis.has_key(first, 1));
  EXPECT_FALSE(spis.has_key(last, kCopies));
  EXPECT_FALSE(spis.copies.sweeping());
  EXPECT_NE(spis.use(2), 0u);
}

}  // namespace
}  // namespace psp
