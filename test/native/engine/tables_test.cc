// SPDX-License-Identifier: Apache-2.0
// The small structures under the pipes: index, slab, ring, key cache, and the tables of names.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <random>
#include <set>
#include <span>
#include <thread>
#include <unordered_map>

#include "engine/counters.h"
#include "engine/memory/hash_index.h"
#include "engine/memory/quota.h"
#include "engine/memory/spsc_ring.h"
#include "engine/software/tables/flow_table.h"
#include "engine/software/tables/key_cache.h"

namespace psp {
namespace {

TEST(Quota, KeepHalfOfTheTableForAllPeersInEqualParts) {
  Quota shares(100, 5);
  // One peer alone may take its own part and the half that is nobody's.
  EXPECT_EQ(shares.available(0), 60u);
  for (int i = 0; i < 60; ++i) shares.take(0);
  EXPECT_EQ(shares.available(0), 0u);
  for (uint16_t peer = 1; peer < 5; ++peer) {
    EXPECT_EQ(shares.available(peer), 10u);
    for (int i = 0; i < 10; ++i) shares.take(peer);
    EXPECT_EQ(shares.available(peer), 0u);
  }
  // What is given back beyond one's part is free for all again; within it, it stays one's own.
  shares.give_back(0);
  EXPECT_EQ(shares.available(3), 1u);
  shares.give_back(1);
  EXPECT_EQ(shares.available(3), 1u);
  EXPECT_EQ(shares.available(1), 2u);
}

TEST(HashIndex, AgreesWithAMapUnderInsertionAndRemovalOfCollidingHashes) {
  constexpr uint32_t kCapacity = 256;
  HashIndex index(kCapacity);
  std::unordered_map<uint32_t, uint32_t> hashes;  // by number
  std::mt19937 random(7);
  for (int step = 0; step < 200000; ++step) {
    const uint32_t number = random() % kCapacity + 1;
    if (const auto known = hashes.find(number); known != hashes.end()) {
      index.erase(known->second, number);
      hashes.erase(known);
    } else {
      // Few different hashes, also around the end of the slots.
      const uint32_t hash = (random() % 40 - 20) & 0x1ff;
      index.insert(hash, number);
      hashes.emplace(number, hash);
    }
    if (step % 64 != 0) continue;
    for (uint32_t n = 1; n <= kCapacity; ++n) {
      const auto known = hashes.find(n);
      for (uint32_t hash : {known == hashes.end() ? 3 : known->second}) {
        const uint32_t found = index.find(hash, [&](uint32_t candidate) { return candidate == n; });
        ASSERT_EQ(found, known == hashes.end() ? 0 : n);
      }
    }
  }
}

TEST(SpscRing, CarriesEverythingInOrderBetweenTwoThreadsAndSaysWhenFull) {
  SpscRing<std::unique_ptr<int>> ring(8);
  for (int i = 0; i < 8; ++i) {
    auto value = std::make_unique<int>(i);
    ASSERT_TRUE(ring.push(value));
  }
  auto ninth = std::make_unique<int>(8);
  EXPECT_TRUE(ring.full());
  EXPECT_FALSE(ring.push(ninth));
  ASSERT_NE(ninth, nullptr);
  std::thread producer([&] {
    for (int i = 8; i < 100000; ++i) {
      auto value = std::make_unique<int>(i);
      while (!ring.push(value)) std::this_thread::yield();
    }
  });
  for (int expected = 0; expected < 100000;) {
    std::unique_ptr<int> value;
    if (ring.pop(&value)) {
      ASSERT_EQ(*value, expected++);
    } else {
      std::this_thread::yield();
    }
  }
  producer.join();
  EXPECT_TRUE(ring.empty());
}

std::vector<std::unique_ptr<Aead>> all_aeads() {
  std::vector<std::unique_ptr<Aead>> aeads;
  aeads.push_back(make_aead_libcrypto());
  if (auto fast = make_aead_ipsec_mb()) aeads.push_back(std::move(fast));
  return aeads;
}

TEST(KeyCache, HasASlotForEachRecordAndBeyondItsBoundTheLaterEvictsTheEarlier) {
  const uint8_t key[32] = {1};
  for (const auto& aead : all_aeads()) {
    KeyCache cache(*aead, 4);
    const auto place = [&](uint32_t number) { return cache.slot_for(number, 0); };
    for (uint32_t number = 1; number <= 4; ++number) cache.add(place(number), 10 + number, key, 0);
    for (uint32_t number = 1; number <= 4; ++number)
      EXPECT_NE(cache.find(place(number), 10 + number), nullptr);
    EXPECT_EQ(cache.find(place(1), 12), nullptr);
    cache.add(place(5), 15, key, 0);
    EXPECT_NE(cache.find(place(5), 15), nullptr);
    EXPECT_EQ(cache.find(place(1), 11), nullptr);
    // A key that is only tried takes nobody's place, one that is promoted does.
    cache.try_out(16, key, 1);
    EXPECT_NE(cache.find(place(2), 12), nullptr);
    EXPECT_EQ(cache.find(place(2), 16), nullptr);
    cache.promote(place(2));
    EXPECT_NE(cache.find(place(2), 16), nullptr);
    EXPECT_EQ(cache.find(place(2), 12), nullptr);
    cache.erase(2, 16);
    EXPECT_EQ(cache.find(place(2), 16), nullptr);
    cache.erase(3, 99);
    EXPECT_NE(cache.find(place(3), 13), nullptr);
  }
}

TEST(KeyCache, LeavesNothingOfAKeyOfEitherVersionThatWasErasedOrOnlyTried) {
  const uint8_t key[32] = {1, 2, 3}, nonce[12] = {};
  for (const auto& aead : all_aeads()) {
    for (const uint8_t version : {0, 1}) {
      KeyCache cache(*aead, 4);
      const auto sealed = [&](void* expanded) {
        std::array<uint8_t, kIcvLength> tag;
        uint8_t nothing = 0;
        aead->seal(expanded, nonce, nonce, sizeof nonce, &nothing, 0, tag.data());
        return tag;
      };
      void* added = cache.add(cache.slot_for(1, 0), 7, key, version);
      const auto with_key = sealed(added);
      void* tried = cache.try_out(7, key, version);
      EXPECT_EQ(sealed(tried), with_key);
      cache.erase(1, 7);
      EXPECT_NE(sealed(added), with_key);
      EXPECT_NE(sealed(tried), with_key);
      cache.try_out(8, key, version);
      cache.promote(cache.slot_for(2, 0));
      EXPECT_EQ(sealed(cache.find(cache.slot_for(2, 0), 8)), with_key);
      cache.erase_tried();
      EXPECT_NE(sealed(tried), with_key);
    }
  }
}

// As the pipes do: finds the key of a record, or expands it. True when it was there.
bool uses(KeyCache& cache, uint32_t number, uint8_t* misses) {
  const uint8_t key[32] = {static_cast<uint8_t>(number)};
  if (cache.find(cache.slot_for(number, *misses), number) != nullptr) return true;
  cache.note_miss(number, misses);
  cache.add(cache.slot_for(number, *misses), number, key, 0);
  return false;
}

TEST(KeyCache, KeysThatEvictEachOtherSettleAmongTheMany) {
  const auto aead = make_aead_ipsec_mb();
  if (!aead) GTEST_SKIP() << "no libipsec-mb, whose keys alone have many places";
  KeyCache cache(*aead, 2 * KeyCache::kFirstTier);
  constexpr uint32_t kOne = 1, kOther = KeyCache::kFirstTier + 1;
  uint8_t one = 0, other = 0;
  for (int turn = 0; turn < 2 * KeyCache::kSettlesAfter; ++turn) {
    EXPECT_FALSE(uses(cache, kOne, &one));
    EXPECT_FALSE(uses(cache, kOther, &other));
  }
  // Their memory is wanted, and appears when another thread makes it.
  while (cache.grow()) {
  }
  EXPECT_FALSE(uses(cache, kOne, &one));
  EXPECT_FALSE(uses(cache, kOther, &other));
  for (int turn = 0; turn < 3; ++turn) {
    EXPECT_TRUE(uses(cache, kOne, &one));
    EXPECT_TRUE(uses(cache, kOther, &other));
  }
  // Nothing of a key stays in either place.
  cache.erase(kOther, kOther);
  EXPECT_EQ(cache.find(cache.slot_for(kOther, 0), kOther), nullptr);
  EXPECT_EQ(cache.find(cache.slot_for(kOther, other), kOther), nullptr);
  EXPECT_TRUE(uses(cache, kOne, &one));
}

TEST(KeyCache, AScanWantsNoneOfTheMany) {
  const auto aead = make_aead_ipsec_mb();
  if (!aead) GTEST_SKIP() << "no libipsec-mb, whose keys alone have many places";
  constexpr uint32_t kFlows = 20 * KeyCache::kFirstTier;
  KeyCache cache(*aead, kFlows);
  for (uint32_t number = 1; number <= kFlows; ++number) {
    uint8_t misses = 0;
    for (int packet = 1; packet < KeyCache::kSettlesAfter; ++packet) uses(cache, number, &misses);
  }
  EXPECT_FALSE(cache.grow());
}

TEST(FlowTable, WipesTheKeyOfAFlowThatIsRemoved) {
  Counters counters;
  counters.peers = std::vector<PeerCounters>(1);
  IvCounter ivs;
  FlowRecords records(16, ivs);
  FlowTable table(records, ivs, 16, 1, counters);
  const FlowKey flow{{1}, {2}};
  EgressKey key;
  key.version = 1;
  key.key.fill(0x5a);
  const uint32_t number = table.install(flow, 0, key);
  ASSERT_NE(number, 0u);
  const std::span<const uint8_t> octets(table.key_bytes(number), 32);
  EXPECT_TRUE(std::ranges::all_of(octets, [](uint8_t octet) { return octet == 0x5a; }));
  table.remove(number);
  EXPECT_TRUE(std::ranges::all_of(octets, [](uint8_t octet) { return octet == 0; }));
  EXPECT_EQ(counters.peers[0].keyed_flows.value(), 0u);
}

TEST(FlowTable, LeavesNothingOfALongKeyThatAShorterOneReplaces) {
  Counters counters;
  counters.peers = std::vector<PeerCounters>(1);
  IvCounter ivs;
  FlowRecords records(16, ivs);
  FlowTable table(records, ivs, 16, 1, counters);
  const FlowKey flow{{1}, {2}};
  EgressKey key;
  key.version = 1;
  key.key.fill(0x5a);
  const uint32_t number = table.install(flow, 0, key);
  key.version = 0;
  key.key.fill(0xa5);
  ASSERT_EQ(table.install(flow, 0, key), number);
  const std::span<const uint8_t> octets(table.key_bytes(number), 32);
  EXPECT_TRUE(std::ranges::none_of(octets, [](uint8_t octet) { return octet == 0x5a; }));
}

TEST(Names, OfReasonsPipesAndValuesAreUniqueLowerSnakeAndExplained) {
  std::set<std::string> seen;
  for (const DropReason& reason : kDropReasons) {
    EXPECT_TRUE(std::all_of(reason.name.begin(), reason.name.end(), [](char c) {
      return c == '_' || islower(c);
    })) << reason.name;
    EXPECT_GT(reason.cause.size(), 10u);
    EXPECT_GT(reason.remedy.size(), 10u);
    const std::string name = std::string(reason.name) + "/" + std::string(direction_name(reason.direction));
    EXPECT_TRUE(seen.insert(name).second) << name;
  }
  Counters counters;
  counters.peers = std::vector<PeerCounters>(1);
  counters[Drop::kIngressAclMiss].add(3);
  counters.miss(Pipe::kIngressAcl);
  counters[Value::kHeld].set(5);
  const EngineCounts counts = counters.read();
  EXPECT_EQ(counts.drops.size(), kDropReasons.size());
  const auto& drop = counts.drops[static_cast<size_t>(Drop::kIngressAclMiss)];
  EXPECT_EQ(drop.reason, "acl_miss");
  EXPECT_EQ(drop.direction, "ingress");
  EXPECT_EQ(drop.packets, 3u);
  EXPECT_EQ(counts.pipes[static_cast<size_t>(Pipe::kIngressAcl)].name, "ingress_acl");
  EXPECT_EQ(counts.pipes[static_cast<size_t>(Pipe::kIngressAcl)].miss, 1u);
  EXPECT_EQ(counts.values[0].name, "held");
  EXPECT_EQ(counts.values[0].value, 5u);
}

}  // namespace
}  // namespace psp
