// SPDX-License-Identifier: Apache-2.0
// The bounds of the batch that waits for the AEAD, and the order of the frames that leave.
#include "engine/software/lcore/sealing.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "engine/neighbours/outgoing.h"

namespace psp {
namespace {

void fill(Sealing& sealing) {
  while (!sealing.full()) {
    sealing.next_job();
    sealing.add();
  }
}

TEST(Sealing, TakesABurst) {
  Sealing sealing;
  fill(sealing);
  EXPECT_EQ(sealing.count, kBurst);
  sealing.clear();
  EXPECT_FALSE(sealing.full());
}

TEST(Sealing, OnePacketTooManyEndsTheProcessInEveryBuild) {
  Sealing sealing;
  fill(sealing);
  EXPECT_DEATH(sealing.next_job(), "");
  EXPECT_DEATH(sealing.add(), "");
}

// Frames that are never read.
rte_mbuf* nth(uintptr_t n) {
  return reinterpret_cast<rte_mbuf*>(n);
}

struct TakenRun {
  uint8_t neighbour;
  std::vector<rte_mbuf*> frames;
  bool operator==(const TakenRun&) const = default;
};

std::vector<TakenRun> taken(Outgoing& outgoing) {
  std::vector<TakenRun> runs;
  outgoing.take_runs([&](const Address& neighbour, rte_mbuf* const* frames, uint32_t count) {
    runs.push_back({neighbour[0], {frames, frames + count}});
  });
  return runs;
}

TEST(Outgoing, GivesFramesInOrderInRunsForOneNeighbour) {
  Outgoing outgoing;
  outgoing.add({1}, nth(1));
  outgoing.add({1}, nth(2));
  outgoing.add({2}, nth(3));
  outgoing.begin_run({3});  // a run may stay empty
  outgoing.add({1}, nth(4));
  outgoing.begin_run({1});
  outgoing.append(nth(5));
  const std::vector<TakenRun> expected = {{1, {nth(1), nth(2)}}, {2, {nth(3)}}, {1, {nth(4), nth(5)}}};
  EXPECT_EQ(taken(outgoing), expected);
  EXPECT_TRUE(outgoing.empty());
  EXPECT_TRUE(taken(outgoing).empty());
}

TEST(Outgoing, TakesAllThatABurstCanBecome) {
  auto outgoing = std::make_unique<Outgoing>();
  for (uint32_t n = 0; n < kBurst * (kFragmentsAtMost + 1); ++n) {
    outgoing->add({static_cast<uint8_t>(n / (kFragmentsAtMost + 1))}, nth(n + 1));
  }
  EXPECT_DEATH(outgoing->append(nth(1)), "");
  EXPECT_EQ(taken(*outgoing).size(), size_t{kBurst});
}

}  // namespace
}  // namespace psp
