// SPDX-License-Identifier: Apache-2.0
// No turn does more than its budget beside its bursts, whatever commands and timers have to do; packets pass
// between the turns of a command, and what comes of it is the same as if it had been carried out at once.
#include "engine/budget.h"

#include <algorithm>

#include "lcores.h"

namespace psp {
namespace {

constexpr uint32_t kMany = 1000;
// The last entry of a turn may cost more than is left: the most that an entry of these tests costs.
constexpr uint64_t kAtMost = Budget::kTurn + Budget::kFlowChange + 8 * Budget::kSpiChange + 64;

FlowKey nth(uint32_t n) {
  return flow("10.1.0." + std::to_string(5 + n % 200),
              "10.2." + std::to_string(n / 200) + "." + std::to_string(1 + n % 200));
}
std::vector<FlowKey> flows(uint32_t count) {
  std::vector<FlowKey> keys;
  for (uint32_t n = 0; n < count; ++n) keys.push_back(nth(n));
  return keys;
}
InstallCommand install_of(uint32_t count) {
  InstallCommand command;
  command.flows = flows(count);
  for (uint32_t n = 0; n < count; ++n) command.keys.push_back(egress_key(1000 + n));
  command.results.resize(count);
  return command;
}
OfferCommand admit_of(uint32_t count, uint32_t first_spi = 1000) {
  std::vector<FlowKey> inbound;
  for (uint32_t n = 0; n < count; ++n) inbound.push_back(nth(n).reversed());
  return offer_of(std::move(inbound), first_spi);
}

class BudgetTest : public testing::Test {
 protected:
  // Turns, as the engine's loop makes them, until the command is carried out. A packet of a keyed flow passes
  // in each. Returns how many.
  template <typename T>
  uint32_t run(T& body, Gateway& on) {
    Command command;
    command.body = std::move(body);
    uint32_t turns = 0;
    for (bool whole = false; !whole; ++turns) {
      on.unsecured.received.push_back(from_host("10.1.0.250", "10.2.9.9", "between"));
      const size_t before = on.secured.sent.size();
      on.turn();
      EXPECT_EQ(on.secured.sent.size(), before + 1);
      whole = carry_out(*on.main, command, on.main->budget);
      EXPECT_LE(on.main->budget.used(), kAtMost);
    }
    body = std::get<T>(std::move(command.body));
    return turns;
  }
  template <typename T>
  uint32_t run(T& body) {
    return run(body, gateway);
  }
  static std::unique_ptr<Gateway> ready() {
    auto made = std::make_unique<Gateway>();
    made->know_next_hop();
    made->install(flow("10.1.0.250", "10.2.9.9"), egress_key(1));
    return made;
  }
  std::vector<FlowRow> listed(Gateway& on) {
    FlowsCommand page;
    page.rows.resize(4096);
    page = on.obey(std::move(page));
    page.rows.resize(page.count);
    return page.rows;
  }
  static bool same(const FlowRow& a, const FlowRow& b) {
    return a.flow == b.flow && a.state == b.state && a.spi == b.spi && a.held == b.held &&
           a.live_spis == b.live_spis;
  }

  std::unique_ptr<Gateway> made_ = ready(), at_once_ = ready();
  Gateway &gateway = *made_, &at_once = *at_once_;
};

TEST_F(BudgetTest, InstallsGoOnTurnByTurnAndAreAnsweredWhole) {
  InstallCommand command = install_of(kMany);
  EXPECT_GE(run(command), kMany * Budget::kFlowChange / Budget::kTurn);
  for (const InstallResult result : command.results) EXPECT_EQ(result, InstallResult::kInstalled);
  at_once.obey(install_of(kMany));
  EXPECT_TRUE(std::ranges::equal(listed(gateway), listed(at_once), same));
}

TEST_F(BudgetTest, RemovalsGoOnTurnByTurn) {
  for (Gateway* on : {&gateway, &at_once}) {
    on->obey(install_of(kMany));
    for (uint32_t i = 0; i < 3; ++i) on->obey(admit_of(kMany, 1000 * (i + 1)));
  }
  RemoveCommand command{flows(kMany)};
  EXPECT_GE(run(command), kMany * (Budget::kFlowChange + 3 * Budget::kSpiChange) / kAtMost);
  at_once.obey(RemoveCommand{flows(kMany)});
  for (Gateway* on : {&gateway, &at_once}) {
    EXPECT_EQ(listed(*on).size(), 1u);
    EXPECT_EQ(on->value(Value::kReceiveSpis), 0u);
    EXPECT_EQ(on->value(Value::kKeyed), 1u);
  }
}

TEST_F(BudgetTest, RefusalsAndTheHeldPacketsThatTheyDropGoOnTurnByTurn) {
  constexpr uint32_t kFlows = 30, kHeld = 60;
  for (uint32_t n = 0; n < kFlows; ++n) {
    for (uint32_t i = 0; i < kHeld; ++i) {
      gateway.unsecured.received.push_back(
          from_host("10.1.0.5", "10.2.1." + std::to_string(1 + n), std::to_string(i)));
    }
  }
  gateway.settle();
  EXPECT_EQ(gateway.value(Value::kHeld), 1024u);  // of one source
  const uint64_t before = gateway.dropped(Drop::kEgressRefused);
  RefuseCommand command;
  for (uint32_t n = 0; n < kFlows; ++n) {
    command.flows.push_back(flow("10.1.0.5", "10.2.1." + std::to_string(1 + n)));
  }
  command.refusal = Refusal::kRefused;
  command.hold_down_ms = 1000;
  EXPECT_GE(run(command), 1024 / kAtMost);
  EXPECT_EQ(gateway.dropped(Drop::kEgressRefused) - before, 1024u);
  EXPECT_EQ(gateway.value(Value::kHeld), 0u);
}

TEST_F(BudgetTest, AdmissionsGoOnTurnByTurnAndWithdrawalsToo) {
  OfferCommand command = admit_of(kMany);
  EXPECT_GE(run(command), kMany * Budget::kSpiChange / kAtMost);
  EXPECT_EQ(command.failure, OfferFailure::kNone);
  EXPECT_EQ(gateway.value(Value::kReceiveSpis), kMany);
  WithdrawCommand withdraw;
  for (uint32_t n = 0; n < kMany; ++n) withdraw.entries.push_back({command.inbound[n], command.spis[n]});
  EXPECT_GE(run(withdraw), kMany * Budget::kSpiChange / kAtMost);
  EXPECT_EQ(gateway.value(Value::kReceiveSpis), 0u);
}

TEST_F(BudgetTest, AnAdmissionWhoseSpaceIsUsedBetweenTurnsIsUndone) {
  EngineConfig config = gateway_config();
  config.max_flows = 500;
  Gateway small(config);
  const uint32_t room = 2 * config.max_flows;
  ASSERT_TRUE(small.admits(admit_of(room)));
  // All of them would give way, as no packet ever used them.
  Command command;
  command.body = admit_of(room, 5000);
  small.turn();
  ASSERT_FALSE(carry_out(*small.main, command, small.main->budget));
  ReceiveSpis& spis = small.main->receive_spis;
  const uint32_t last = spis.find(1000 + room - 1, 0);
  ASSERT_NE(last, 0u);
  spis.mark_seen(last, small.now);
  uint32_t turns = 1;
  for (bool whole = false; !whole; ++turns) {
    small.turn();
    whole = carry_out(*small.main, command, small.main->budget);
    EXPECT_LE(small.main->budget.used(), kAtMost);
  }
  EXPECT_GT(turns, 2 * (room - 1) * Budget::kSpiChange / kAtMost);
  EXPECT_EQ(std::get<OfferCommand>(command.body).failure, OfferFailure::kTableFull);
  for (uint32_t n = 0; n < room; ++n) EXPECT_EQ(spis.find(5000 + n, 0), 0u) << n;
  EXPECT_EQ(spis.find(1000 + room - 1, 0), last);
}

TEST_F(BudgetTest, APageOfASparseTableIsFilledTurnByTurn) {
  gateway.obey(install_of(4000));
  std::vector<FlowKey> most = flows(3990);
  gateway.obey(RemoveCommand{most});
  FlowsCommand page;
  page.rows.resize(100);
  EXPECT_GE(run(page), 4000 / kAtMost);
  EXPECT_EQ(page.count, 11u);
  EXPECT_EQ(page.next_cursor, 0u);
}

TEST_F(BudgetTest, CommandsStayInOrderAndEachIsBegunOnlyOnceTheOneBeforeIsDone) {
  Command first, second;
  first.body = install_of(kMany);
  second.body = RemoveCommand{flows(kMany)};
  Budget some(Budget::kTurn);
  ASSERT_FALSE(carry_out(*gateway.main, first, some));
  EXPECT_TRUE(some.spent());
  EXPECT_FALSE(carry_out(*gateway.main, second, some));
  EXPECT_EQ(second.done, 0u);
}

TEST_F(BudgetTest, DeadSpisOfARotationAreClearedTurnByTurnAndKeepNoCommandWaiting) {
  gateway.obey(admit_of(kMany));
  gateway.rotate(0);
  uint32_t turns = 0;
  for (uint64_t before = kMany; before != 0; ++turns) {
    ASSERT_LT(turns, kMany);
    gateway.turn(turns == 0);
    const uint64_t after = gateway.value(Value::kReceiveSpis);
    EXPECT_LE(before - after, Budget::kTurn / 2 / Budget::kSpiChange + 1);
    // What is left is for commands.
    EXPECT_LE(gateway.main->budget.used(), Budget::kTurn / 2 + Budget::kSpiChange);
    EXPECT_FALSE(gateway.main->budget.spent());
    before = after;
  }
  EXPECT_GE(turns, kMany * Budget::kSpiChange / (Budget::kTurn / 2 + Budget::kSpiChange));
}

TEST_F(BudgetTest, ATurnAfterWhichTimersHaveMoreToDoIsNoIdleOne) {
  gateway.obey(admit_of(kMany));
  gateway.rotate(0);
  uint32_t busy = 0;
  for (gateway.now += 1; run_once(*gateway.main, gateway.now * 1'000'000); ++busy) ASSERT_LT(busy, kMany);
  EXPECT_GT(busy, 10u);
  EXPECT_EQ(gateway.value(Value::kReceiveSpis), 0u);
}

TEST_F(BudgetTest, WhileOneTimerSpendsTheBudgetTheOthersHaveTheirTurn) {
  gateway.obey(admit_of(kMany));
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.1", "wanted"));
  gateway.refuse(nth(0), Refusal::kRefused, 1);
  gateway.rotate(0);
  gateway.turn(5);
  gateway.turn();
  EXPECT_GT(gateway.value(Value::kReceiveSpis), 0u);
  EXPECT_EQ(gateway.main->flow_table.find(nth(0)), 0u);
}

TEST_F(BudgetTest, HeldPacketsDrainTwoBurstsInATurnAndStayInOrder) {
  constexpr uint32_t kFlows = 6, kHeld = 64;
  for (uint32_t i = 0; i < kHeld; ++i) {
    for (uint32_t n = 0; n < kFlows; ++n) {
      gateway.unsecured.received.push_back(
          from_host("10.1.0.5", "10.2.0." + std::to_string(1 + n), std::to_string(i)));
    }
  }
  gateway.settle();
  ASSERT_EQ(gateway.value(Value::kHeld), kFlows * kHeld);
  gateway.secured.sent.clear();
  for (uint32_t n = 0; n < kFlows; ++n) {
    gateway.install(flow("10.1.0.5", "10.2.0." + std::to_string(1 + n)), egress_key(1000 + n));
  }
  std::array<uint32_t, kFlows> next{};
  uint32_t turns = 0;
  for (; gateway.value(Value::kHeld) != 0; ++turns) {
    ASSERT_LT(turns, kFlows * kHeld);
    gateway.turn();
    EXPECT_LE(gateway.secured.sent.size(), 2u * kBurst);
    for (const Frame& frame : std::exchange(gateway.secured.sent, {})) {
      const uint32_t n = spi_of(frame) - 1000;
      ASSERT_LT(n, kFlows);
      EXPECT_EQ(words_of(opened(frame, egress_key(1000 + n))), std::to_string(next[n]++));
    }
  }
  EXPECT_EQ(turns, kFlows * kHeld / (2 * kBurst));
  for (const uint32_t count : next) EXPECT_EQ(count, kHeld);
}

TEST_F(BudgetTest, HeldPacketsWithoutAWayAreDroppedTwoBurstsInATurn) {
  Gateway unreachable;
  constexpr uint32_t kFlows = 6, kHeld = 64;
  for (uint32_t i = 0; i < kFlows * kHeld; ++i) {
    unreachable.unsecured.received.push_back(
        from_host("10.1.0.5", "10.2.0." + std::to_string(1 + i % kFlows), "x"));
  }
  unreachable.settle();
  for (uint32_t n = 0; n < kFlows; ++n) {
    EgressKey key = egress_key(1000 + n);
    key.outer_destination = address("198.51.100.7");  // beyond the prefix, and no gateway is configured
    unreachable.install(flow("10.1.0.5", "10.2.0." + std::to_string(1 + n)), key);
  }
  uint64_t before = 0;
  for (uint32_t turns = 0; unreachable.value(Value::kHeld) != 0; ++turns) {
    ASSERT_LT(turns, kFlows * kHeld);
    unreachable.turn();
    const uint64_t after = unreachable.dropped(Drop::kEgressNoNextHop);
    EXPECT_LE(after - before, 2u * kBurst);
    before = after;
  }
  EXPECT_EQ(before, kFlows * kHeld);
}

TEST(BudgetOfAWorkerLcore, CopiesThatEndedAreWipedTurnByTurn) {
  constexpr uint32_t kFlows = 400;
  TwoLcores gateway;
  gateway.know_next_hop();
  gateway.obey(install_of(kFlows));
  gateway.settle_both();
  for (uint32_t n = 0; n < kFlows; ++n) {
    gateway.host_sends_to_worker(
        from_host("10.1.0." + std::to_string(5 + n % 200),
                  "10.2." + std::to_string(n / 200) + "." + std::to_string(1 + n % 200), "copied"));
  }
  gateway.obey(RemoveCommand{flows(kFlows)});
  gateway.now += 1;
  uint32_t turns = 1;
  for (; run_once(*gateway.worker, gateway.now * 1'000'000); ++turns) {
    ASSERT_LT(turns, kFlows);
    EXPECT_LE(gateway.worker->budget.used(), Budget::kTurn / 2 + 16 * (1 + Budget::kCopyChange));
  }
  EXPECT_GE(turns, kFlows * Budget::kCopyChange / (Budget::kTurn / 2 + 16 * (1 + Budget::kCopyChange)));
  EXPECT_FALSE(gateway.worker->flow_copies.sweeping());
}

}  // namespace
}  // namespace psp
