// SPDX-License-Identifier: Apache-2.0
// The tables under churn: one thread installs, rekeys, removes and rotates as fast as it can; others look up,
// seal and open without a lock, and hold what they were given against what every SPI says by itself. For
// PSP_CHURN_SECONDS (1); under the thread sanitizer by scripts/tsan.sh.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <random>
#include <thread>

#include "chosen_aead.h"
#include "engine/software/tables/flow_copies.h"
#include "engine/software/tables/spi_copies.h"
#include "psp/master_key.h"
#include "psp/octets.h"

namespace psp {
namespace {

constexpr uint32_t kFlows = 48, kPlaces = 16, kOthers = 2;
constexpr size_t kOctets = 48, kIvsAtMost = 4'000'000;

auto end_of_churn() {
  const char* const seconds = std::getenv("PSP_CHURN_SECONDS");
  return std::chrono::steady_clock::now() + std::chrono::seconds(seconds == nullptr ? 1 : std::atoi(seconds));
}

FlowKey nth(uint32_t n) {
  FlowKey key{};
  key.source.fill(1);
  key.destination.fill(static_cast<uint8_t>(n));
  return key;
}

// An SPI tells its flow and how often that was keyed before; all else follows from it.
uint32_t spi_of(uint32_t n, uint32_t generation) {
  return generation << 8 | n;
}
uint32_t generation_of(uint32_t spi) {
  return spi >> 8;
}

EgressKey key_of(uint32_t spi) {
  EgressKey key;
  key.spi = spi;
  key.version = spi >> 9 & 1;
  key.mode = spi >> 10 & 1 ? Mode::kTransport : Mode::kTunnel;
  key.cookie = uint64_t{spi} * 0x9e3779b97f4a7c15;
  key.first_iv = uint64_t{generation_of(spi) / 4} << 20;
  key.outer_destination.fill(static_cast<uint8_t>(spi * 7));
  for (size_t i = 0; i < key_length(key.version); ++i)
    key.key[i] = static_cast<uint8_t>((spi >> (i % 24)) + i);
  return key;
}

// Runs `other` again and again on threads of their own, and `one` on this, until the time is over.
template <typename One, typename Other>
void churn(One&& one, Other&& other) {
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (uint32_t lcore = 0; lcore < kOthers; ++lcore) {
    threads.emplace_back([&, lcore] {
      while (!done && !testing::Test::HasFatalFailure()) other(lcore);
    });
  }
  const auto end = end_of_churn();
  while (std::chrono::steady_clock::now() < end && !testing::Test::HasFatalFailure()) one();
  done = true;
  for (std::thread& thread : threads) thread.join();
}

TEST(Churn, ACopyIsOfOneSequence) {
  struct Words {
    uint64_t words[12];
  };
  Seqlock<Words> published{};
  uint64_t last = 0;
  std::array<uint64_t, kOthers> copied{};
  churn(
      [&] {
        Words words;
        std::ranges::fill(words.words, ++last);
        published.publish(words);
      },
      [&](uint32_t lcore) {
        Words copy;
        uint64_t sequence;
        if (!published.copy(&copy, &sequence)) return;
        ++copied[lcore];
        for (const uint64_t word : copy.words) ASSERT_EQ(word, copy.words[0]);
        ASSERT_EQ(sequence, copy.words[0] * 2);
      });
  for (const uint64_t count : copied) EXPECT_GT(count, 100u);
}

TEST(Churn, WhatStandsInAnIndexIsNeverSurelyMissing) {
  HashIndex index(8);
  constexpr uint32_t kHash = 5, kStays = 7;
  index.insert(kHash, 1);
  index.insert(kHash, kStays);
  std::atomic<uint64_t> gone{0};  // odd while it truly is
  std::array<uint64_t, kOthers> found{};
  churn(
      [&] {
        index.erase(kHash, 1);  // the other moves back
        gone.fetch_add(1);
        index.erase(kHash, kStays);
        index.insert(kHash, 1);
        index.insert(kHash, kStays);
        gone.fetch_add(1);
      },
      [&](uint32_t lcore) {
        const uint64_t before = gone.load();
        bool sure;
        const uint32_t number = index.look_up(
            kHash, [](uint32_t candidate) { return candidate == kStays; }, &sure);
        found[lcore] += number == kStays;
        ASSERT_TRUE(number == kStays || !sure || before % 2 == 1 || gone.load() != before);
      });
  for (const uint64_t count : found) EXPECT_GT(count, 100u);
}

// A key of its own for each check.
struct Expanded {
  explicit Expanded(const Aead& aead) : aead(aead) {
    memory = std::aligned_alloc(kAeadKeyAlignment, (aead.expanded_size() + 63) / 64 * 64);
    aead.construct(memory);
  }
  ~Expanded() {
    aead.destroy(memory);
    std::free(memory);
  }
  const Aead& aead;
  void* memory;
};

// What a worker lcore does with flows: copies, expanded keys and IVs of its own.
class Sender {
 public:
  Sender(const Aead& aead, FlowTable& table, IvCounter& iv_counter, uint32_t lcore)
      : aead_(aead),
        keys_(aead, kPlaces),
        flows_(kPlaces, iv_counter),
        copies_(table, flows_, keys_, lcore),
        check_(aead) {
    ivs.reserve(1 << 20);
  }

  // Seals one packet of the flow, if it may; it must open under the key of its SPI alone, which is not older
  // than `least`.
  void send(uint32_t n, uint32_t least, uint64_t* sealed) {
    bool renewed;
    const uint32_t place = copies_.find(nth(n), copies_.hash(nth(n)), &renewed);
    if (place != 0) {
      EgressFlow& flow = flows_[place];
      const EgressKey expected = key_of(flow.spi);
      ASSERT_EQ(flow.spi & 255, n);
      ASSERT_GE(generation_of(flow.spi), least);
      ASSERT_EQ(flow.cookie, expected.cookie);
      ASSERT_EQ(flow.version, expected.version);
      ASSERT_EQ(flow.mode, expected.mode);
      ASSERT_EQ(flow.outer_destination, expected.outer_destination);
      const size_t at = keys_.slot_for(place, 0);
      void* key = keys_.find(at, flow.key_tag);
      if (key == nullptr) key = keys_.add(at, flow.key_tag, flows_.key_bytes(place), flow.version);
      const uint64_t iv = flows_.next_iv();
      ASSERT_GE(iv, expected.first_iv);
      if (ivs.size() < kIvsAtMost) ivs.push_back(iv);
      uint8_t nonce[kNonceLength], octets[kOctets] = {1, 2, 3}, tag[kIcvLength];
      store_u32(nonce, flow.spi);
      store_u64(nonce + 4, iv);
      aead_.seal(key, nonce, nonce, sizeof nonce, octets, sizeof octets, tag);
      aead_.expand(check_.memory, expected.key.data(), expected.version);
      ASSERT_TRUE(aead_.open(check_.memory, nonce, nonce, sizeof nonce, octets, sizeof octets, tag));
      ++flow.packets;
      ++*sealed;
    }
    copies_.end_burst();
    Budget all = Budget::unlimited();
    copies_.sweep(++now_ms_, all);
  }

  std::vector<uint64_t> ivs;

 private:
  const Aead& aead_;
  KeyCache keys_;
  FlowRecords flows_;
  FlowCopies copies_;
  uint64_t now_ms_ = 0;
  Expanded check_;
};

// The same for SPIs.
struct Opener {
  Opener(const Aead& aead, ReceiveSpis& table, uint32_t lcore)
      : keys(aead, kPlaces), spis(kPlaces), copies(table, spis, keys, lcore), random(lcore) {}

  enum class Fate { kFound, kNotNow, kMissing };
  Fate look(uint32_t spi) {
    const EgressKey as = key_of(spi);
    bool sure;
    const uint32_t place = copies.find(spi, as.version, copies.hash(spi), &sure);
    if (place != 0) check(place, spi);
    copies.end_burst();
    Budget all = Budget::unlimited();
    copies.sweep(++now_ms, all);
    return place != 0 ? Fate::kFound : sure ? Fate::kMissing : Fate::kNotNow;
  }
  void check(uint32_t place, uint32_t spi) {
    ASSERT_EQ(spis[place].spi, spi);
    ASSERT_EQ(spis[place].cookie, key_of(spi).cookie);
    ASSERT_EQ(spis[place].mode, key_of(spi).mode);
    ASSERT_EQ(spis.flow_of(place).key, nth(spi & 255));
    spis.count(place, 1, 100, 1);
    ++found;
  }

  KeyCache keys;
  SpiRecords spis;
  SpiCopies copies;
  uint64_t now_ms = 0;
  std::mt19937 random;
  uint64_t found = 0;
};

TEST(Churn, NoPacketLeavesUnderAnotherKeyThanItsFlowHasAndNoIvTwice) {
  const auto aead = chosen_aead();
  Counters counters;
  counters.peers = std::vector<PeerCounters>(1);
  IvCounter ivs;
  FlowRecords records(kFlows, ivs);
  FlowTable flows(records, ivs, kFlows, 1, counters, kOthers);
  // How often each flow was keyed or removed, once that is done.
  std::array<std::atomic<uint32_t>, kFlows> generations{};
  std::vector<std::unique_ptr<Sender>> senders;
  std::vector<std::mt19937> randoms;
  std::array<uint64_t, kOthers> sealed{};
  for (uint32_t lcore = 0; lcore < kOthers; ++lcore) {
    senders.push_back(std::make_unique<Sender>(*aead, flows, ivs, lcore));
    randoms.emplace_back(lcore);
  }
  std::mt19937 random(7);
  std::vector<uint64_t> own_ivs;
  uint64_t changes = 0;
  churn(
      [&] {
        const uint32_t n = random() % kFlows;
        const uint32_t number = flows.find(nth(n));
        const uint32_t generation = generations[n].load(std::memory_order_relaxed) + 1;
        switch (number == 0 ? 0 : random() % 4) {
          case 0:
          case 1:
            flows.install(nth(n), 0, key_of(spi_of(n, generation)));
            break;
          case 2:
            flows.remove(number);
            break;
          case 3:
            // Neither the key nor its SPI changes; what is held would leave first.
            flows.set_draining(number, true);
            flows.set_path_mtu(number, 1280, 1);
            flows.set_draining(number, false);
            return;
        }
        generations[n].store(generation, std::memory_order_release);
        if (own_ivs.size() < kIvsAtMost) own_ivs.push_back(records.next_iv());
        if (++changes % 8 == 0) std::this_thread::yield();
      },
      [&](uint32_t lcore) {
        const uint32_t n = randoms[lcore]() % kFlows;
        senders[lcore]->send(n, generations[n].load(std::memory_order_acquire), &sealed[lcore]);
      });

  EXPECT_GT(changes, 100u);
  std::vector<uint64_t> all = own_ivs;
  for (uint32_t lcore = 0; lcore < kOthers; ++lcore) {
    EXPECT_GT(sealed[lcore], 100u);
    all.insert(all.end(), senders[lcore]->ivs.begin(), senders[lcore]->ivs.end());
  }
  std::ranges::sort(all);
  EXPECT_EQ(std::ranges::adjacent_find(all), all.end());
}

TEST(Churn, NoPacketIsOpenedByAnotherSpisRecordAndAMissIsBelievedOnlyWhenItIsOne) {
  const auto aead = chosen_aead();
  Counters counters;
  counters.peers = std::vector<PeerCounters>(1);
  KeyCache keys(*aead, kFlows * 2);
  SpiRecords records(ReceiveSpis::records_for(kFlows));
  ReceiveSpis spis(records, {4, 1000}, 1, keys, counters, kOthers);
  // One is there all the time; the others come and go.
  constexpr uint32_t kStays = 1 << 8;
  const auto admit = [&](uint32_t spi) {
    const EgressKey as = key_of(spi);
    ASSERT_TRUE(spis.admit({nth(spi & 255), spi, as.version, as.cookie, 0, as.mode}, 0, 0));
    const uint32_t number = spis.find(spi, as.version);
    // Seen ones are not evicted.
    if (spi == kStays) spis.mark_seen(number, 0);
    spis.reported(number);
  };
  admit(kStays);
  std::array<std::atomic<uint32_t>, kFlows> current{};
  std::vector<std::unique_ptr<Opener>> openers;
  for (uint32_t lcore = 0; lcore < kOthers; ++lcore) {
    openers.push_back(std::make_unique<Opener>(*aead, spis, lcore));
  }
  std::mt19937 random(7);
  uint64_t now_ms = 2000;
  churn(
      [&] {
        const uint32_t n = 1 + random() % (kFlows - 1);
        const uint32_t generation = generation_of(current[n].load(std::memory_order_relaxed)) + 2;
        if (random() % 2 == 0) spis.remove(nth(n));
        admit(spi_of(n, generation));
        current[n].store(spi_of(n, generation), std::memory_order_release);
        Budget all = Budget::unlimited();
        spis.tick(++now_ms, all);
        std::this_thread::yield();
      },
      [&](uint32_t lcore) {
        Opener& opener = *openers[lcore];
        ASSERT_NE(opener.look(kStays), Opener::Fate::kMissing);
        const uint32_t n = 1 + opener.random() % (kFlows - 1);
        opener.look(current[n].load(std::memory_order_acquire));
      });
  for (const auto& opener : openers) EXPECT_GT(opener->found, 100u);
}

}  // namespace
}  // namespace psp
