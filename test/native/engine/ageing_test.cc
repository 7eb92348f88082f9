// SPDX-License-Identifier: Apache-2.0
// Egress flows and receive SPIs that end because no packet uses them, in an order that loses no packet: the
// sender ends its flow before the receiver ends the SPI.
#include "engine/software/lcore/ageing_rounds.h"

#include <gtest/gtest.h>

#include "gateway.h"
#include "lcores.h"

namespace psp {
namespace {

const FlowKey kFlow = flow("10.1.0.5", "10.2.0.7");
const FlowKey kOther = flow("10.1.0.6", "10.2.0.7");
const FlowKey kInbound = kFlow.reversed();
constexpr uint32_t kIdleMs = 1000, kUnusedMs = 2000;

EngineConfig ageing() {
  EngineConfig config = gateway_config();
  config.unused_spi_ms = kUnusedMs;
  return config;
}

EgressKey idle_key(uint32_t spi, uint32_t idle_ms = kIdleMs) {
  EgressKey key = egress_key(spi);
  key.idle_ms = idle_ms;
  return key;
}

template <typename G>
std::vector<AgedEvent> aged(G& gateway) {
  std::vector<AgedEvent> result;
  for (Event event; gateway.events.pop(&event);) {
    if (const auto* one = std::get_if<AgedEvent>(&event)) result.push_back(*one);
  }
  return result;
}

struct AgeingTest : testing::Test {
  Gateway gateway{ageing()};
  AgeingTest() { gateway.know_next_hop(); }

  void pass(uint64_t ms) {
    for (uint64_t i = 0; i < ms; i += 5) gateway.pass(5);
  }
  void send(const char* source = "10.1.0.5") { gateway.host_sends(from_host(source, "10.2.0.7", "x")); }
  void receive(uint32_t spi, uint64_t iv) {
    gateway.wire_sends(sealed(
        key_of(spi, 0), ip_packet(kInbound.source, kInbound.destination, kProtocolUdp, {1, 2, 3, 4}), iv));
  }
  // The peer offers a key, and says whether it keeps time.
  void install_from_peer(const EgressKey& key, bool keeps_time, const FlowKey& flow = kOther) {
    InstallCommand command;
    command.flows = {flow};
    command.keys.push_back(key);
    command.results.resize(1);
    command.keeps_time = keeps_time;
    gateway.obey(std::move(command));
  }
};

TEST(AgeingRounds, VisitEveryRecordOnceInEachEighthOfTheShortestTime) {
  AgeingRounds rounds;
  rounds.begin_when_due(99, 800);
  EXPECT_FALSE(rounds.in_round());
  EXPECT_EQ(rounds.due_in_ms(40, 800), 60u);
  rounds.begin_when_due(100, 800);
  EXPECT_EQ(rounds.due_in_ms(100, 800), 1u);
  for (uint32_t n = 1; n <= 3; ++n) EXPECT_EQ(rounds.next(3), n);
  EXPECT_FALSE(rounds.in_round());
  rounds.begin_when_due(199, 800);
  EXPECT_FALSE(rounds.in_round());
  rounds.begin_when_due(200, 800);
  EXPECT_EQ(rounds.next(0), 0u);
  EXPECT_FALSE(rounds.in_round());
}

TEST(AgeingRounds, NeverBeginWhereNothingAges) {
  AgeingRounds rounds;
  rounds.begin_when_due(1'000'000, 0);
  EXPECT_FALSE(rounds.in_round());
  EXPECT_EQ(rounds.due_in_ms(1'000'000, 0), UINT32_MAX);
}

TEST_F(AgeingTest, AFlowEndsAfterItsIdleTimeAndItsNextPacketIsHeldForANewKey) {
  gateway.install(kFlow, idle_key(5));
  send();
  pass(kIdleMs - 10);
  EXPECT_TRUE(aged(gateway).empty());
  EXPECT_EQ(gateway.value(Value::kKeyed), 1u);
  pass(kIdleMs / 4 + 20);
  const auto events = aged(gateway);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].flow, kFlow);
  EXPECT_EQ(events[0].spi, 5u);
  EXPECT_EQ(events[0].peer, 0);
  EXPECT_TRUE(events[0].egress);
  EXPECT_EQ(gateway.value(Value::kKeyed), 0u);
  EXPECT_EQ(gateway.value(Value::kFlowsAged), 1u);
  send();
  EXPECT_EQ(gateway.missed().size(), 1u);
  EXPECT_EQ(gateway.value(Value::kHeld), 1u);
  gateway.expect_conservation();
}

TEST_F(AgeingTest, AFlowWithoutAnyPacketEndsAlsoWhenItsRecordServedAnotherBefore) {
  for (uint32_t spi = 5; spi < 8; ++spi) {
    gateway.install(kFlow, idle_key(spi));
    pass(kIdleMs - 10);
    EXPECT_EQ(gateway.value(Value::kKeyed), 1u);
    pass(kIdleMs / 4 + 20);
    ASSERT_EQ(aged(gateway).size(), 1u);
  }
}

TEST_F(AgeingTest, AFlowWithPacketsNeverEnds) {
  gateway.install(kFlow, idle_key(5));
  for (int i = 0; i < 20; ++i) {
    send();
    pass(kIdleMs / 2);
  }
  EXPECT_TRUE(aged(gateway).empty());
  EXPECT_EQ(gateway.value(Value::kTxPackets), 20u);
}

TEST_F(AgeingTest, AKeyWithoutAnIdleTimeNeverEndsBesideOneThatDoes) {
  gateway.install(kFlow, idle_key(5, 0));
  gateway.install(kOther, idle_key(6));
  pass(10 * kIdleMs);
  const auto events = aged(gateway);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].flow, kOther);
}

TEST_F(AgeingTest, ANewerKeyDoesNotMakeAnIdleFlowYounger) {
  gateway.install(kFlow, idle_key(5));
  pass(kIdleMs - 200);
  gateway.install(kFlow, idle_key(6));
  pass(kIdleMs / 4 + 220);
  const auto events = aged(gateway);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].spi, 6u);
}

TEST_F(AgeingTest, AnSpiThatIsNotUsedEndsLaterThanTheSendersFlow) {
  install_from_peer(idle_key(5), true, kFlow);
  ASSERT_TRUE(gateway.admit(kInbound, 17));
  receive(17, 1);
  const uint64_t start = gateway.now;
  pass(kIdleMs + kIdleMs / 4 + 20);
  const auto flows = aged(gateway);
  ASSERT_EQ(flows.size(), 1u);
  EXPECT_TRUE(flows[0].egress);
  pass(start + kUnusedMs - 10 - gateway.now);
  EXPECT_TRUE(aged(gateway).empty());
  receive(17, 2);
  EXPECT_EQ(gateway.value(Value::kForwardedIngress) + gateway.value(Value::kNeighbourQueued), 2u);
  pass(kUnusedMs - 10);
  EXPECT_TRUE(aged(gateway).empty());
  pass(kUnusedMs / 4 + 20);
  const auto spis = aged(gateway);
  ASSERT_EQ(spis.size(), 1u);
  EXPECT_FALSE(spis[0].egress);
  EXPECT_EQ(spis[0].flow, kInbound);
  EXPECT_EQ(spis[0].spi, 17u);
  EXPECT_EQ(gateway.value(Value::kReceiveSpis), 0u);
  EXPECT_EQ(gateway.value(Value::kInboundFlows), 0u);
  EXPECT_EQ(gateway.value(Value::kSpisAged), 1u);
}

TEST_F(AgeingTest, AnSpiThatWasNeverUsedAgesFromItsAdmission) {
  install_from_peer(idle_key(5, 0), true);
  pass(5 * kUnusedMs);
  ASSERT_TRUE(gateway.admit(kInbound, 17));
  pass(kUnusedMs - 10);
  EXPECT_TRUE(aged(gateway).empty());
  pass(kUnusedMs / 4 + 20);
  EXPECT_EQ(aged(gateway).size(), 1u);
}

TEST_F(AgeingTest, AnSpiOfAPeerThatDoesNotKeepTimeNeverEnds) {
  ASSERT_TRUE(gateway.admit(kInbound, 17));
  pass(5 * kUnusedMs);
  install_from_peer(idle_key(5, 0), false);
  pass(5 * kUnusedMs);
  EXPECT_TRUE(aged(gateway).empty());
  EXPECT_EQ(gateway.value(Value::kReceiveSpis), 1u);
  install_from_peer(idle_key(6, 0), true);
  pass(kUnusedMs / 4 + 20);
  EXPECT_EQ(aged(gateway).size(), 1u);
}

TEST_F(AgeingTest, AForgedPacketDoesNotKeepAnSpi) {
  install_from_peer(idle_key(5, 0), true);
  ASSERT_TRUE(gateway.admit(kInbound, 17));
  for (uint32_t ms = 0; ms < kUnusedMs + kUnusedMs / 4 + 20; ms += 100) {
    Frame forged = sealed(key_of(17, 0), ip_packet(kInbound.source, kInbound.destination, kProtocolUdp, {1}));
    forged.back() ^= 1;
    gateway.wire_sends(forged);
    pass(100);
  }
  EXPECT_EQ(aged(gateway).size(), 1u);
}

TEST(Ageing, NothingEndsWhileTheRingOfEventsIsFull) {
  Gateway gateway(ageing(), 1500, 1600, 2);
  gateway.know_next_hop();
  for (uint8_t i = 0; i < 8; ++i)
    gateway.install(flow("10.1.0.5", "10.2.0." + std::to_string(i)), idle_key(5 + i));
  const auto pass = [&] {
    for (uint32_t ms = 0; ms < 2 * kIdleMs; ms += 5) gateway.pass(5);
  };
  pass();
  const uint64_t ended = gateway.value(Value::kFlowsAged);
  EXPECT_LT(ended, 8u);
  EXPECT_EQ(gateway.value(Value::kKeyed), 8u - ended);
  size_t events = 0;
  for (int i = 0; i < 8; ++i) {
    events += aged(gateway).size();
    pass();
  }
  EXPECT_EQ(events + aged(gateway).size(), 8u);
  EXPECT_EQ(gateway.value(Value::kKeyed), 0u);
}

TEST(Ageing, PacketsOfEveryLcoreCount) {
  TwoLcores gateway(ageing());
  gateway.know_next_hop();
  InstallCommand command;
  command.flows = {kFlow};
  command.keys.push_back(idle_key(5));
  command.results.resize(1);
  command.keeps_time = true;
  gateway.obey(std::move(command));
  ASSERT_TRUE(gateway.admit(kInbound, 17));
  const Frame inner = ip_packet(kInbound.source, kInbound.destination, kProtocolUdp, {1, 2, 3, 4});
  gateway.wire_sends(sealed(key_of(17, 0), inner));
  gateway.seen();
  for (int i = 0; i < 10; ++i) {
    gateway.host_sends_to_worker(from_host("10.1.0.5", "10.2.0.7", "x"));
    gateway.wire_sends_to_worker(sealed(key_of(17, 0), inner, 2 + i));
    gateway.settle_both();
    for (uint32_t ms = 0; ms < kIdleMs - 100; ms += 5) gateway.pass(5);
    EXPECT_TRUE(aged(gateway).empty());
  }
  EXPECT_EQ(gateway.worker_counters[Value::kTxPackets].value(), 10u);
  for (uint32_t ms = 0; ms < kUnusedMs + kUnusedMs / 4 + 20; ms += 5) gateway.pass(5);
  const auto events = aged(gateway);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_TRUE(events[0].egress);
  EXPECT_FALSE(events[1].egress);
  // The worker lcore does not use its copy any more.
  gateway.host_sends_to_worker(from_host("10.1.0.5", "10.2.0.7", "x"));
  gateway.settle_both();
  EXPECT_EQ(gateway.worker_counters[Value::kTxPackets].value(), 10u);
  EXPECT_EQ(gateway.missed().size(), 1u);
}

}  // namespace
}  // namespace psp
