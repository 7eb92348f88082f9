// SPDX-License-Identifier: Apache-2.0
// Host to wire: hold, install, drain, refuse, and every bound on the way.
#include "engine/software/pipes/egress/egress.h"

#include "gateway.h"

namespace psp {
namespace {

const FlowKey kFlow = flow("10.1.0.5", "10.2.0.7");

std::vector<std::string> words_on_wire(Gateway& gateway, const EgressKey& key) {
  std::vector<std::string> words;
  for (const Frame& frame : gateway.secured.sent) words.push_back(words_of(opened(frame, key)));
  return words;
}

TEST(Egress, HoldsTheFirstPacketReportsOnceAndSendsItSealedOnceInstalled) {
  Gateway gateway;
  gateway.know_next_hop();
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "first"));
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "second"));
  EXPECT_TRUE(gateway.secured.sent.empty());
  const auto missed = gateway.missed();
  ASSERT_EQ(missed.size(), 1u);
  EXPECT_EQ(missed[0].flow, kFlow);
  EXPECT_EQ(missed[0].peer, 0);

  EXPECT_EQ(gateway.install(kFlow, egress_key(5)), InstallResult::kInstalled);
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "third"));
  EXPECT_EQ(words_on_wire(gateway, egress_key(5)), (std::vector<std::string>{"first", "second", "third"}));
  EXPECT_EQ(spi_of(gateway.secured.sent[0]), 5u);
  EXPECT_EQ(iv_of(gateway.secured.sent[0]), uint64_t{1000} << 32);
  EXPECT_EQ(iv_of(gateway.secured.sent[2]), (uint64_t{1000} << 32) + 2);
  gateway.expect_conservation();
}

TEST(Egress, PacketsOfSeveralFlowsInOneBurstTakeEachTheirOwnWay) {
  Gateway gateway;
  gateway.know_next_hop();
  const FlowKey unkeyed = flow("10.1.0.5", "10.2.0.8");
  gateway.install(kFlow, egress_key(5));
  const auto arrives = [&](const char* destination, const char* words) {
    gateway.unsecured.received.push_back(from_host("10.1.0.5", destination, words));
  };
  for (const char* words : {"a", "b", "c"}) arrives("10.2.0.8", words);
  for (const char* words : {"1", "2"}) arrives("10.2.0.7", words);
  for (const char* words : {"d", "e"}) arrives("10.2.0.8", words);
  for (const char* words : {"3", "4", "5"}) arrives("10.2.0.7", words);
  gateway.turn();
  EXPECT_TRUE(gateway.unsecured.received.empty());
  EXPECT_EQ(words_on_wire(gateway, egress_key(5)), (std::vector<std::string>{"1", "2", "3", "4", "5"}));
  EXPECT_EQ(gateway.value(Value::kHeld), 5u);
  gateway.secured.sent.clear();
  gateway.install(unkeyed, egress_key(6));
  gateway.turn();
  EXPECT_EQ(words_on_wire(gateway, egress_key(6)), (std::vector<std::string>{"a", "b", "c", "d", "e"}));
  gateway.expect_conservation();
}

TEST(Egress, PacketsThatArriveWhileAFullPortDrainsJoinTheQueue) {
  Gateway gateway;
  gateway.know_next_hop();
  for (int i = 0; i < 40; ++i) gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", std::to_string(i)));
  // Fill the queue of the port with another flow, so that the drain stops midway.
  gateway.install(flow("10.1.0.6", "10.2.0.7"), egress_key(6));
  gateway.secured.takes = 0;
  for (uint32_t i = 0; i < TxQueue::kCapacity - 10; ++i) {
    gateway.host_sends(from_host("10.1.0.6", "10.2.0.7", "other"));
  }
  gateway.install(kFlow, egress_key(5));
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "40"));
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "41"));
  EXPECT_EQ(gateway.value(Value::kHeld), 32u);
  gateway.secured.takes = 300;
  for (int i = 0; i < 4; ++i) gateway.turn(1);
  gateway.secured.takes = UINT64_MAX;
  for (int i = 0; i < 4; ++i) gateway.turn(1);

  std::vector<std::string> words;
  for (const Frame& frame : gateway.secured.sent) {
    if (spi_of(frame) == 5) words.push_back(words_of(opened(frame, egress_key(5))));
  }
  ASSERT_EQ(words.size(), 42u);
  for (int i = 0; i < 42; ++i) EXPECT_EQ(words[i], std::to_string(i));
  EXPECT_EQ(gateway.dropped(Drop::kEgressTxFull), 0u);
  gateway.expect_conservation();
}

TEST(Egress, ADrainThatFillsThePortsQueueLeavesSpaceForArrivingPackets) {
  EngineConfig config = gateway_config();
  config.held_per_flow = TxQueue::kCapacity + 50;
  Gateway gateway(config);
  gateway.know_next_hop();
  for (uint32_t i = 0; i < TxQueue::kCapacity + 50; ++i) {
    gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "held"));
  }
  gateway.install(flow("10.1.0.6", "10.2.0.7"), egress_key(6));
  gateway.unsecured.received.assign(2 * kBurst, from_host("10.1.0.6", "10.2.0.7", "other"));
  gateway.install(kFlow, egress_key(5));
  gateway.pass(0);
  EXPECT_EQ(gateway.dropped(Drop::kEgressTxFull), 0u);
  EXPECT_EQ(gateway.secured.sent.size(), TxQueue::kCapacity + 50 + 2 * kBurst);
  gateway.expect_conservation();
}

TEST(Egress, APortThatTakesNothingDropsTxFullBeyondItsQueue) {
  Gateway gateway;
  gateway.know_next_hop();
  gateway.install(kFlow, egress_key(5));
  gateway.secured.takes = 0;
  for (uint32_t i = 0; i < TxQueue::kCapacity + 3; ++i) {
    gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "x"));
  }
  EXPECT_EQ(gateway.dropped(Drop::kEgressTxFull), 3u);
  gateway.expect_conservation();
}

TEST(Egress, HoldsNoMoreOfOneFlowThanItsBoundOldestGoFirst) {
  EngineConfig config = gateway_config();
  config.held_per_flow = 4;
  Gateway gateway(config);
  gateway.know_next_hop();
  for (int i = 0; i < 7; ++i) gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", std::to_string(i)));
  EXPECT_EQ(gateway.dropped(Drop::kEgressHeldOverflowFlow), 3u);
  gateway.install(kFlow, egress_key(5));
  gateway.turn();
  EXPECT_EQ(words_on_wire(gateway, egress_key(5)), (std::vector<std::string>{"3", "4", "5", "6"}));
  gateway.expect_conservation();
}

TEST(Egress, HoldsNoMoreOfOneSourceThanItsBoundOldestGoFirst) {
  EngineConfig config = gateway_config();
  config.held_per_source = 3;
  Gateway gateway(config);
  gateway.know_next_hop();
  for (int i = 1; i <= 5; ++i) {
    gateway.host_sends(from_host("10.1.0.5", "10.2.0." + std::to_string(i), std::to_string(i)));
  }
  gateway.host_sends(from_host("10.1.0.6", "10.2.0.1", "another source"));
  EXPECT_EQ(gateway.dropped(Drop::kEgressHeldOverflowSource), 2u);
  EXPECT_EQ(gateway.value(Value::kHeld), 4u);
  for (int i = 1; i <= 5; ++i) {
    gateway.install(flow("10.1.0.5", "10.2.0." + std::to_string(i)), egress_key(5));
  }
  gateway.turn();
  EXPECT_EQ(words_on_wire(gateway, egress_key(5)), (std::vector<std::string>{"3", "4", "5"}));
  gateway.expect_conservation();
}

TEST(Egress, HoldsNoMoreInTotalThanItsBoundOldestGoFirst) {
  EngineConfig config = gateway_config();
  config.held_total = 3;
  Gateway gateway(config);
  gateway.know_next_hop();
  for (int i = 1; i <= 5; ++i) {
    gateway.host_sends(from_host("10.1.0." + std::to_string(10 + i), "10.2.0.7", std::to_string(i)));
  }
  EXPECT_EQ(gateway.dropped(Drop::kEgressHeldOverflowTotal), 2u);
  for (int i = 1; i <= 5; ++i) {
    gateway.install(flow("10.1.0." + std::to_string(10 + i), "10.2.0.7"), egress_key(5));
  }
  gateway.turn();
  EXPECT_EQ(words_on_wire(gateway, egress_key(5)), (std::vector<std::string>{"3", "4", "5"}));
  gateway.expect_conservation();
}

TEST(Egress, RepeatsAMissThatAFullRingDidNotTake) {
  Gateway gateway(gateway_config(), 1500, 1600, 2);
  for (int i = 1; i <= 5; ++i) {
    gateway.host_sends(from_host("10.1.0.5", "10.2.0." + std::to_string(i), "x"));
  }
  EXPECT_EQ(gateway.value(Value::kMissesWaiting), 3u);
  EXPECT_GT(gateway.value(Value::kEventsDelayed), 0u);
  EXPECT_EQ(gateway.missed().size(), 2u);
  gateway.turn(1);
  EXPECT_EQ(gateway.missed().size(), 2u);
  gateway.turn(1);
  const auto last = gateway.missed();
  ASSERT_EQ(last.size(), 1u);
  EXPECT_EQ(last[0].flow.destination, address("10.2.0.5"));
  gateway.turn(1);
  EXPECT_TRUE(gateway.missed().empty());
  EXPECT_EQ(gateway.value(Value::kMissEvents), 5u);
  EXPECT_EQ(gateway.value(Value::kMissesWaiting), 0u);
  EXPECT_EQ(gateway.value(Value::kEventsLost), 0u);
}

TEST(Egress, InstallingTheSameKeyTwiceKeepsItsIv) {
  Gateway gateway;
  gateway.know_next_hop();
  gateway.install(kFlow, egress_key(5));
  for (int i = 0; i < 3; ++i) gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "x"));
  gateway.install(kFlow, egress_key(5));
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "x"));
  EXPECT_EQ(iv_of(gateway.secured.sent.back()), (uint64_t{1000} << 32) + 3);
}

TEST(Egress, AnIvNeverRepeatsWhenAKeyComesBackAfterAnotherOrAfterRemoval) {
  Gateway gateway;
  gateway.know_next_hop();
  std::vector<uint64_t> ivs;
  const auto send = [&] {
    gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "x"));
    ivs.push_back(iv_of(gateway.secured.sent.back()));
  };
  gateway.install(kFlow, egress_key(5, 1));
  send();
  gateway.install(kFlow, egress_key(6, 2));
  send();
  gateway.install(kFlow, egress_key(5, 1));
  send();
  gateway.obey(RemoveCommand{{kFlow}});
  gateway.install(kFlow, egress_key(5, 1));
  send();
  gateway.install(kFlow, egress_key(5, 1, uint64_t{900} << 32));
  send();
  for (size_t i = 1; i < ivs.size(); ++i) EXPECT_GT(ivs[i], ivs[i - 1]);
}

TEST(Egress, ANewKeyIsUsedFromItsInstallOn) {
  Gateway gateway;
  gateway.know_next_hop();
  gateway.install(kFlow, egress_key(5, 1));
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "old"));
  const uint32_t number = gateway.main->flow_table.find(kFlow);
  const uint64_t old_tag = gateway.main->flows[number].key_tag;
  EXPECT_NE(gateway.main->egress_keys.find(gateway.main->egress_keys.slot_for(number, 0), old_tag), nullptr);
  EgressKey wide = egress_key(6, 2);
  wide.version = 1;
  gateway.install(kFlow, wide);
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "new"));
  EXPECT_EQ(words_of(opened(gateway.secured.sent[0], egress_key(5, 1))), "old");
  EXPECT_EQ(words_of(opened(gateway.secured.sent[1], wide)), "new");
  EXPECT_EQ(gateway.main->egress_keys.find(gateway.main->egress_keys.slot_for(number, 0), old_tag), nullptr);
}

// More flows than there are places for few keys: the first and the last of them share one.
TEST(Egress, FlowsWhoseKeysShareASlotAreEachSealedUnderTheirOwnInOneBurst) {
  constexpr uint32_t kLast = KeyCache::kFirstTier;
  Gateway gateway;
  gateway.know_next_hop();
  const auto nth = [](uint32_t n) {
    return "10.2." + std::to_string(n >> 8) + "." + std::to_string(n & 255);
  };
  for (uint32_t n = 0; n <= kLast; ++n) {
    gateway.install(flow("10.1.0.5", nth(n)), egress_key(n + 1, static_cast<uint8_t>(n == 0 ? 1 : 2)));
  }
  for (int i = 0; i < 8; ++i) {
    gateway.unsecured.received.push_back(
        from_host("10.1.0.5", nth(i % 2 == 0 ? 0 : kLast), std::to_string(i)));
  }
  gateway.settle();
  ASSERT_EQ(gateway.secured.sent.size(), 8u);
  for (int i = 0; i < 8; ++i) {
    const EgressKey key = i % 2 == 0 ? egress_key(1, 1) : egress_key(kLast + 1, 2);
    EXPECT_EQ(words_of(opened(gateway.secured.sent[static_cast<size_t>(i)], key)), std::to_string(i));
  }
  gateway.expect_conservation();
}

TEST(Egress, ARefusalDropsWhatIsHeldAndFurtherPacketsUntilTheHoldDownIsOver) {
  Gateway gateway;
  gateway.know_next_hop();
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "held"));
  EXPECT_EQ(gateway.missed().size(), 1u);
  gateway.refuse(kFlow, Refusal::kRefused, 1000);
  EXPECT_EQ(gateway.dropped(Drop::kEgressRefused), 1u);
  gateway.turn(999);
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "during"));
  EXPECT_EQ(gateway.dropped(Drop::kEgressHoldDown), 1u);
  EXPECT_TRUE(gateway.missed().empty());
  gateway.turn(1);
  EXPECT_EQ(gateway.main->flow_table.find(kFlow), 0u);
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "after"));
  EXPECT_EQ(gateway.missed().size(), 1u);

  gateway.refuse(kFlow, Refusal::kRemoved, 0);
  EXPECT_EQ(gateway.dropped(Drop::kEgressRemoved), 1u);
  EXPECT_EQ(gateway.main->flow_table.find(kFlow), 0u);
  gateway.expect_conservation();
}

TEST(Egress, GivesUpAFlowAfterHoldMsWhateverTheControlSideDoesAndHoldsItDown) {
  EngineConfig config = gateway_config();
  config.hold_ms = 500;
  config.unanswered_ms = 200;
  Gateway gateway(config);
  gateway.know_next_hop();
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "first"));
  gateway.turn(400);
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "second"));
  EXPECT_EQ(gateway.missed().size(), 1u);
  gateway.turn(99);
  EXPECT_EQ(gateway.counters[Value::kHeld].value(), 2u);
  gateway.turn(1);
  EXPECT_EQ(gateway.dropped(Drop::kEgressNoAnswer), 2u);
  EXPECT_EQ(gateway.counters[Value::kHeld].value(), 0u);
  EXPECT_EQ(gateway.counters[Value::kWanted].value(), 0u);
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "during"));
  EXPECT_EQ(gateway.dropped(Drop::kEgressHoldDown), 1u);
  gateway.turn(200);
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "after"));
  EXPECT_EQ(gateway.missed().size(), 1u);

  gateway.install(kFlow, egress_key(5));
  gateway.turn();
  EXPECT_EQ(gateway.secured.sent.size(), 1u);
  gateway.turn(10'000);
  EXPECT_EQ(gateway.dropped(Drop::kEgressNoAnswer), 2u);
  gateway.expect_conservation();
}

TEST(Egress, GivesUpFlowsThatTheEventRingHadNoSpaceFor) {
  EngineConfig config = gateway_config();
  config.hold_ms = 500;
  Gateway gateway(config, 1500, 1600, 8);
  for (int i = 0; i < 600; ++i) {
    gateway.unsecured.received.push_back(
        from_host("10.1.0.5", "10.2." + std::to_string(i / 256) + "." + std::to_string(i % 256), "x"));
  }
  gateway.settle();
  EXPECT_GT(gateway.counters[Value::kMissesWaiting].value(), 500u);
  gateway.turn(500);
  // Bounded work each turn: it takes several.
  EXPECT_GT(gateway.counters[Value::kHeld].value(), 0u);
  for (int ms = 0; ms < 100; ++ms) gateway.turn(1);
  EXPECT_EQ(gateway.counters[Value::kHeld].value(), 0u);
  EXPECT_EQ(gateway.counters[Value::kWanted].value(), 0u);
  EXPECT_EQ(gateway.dropped(Drop::kEgressNoAnswer), 600u);
  gateway.expect_conservation();
}

TEST(Egress, ARefusalLeavesAKeyedFlowAlone) {
  Gateway gateway;
  gateway.know_next_hop();
  gateway.install(kFlow, egress_key(5));
  gateway.refuse(kFlow, Refusal::kRefused, 1000);
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "x"));
  EXPECT_EQ(gateway.secured.sent.size(), 1u);
}

TEST(Egress, AScanOfUnknownAddressesMakesNoRecordAndNoEvent) {
  Gateway gateway;
  for (int i = 0; i < 65536; ++i) {
    gateway.unsecured.received.push_back(
        from_host("10.1.0.5", "172.16." + std::to_string(i / 256) + "." + std::to_string(i % 256), "x"));
    if (i % 1024 == 1023) gateway.settle();
  }
  EXPECT_EQ(gateway.dropped(Drop::kEgressNoPeer), 65536u);
  EXPECT_EQ(gateway.main->flow_table.touched(), 0u);
  EXPECT_TRUE(gateway.missed().empty());
  EXPECT_EQ(gateway.value(Value::kHeldTotal), 0u);
  gateway.expect_conservation();
}

TEST(Egress, AScanInsideAPeersPrefixStaysWithinTheWants) {
  Gateway gateway;
  for (int i = 0; i < 65536; ++i) {
    gateway.unsecured.received.push_back(
        from_host("10.1.0.5", "10.2." + std::to_string(i / 256) + "." + std::to_string(i % 256), "x"));
    if (i % 1024 == 1023) gateway.settle();
  }
  EXPECT_EQ(gateway.value(Value::kWanted), 1024u);
  EXPECT_EQ(gateway.dropped(Drop::kEgressWantLimit), 65536u - 1024u);
  EXPECT_EQ(gateway.missed().size(), 1024u);
  // Refused flows still take slots until their time is over; then others may want.
  RefuseCommand command;
  for (int i = 0; i < 1024; ++i) {
    command.flows.push_back(
        flow("10.1.0.5", "10.2." + std::to_string(i / 256) + "." + std::to_string(i % 256)));
  }
  command.hold_down_ms = 1000;
  gateway.obey(std::move(command));
  gateway.host_sends(from_host("10.1.0.5", "10.2.200.1", "x"));
  EXPECT_EQ(gateway.dropped(Drop::kEgressWantLimit), 65536u - 1024u + 1u);
  gateway.turn(1000);
  for (int i = 0; i < 16; ++i) gateway.turn(1);
  gateway.host_sends(from_host("10.1.0.5", "10.2.200.1", "x"));
  EXPECT_EQ(gateway.missed().size(), 1u);
  gateway.expect_conservation();
}

TEST(Egress, AFullTableRefusesInstallsAndCountsMisses) {
  EngineConfig config = gateway_config();
  config.max_flows = 2;
  Gateway gateway(config);
  EXPECT_EQ(gateway.install(flow("10.1.0.5", "10.2.0.1"), egress_key(1)), InstallResult::kInstalled);
  EXPECT_EQ(gateway.install(flow("10.1.0.5", "10.2.0.2"), egress_key(2)), InstallResult::kInstalled);
  EXPECT_EQ(gateway.install(flow("10.1.0.5", "10.2.0.3"), egress_key(3)), InstallResult::kTableFull);
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.3", "x"));
  EXPECT_EQ(gateway.dropped(Drop::kEgressTableFull), 1u);
}

TEST(Egress, NeverUsesAnIvTwiceThoughAPeerGivesOneKeyToSeveralFlows) {
  Gateway gateway;
  gateway.know_next_hop();
  std::vector<uint64_t> ivs;
  for (const uint32_t spi : {5, 6, 5}) {
    for (const char* destination : {"10.2.0.7", "10.2.0.8"}) {
      gateway.install(flow("10.1.0.5", destination), egress_key(spi));
      gateway.host_sends(from_host("10.1.0.5", destination, "x"));
      ivs.push_back(iv_of(gateway.secured.sent.back()));
    }
  }
  for (size_t i = 1; i < ivs.size(); ++i) EXPECT_GT(ivs[i], ivs[i - 1]);
}

TEST(Egress, AScannedPeerLeavesTheOthersTheirPartOfTheTable) {
  EngineConfig config = gateway_config();
  config.max_flows = 8;
  config.peers.push_back({.vips = {prefix("10.3.0.0/16")}});
  Gateway gateway(config);
  const auto key_for = [&](const char* net, int i, uint16_t peer) {
    return gateway.install(flow("10.1.0.5", net + std::to_string(i)), egress_key(static_cast<uint32_t>(i)),
                           peer);
  };
  for (int i = 1; i <= 6; ++i) EXPECT_EQ(key_for("10.2.0.", i, 0), InstallResult::kInstalled);
  EXPECT_EQ(key_for("10.2.0.", 7, 0), InstallResult::kTableFull);
  EXPECT_EQ(key_for("10.3.0.", 8, 1), InstallResult::kInstalled);
  EXPECT_EQ(key_for("10.3.0.", 9, 1), InstallResult::kInstalled);
  EXPECT_EQ(key_for("10.3.0.", 10, 1), InstallResult::kTableFull);
}

TEST(Egress, CompletesAPartialChecksumAndLeavesAWholeOneAlone) {
  Gateway gateway;
  gateway.know_next_hop();
  gateway.install(kFlow, egress_key(5));
  Frame partial = udp_packet("10.1.0.5", "10.2.0.7", "offloaded");
  IpPacket packet;
  ASSERT_EQ(read_ip(partial.data(), partial.size(), &packet), IpFault::kNone);
  const auto length = static_cast<uint32_t>(partial.size() - 20);
  // The folded sum itself, not its complement, as a host leaves it to its interface.
  put16(partial, 26, static_cast<uint16_t>(~checksum_fold(pseudo_header_sum(packet, length))));
  gateway.host_sends(ethernet(kUnsecuredMac, kHostMac, 0x0800, partial));
  const Frame inner = opened(gateway.secured.sent.at(0), egress_key(5));
  ASSERT_EQ(words_of(inner), "offloaded");
  EXPECT_EQ(checksum_fold(checksum_add(inner.data() + 20, length, pseudo_header_sum(packet, length))), 0);
  EXPECT_EQ(gateway.value(Value::kChecksumsCompleted), 1u);

  gateway.host_sends(ethernet(kUnsecuredMac, kHostMac, 0x0800, inner));
  EXPECT_EQ(opened(gateway.secured.sent.at(1), egress_key(5)), inner);
  EXPECT_EQ(gateway.value(Value::kChecksumsCompleted), 1u);
}

TEST(Egress, SuperFramesAreCountedAsTooBigAndNotHeld) {
  Gateway gateway(gateway_config(), 1500, 1500);
  gateway.know_next_hop();
  gateway.install(kFlow, egress_key(5));
  // Longer than the hosts' MTU, with a key and without one.
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", std::string(1501 - 28, 'x')));
  EXPECT_EQ(gateway.dropped(Drop::kEgressTooBig), 1u);
  gateway.host_sends(from_host("10.1.0.6", "10.2.0.7", std::string(1501 - 28, 'x')));
  EXPECT_EQ(gateway.dropped(Drop::kEgressTooBig), 2u);
  EXPECT_EQ(gateway.value(Value::kHeldTotal), 0u);
  EXPECT_EQ(gateway.value(Value::kFragmentsMade), 0u);
  // One that the port cut.
  Frame cut = from_host("10.1.0.5", "10.2.0.7", std::string(9000, 'x'));
  cut.resize(2000);
  gateway.host_sends(cut);
  EXPECT_EQ(gateway.dropped(Drop::kEgressTooBig), 3u);
  // One that the port could not cut, however short, from either side.
  gateway.unsecured.flags = gateway.secured.flags = RTE_MBUF_F_RX_LRO;
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "short"));
  EXPECT_EQ(gateway.dropped(Drop::kEgressTooBig), 4u);
  gateway.wire_sends(arp(true, kPeerMac, "192.0.2.2", "192.0.2.1"));
  EXPECT_EQ(gateway.dropped(Drop::kIngressTooBig), 1u);
  gateway.expect_conservation();
}

TEST(Egress, StripsLinkPadding) {
  Gateway gateway;
  gateway.know_next_hop();
  gateway.install(kFlow, egress_key(5));
  Frame padded = from_host("10.1.0.5", "10.2.0.7", "x");
  padded.resize(60);
  gateway.host_sends(padded);
  EXPECT_EQ(words_of(opened(gateway.secured.sent.at(0), egress_key(5))), "x");
}

TEST(Egress, EveryWayOutOfTheRootsHasItsReason) {
  Gateway gateway;
  const auto drops = [&](Frame frame, Drop reason) {
    const uint64_t before = gateway.dropped(reason);
    gateway.host_sends(std::move(frame));
    EXPECT_EQ(gateway.dropped(reason), before + 1) << kDropReasons[static_cast<size_t>(reason)].name;
  };
  drops(from_host("10.9.0.5", "10.2.0.7", "x"), Drop::kEgressNotLocalSource);
  drops(from_host("10.2.0.5", "10.2.0.7", "x"), Drop::kEgressNotLocalSource);
  drops(from_host("10.1.0.5", "10.1.0.6", "x"), Drop::kEgressLocalDestination);
  drops(from_host("10.1.0.5", "224.0.0.5", "x"), Drop::kEgressMulticast);
  drops(from_host("fd00:1::5", "ff02::fb", "x"), Drop::kEgressMulticast);
  drops(from_host("10.1.0.5", "10.3.0.1", "x"), Drop::kEgressNoPeer);
  drops(from_host("fd00:1::5", "fd00:3::1", "x"), Drop::kEgressNoPeer);
  drops(ethernet(kUnsecuredMac, kHostMac, 0x8100, Frame{0, 7, 8, 0}), Drop::kEgressVlan);
  drops(ethernet(kUnsecuredMac, kHostMac, 0x88cc, Frame(60)), Drop::kEgressNotIp);
  drops(ethernet(kPeerMac, kHostMac, 0x0800, udp_packet("10.1.0.5", "10.2.0.7", "x")),
        Drop::kEgressOtherHost);
  drops(ethernet(kUnsecuredMac, kHostMac, 0x86dd, udp_packet("10.1.0.5", "10.2.0.7", "x")),
        Drop::kEgressMalformed);
  drops(Frame(10), Drop::kEgressTruncated);
  Frame cut = from_host("10.1.0.5", "10.2.0.7", "some words");
  cut.resize(40);
  drops(cut, Drop::kEgressTruncated);
  Frame damaged = from_host("10.1.0.5", "10.2.0.7", "x");
  damaged[14 + 8] ^= 1;
  drops(damaged, Drop::kEgressMalformed);
  EXPECT_TRUE(gateway.secured.sent.empty());
  gateway.expect_conservation();
}

TEST(Egress, NothingIsSentOrCountedAsSentWhileTheLinkIsDown) {
  Gateway gateway;
  gateway.know_next_hop();
  gateway.install(kFlow, egress_key(5));
  gateway.main->secured.tx.set_up(false);
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "down"));
  EXPECT_EQ(gateway.dropped(Drop::kEgressPortDown), 1u);
  EXPECT_EQ(gateway.dropped(Drop::kEgressTxFull), 0u);
  EXPECT_EQ(gateway.value(Value::kForwardedEgress), 0u);
  EXPECT_TRUE(gateway.secured.sent.empty());
  gateway.main->secured.tx.set_up(true);
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "up"));
  EXPECT_EQ(words_on_wire(gateway, egress_key(5)), std::vector<std::string>{"up"});
  gateway.expect_conservation();
}

TEST(Egress, WhatThePortHadNotTakenWaitsUntilItsLinkIsUpAgain) {
  Gateway gateway;
  gateway.know_next_hop();
  gateway.install(kFlow, egress_key(5));
  gateway.secured.takes = 0;
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "first"));
  gateway.main->secured.tx.set_up(false);
  gateway.secured.takes = UINT64_MAX;
  gateway.turn(1);
  EXPECT_TRUE(gateway.secured.sent.empty());
  EXPECT_GT(gateway.main->idle_timeout_ms(), 1u);
  gateway.main->secured.tx.set_up(true);
  gateway.turn(1);
  EXPECT_EQ(words_on_wire(gateway, egress_key(5)), std::vector<std::string>{"first"});
}

TEST(Egress, AFrameWhoseTagThePortTookOffCountsAsTagged) {
  Gateway gateway;
  gateway.unsecured.flags = RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
  gateway.unsecured.vlan = gateway.secured.vlan = 7;
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "x"));
  EXPECT_EQ(gateway.dropped(Drop::kEgressVlan), 1u);
  EXPECT_TRUE(gateway.missed().empty());
  gateway.secured.flags = RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
  gateway.wire_sends(arp(true, kPeerMac, "192.0.2.2", "192.0.2.1"));
  EXPECT_EQ(gateway.dropped(Drop::kIngressVlan), 1u);
  gateway.expect_conservation();
}

TEST(Egress, AFrameInSeveralSegmentsIsJoinedOrIsTooBig) {
  Gateway gateway;
  gateway.know_next_hop();
  gateway.install(kFlow, egress_key(5));
  const std::string words(1000, 'w');
  for (const size_t segment : {1, 13, 14, 33, 700}) {
    gateway.unsecured.segment = segment;
    gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", words));
    EXPECT_EQ(words_on_wire(gateway, egress_key(5)), std::vector<std::string>{words}) << segment;
    gateway.secured.sent.clear();
  }
  // More than one packet's memory holds.
  gateway.unsecured.segment = 10'000;
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", std::string(20'000, 'w')));
  EXPECT_EQ(gateway.dropped(Drop::kEgressTooBig), 1u);
  gateway.expect_conservation();
}

// No mbuf holds a packet that sealing refuses for its length: only its record can claim to be that long.
TEST(Egress, WhatSealingRefusesDoesNotLeave) {
  Gateway gateway;
  gateway.know_next_hop();
  gateway.install(kFlow, egress_key(5));
  const Frame frame = from_host("10.1.0.5", "10.2.0.7", "plain");
  Burst burst;
  burst.count = 1;
  Packet& packet = burst.packets[0];
  packet.mbuf = rte_pktmbuf_alloc(gateway.main->shared->control_pool.get());
  std::memcpy(rte_pktmbuf_append(packet.mbuf, static_cast<uint16_t>(frame.size())), frame.data(),
              frame.size());
  ASSERT_EQ(read_ip(packet.layer3(), packet.layer3_length(), &packet.ip), IpFault::kNone);
  packet.ip.length = UINT16_MAX;
  packet.reassembled = true;
  packet.flow = gateway.main->flow_table.find(kFlow);
  seal(*gateway.main, burst);
  gateway.turn();
  EXPECT_TRUE(gateway.secured.sent.empty());
  EXPECT_EQ(gateway.dropped(Drop::kEgressTooBig), 1u);
  EXPECT_EQ(gateway.value(Value::kTxError), 1u);
  EXPECT_EQ(gateway.value(Value::kTxPackets), 0u);
}

TEST(Egress, LongestPrefixDecidesBetweenPeersAndOurselves) {
  EngineConfig config = gateway_config();
  config.vips = {prefix("10.0.0.0/8")};
  config.peers = {{.vips = {prefix("10.2.0.0/16")}},
                  {.vips = {prefix("10.2.3.0/24"), prefix("0.0.0.0/0"), prefix("::/0")}}};
  Gateway gateway(config);
  const Peers& peers = gateway.main->topology->peers;
  EXPECT_EQ(peers.owner(address("10.1.1.1")), Peers::kLocal);
  EXPECT_EQ(peers.owner(address("10.2.1.1")), 0);
  EXPECT_EQ(peers.owner(address("10.2.3.1")), 1);
  EXPECT_EQ(peers.owner(address("192.0.2.9")), 1);
  EXPECT_EQ(peers.owner(address("2001:db8::1")), 1);
}

TEST(Egress, RemovingAFlowDropsWhatItHoldsAndForgetsItsKey) {
  Gateway gateway;
  gateway.know_next_hop();
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "x"));
  gateway.obey(RemoveCommand{{kFlow}});
  EXPECT_EQ(gateway.dropped(Drop::kEgressRemoved), 1u);
  gateway.install(kFlow, egress_key(5));
  EXPECT_EQ(gateway.value(Value::kKeyed), 1u);
  gateway.obey(RemoveCommand{{kFlow}});
  EXPECT_EQ(gateway.value(Value::kKeyed), 0u);
  gateway.missed();
  gateway.host_sends(from_host("10.1.0.5", "10.2.0.7", "x"));
  EXPECT_EQ(gateway.missed().size(), 1u);
  gateway.expect_conservation();
}

}  // namespace
}  // namespace psp
