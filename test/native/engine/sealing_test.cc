// SPDX-License-Identifier: Apache-2.0
// The bounds of the batch that waits for the AEAD.
#include "engine/software/pipes/sealing.h"

#include <gtest/gtest.h>

namespace psp {
namespace {

void fill(Sealing& sealing) {
  while (!sealing.full()) {
    sealing.begin_run({static_cast<uint8_t>(sealing.count)});
    sealing.next_job();
    sealing.add(nullptr);
  }
}

TEST(Sealing, TakesAsManyRunsAsPackets) {
  Sealing sealing;
  fill(sealing);
  EXPECT_EQ(sealing.count, kBurst);
  EXPECT_EQ(sealing.run_count, kBurst);
  sealing.clear();
  EXPECT_FALSE(sealing.full());
}

TEST(Sealing, OnePacketTooManyEndsTheProcessInEveryBuild) {
  Sealing sealing;
  fill(sealing);
  EXPECT_DEATH(sealing.next_job(), "");
  EXPECT_DEATH(sealing.add(nullptr), "");
  EXPECT_DEATH(sealing.begin_run({255}), "");
}

}  // namespace
}  // namespace psp
