// SPDX-License-Identifier: Apache-2.0
// Egress keys that have sealed so many packets that they must be replaced, with limits far below the real
// one.
#include "engine/software/tables/key_wear.h"

#include <gtest/gtest.h>

#include "gateway.h"
#include "lcores.h"
#include "psp/key_limit.h"

namespace psp {
namespace {

const FlowKey kFlow = flow("10.1.0.5", "10.2.0.7");
const FlowKey kOther = flow("10.1.0.6", "10.2.0.7");
constexpr uint64_t kMost = 64;

EngineConfig small() {
  EngineConfig config = gateway_config();
  config.most_sealed_per_key = kMost;
  return config;
}

struct KeyWearTest : testing::Test {
  Gateway gateway{small()};
  KeyWearTest() { gateway.know_next_hop(); }

  void send(uint64_t packets, const char* source = "10.1.0.5") {
    for (uint64_t i = 0; i < packets; ++i) gateway.host_sends(from_host(source, "10.2.0.7", "x"));
    gateway.pass(1);
  }
};

TEST(KeyWear, IsTheLimitOfTheSpecificationByDefault) {
  EXPECT_EQ(EngineConfig{}.most_sealed_per_key, uint64_t{1} << 32);
  const KeyWear wear(kMostSealedPerKey);
  EXPECT_EQ(wear.judge((uint64_t{1} << 31) - 1), KeyWear::Verdict::kFresh);
  EXPECT_EQ(wear.judge(uint64_t{1} << 31), KeyWear::Verdict::kReplace);
  EXPECT_EQ(wear.judge((uint64_t{3} << 30) - 1), KeyWear::Verdict::kReplace);
  EXPECT_EQ(wear.judge(uint64_t{3} << 30), KeyWear::Verdict::kStop);
}

TEST(KeyWear, VisitsEveryRecordOnceForEachEighthOfTheLimit) {
  KeyWear wear(80);
  wear.begin_when_due(9);
  EXPECT_FALSE(wear.in_round());
  wear.begin_when_due(10);
  for (uint32_t n = 1; n <= 3; ++n) EXPECT_EQ(wear.next(3), n);
  EXPECT_FALSE(wear.in_round());
  wear.begin_when_due(19);
  EXPECT_FALSE(wear.in_round());
  wear.begin_when_due(20);
  EXPECT_EQ(wear.next(0), 0u);
  EXPECT_FALSE(wear.in_round());
}

TEST_F(KeyWearTest, IsReportedOnceAtHalfOfTheLimitWhileTheKeyStaysInUse) {
  gateway.install(kFlow, egress_key(5));
  send(31);
  EXPECT_TRUE(gateway.worn().empty());
  send(8);
  const auto worn = gateway.worn();
  ASSERT_EQ(worn.size(), 1u);
  EXPECT_EQ(worn[0].flow, kFlow);
  EXPECT_EQ(worn[0].peer, 0);
  EXPECT_FALSE(worn[0].stopped);
  send(8);
  EXPECT_TRUE(gateway.worn().empty());
  EXPECT_EQ(gateway.secured.sent.size(), 47u);
  gateway.expect_conservation();
}

TEST_F(KeyWearTest, NeverExceedsTheLimitAndDropsPacketsUntilANewerKeyArrives) {
  gateway.install(kFlow, egress_key(5));
  send(31);
  for (int i = 0; i < 60; ++i) send(1);
  EXPECT_LE(gateway.secured.sent.size(), kMost);
  EXPECT_EQ(gateway.dropped(Drop::kEgressKeyWorn), 91 - gateway.secured.sent.size());
  const auto worn = gateway.worn();
  ASSERT_EQ(worn.size(), 2u);
  EXPECT_TRUE(worn[1].stopped);
  EXPECT_EQ(gateway.value(Value::kKeyed), 0u);
  EXPECT_EQ(gateway.value(Value::kHeld), 0u);
  gateway.secured.sent.clear();
  gateway.install(kFlow, egress_key(6));
  send(1);
  ASSERT_EQ(gateway.secured.sent.size(), 1u);
  EXPECT_EQ(spi_of(gateway.secured.sent[0]), 6u);
  gateway.expect_conservation();
}

TEST_F(KeyWearTest, BeginsAnewWithEachKeyAndNotWithTheSameKeyAgain) {
  gateway.install(kFlow, egress_key(5));
  send(30);
  gateway.install(kFlow, egress_key(5));
  send(10);
  EXPECT_EQ(gateway.worn().size(), 1u);
  gateway.install(kFlow, egress_key(6, 9));
  send(30);
  EXPECT_TRUE(gateway.worn().empty());
  send(10);
  EXPECT_EQ(gateway.worn().size(), 1u);
}

TEST_F(KeyWearTest, IsOfEachKeyAlone) {
  gateway.install(kFlow, egress_key(5));
  gateway.install(kOther, egress_key(6));
  send(20);
  send(20, "10.1.0.6");
  EXPECT_TRUE(gateway.worn().empty());
  send(20, "10.1.0.6");
  const auto worn = gateway.worn();
  ASSERT_EQ(worn.size(), 1u);
  EXPECT_EQ(worn[0].flow, kOther);
}

TEST(KeyWear, CountsWhatAllLcoresHaveSealed) {
  TwoLcores gateway(small());
  gateway.know_next_hop();
  gateway.install(kFlow, egress_key(5));
  for (int i = 0; i < 20; ++i) gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "x"));
  gateway.pass(1);
  for (int i = 0; i < 20; ++i) gateway.host_sends_to_worker(from_host("10.1.0.5", "10.2.0.7", "x"));
  gateway.settle_both();
  EXPECT_EQ(gateway.worker_counters[Value::kTxPackets].value(), 20u);
  gateway.pass(1);
  const auto worn = gateway.worn();
  ASSERT_EQ(worn.size(), 1u);
  EXPECT_FALSE(worn[0].stopped);
  for (int i = 0; i < 40; ++i) {
    gateway.host_sends_to_worker(from_host("10.1.0.5", "10.2.0.7", "x"));
    gateway.settle_both();
    gateway.pass(1);
  }
  EXPECT_EQ(gateway.worn().size(), 1u);
  EXPECT_LE(gateway.secured.sent.size() + gateway.wire_queue.sent.size(), kMost);
  EXPECT_GT(gateway.dropped(Drop::kEgressKeyWorn), 0u);
}

}  // namespace
}  // namespace psp
