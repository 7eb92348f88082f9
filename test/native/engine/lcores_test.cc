// SPDX-License-Identifier: Apache-2.0
// What an lcore does that is not the first, and what it leaves to that one.
#include "lcores.h"

#include <algorithm>
#include <map>
#include <set>
#include <span>

#include "sealed_frames.h"
#include "wire_frames.h"

namespace psp {
namespace {

const FlowKey kFlow = flow("10.1.0.5", "10.2.0.7");
const FlowKey kInbound = kFlow.reversed();

Frame out(const std::string& words) {
  return from_host("10.1.0.5", "10.2.0.7", words);
}
Frame inner(const std::string& words) {
  return udp_packet("10.2.0.7", "10.1.0.5", words);
}

std::string words_under(const Frame& frame, const EgressKey& key) {
  return words_of(opened(frame, key));
}

// With a next hop and a host that are known, and a flow each way that has a key and was seen.
struct Agreed : TwoLcores {
  explicit Agreed(EngineConfig config = gateway_config(), uint16_t unsecured_mtu = 1500,
                  uint16_t secured_mtu = 1600)
      : TwoLcores(std::move(config), unsecured_mtu, secured_mtu) {
    know_next_hop();
    know_host("10.1.0.5");
    install(kFlow, key);
    admit(kInbound, 17);
    wire_sends(sealed(key_of(17, 0), inner("first")));
    seen();
    unsecured.sent.clear();
    secured.sent.clear();
  }
  EgressKey key = egress_key(5);
};

TEST(Lcores, AnotherLcoreSealsAndOpensByItselfWithIvsOfItsOwn) {
  Agreed gateway;
  gateway.host_sends(out("from the first"));
  gateway.host_sends_to_worker(out("from the other"));
  gateway.host_sends(out("and the first"));
  ASSERT_EQ(gateway.wire_queue.sent.size(), 1u);
  EXPECT_EQ(words_under(gateway.wire_queue.sent[0], gateway.key), "from the other");
  EXPECT_NE(iv_of(gateway.wire_queue.sent[0]), iv_of(gateway.secured.sent[0]));
  EXPECT_NE(iv_of(gateway.wire_queue.sent[0]), iv_of(gateway.secured.sent[1]));
  gateway.wire_sends_to_worker(sealed(key_of(17, 0), inner("back"), 2));
  ASSERT_EQ(gateway.hosts_queue.sent.size(), 1u);
  EXPECT_EQ(gateway.hosts_queue.sent[0], ethernet(kHostMac, kUnsecuredMac, 0x0800, inner("back")));
  EXPECT_EQ(gateway.handed_off(), 0u);
  EXPECT_TRUE(gateway.seen().empty());
}

TEST(Lcores, CountsOfAllLcoresStandInTheFlowAndItsPeer) {
  Agreed gateway;
  gateway.host_sends(out("one"));
  gateway.host_sends_to_worker(out("two"));
  gateway.host_sends_to_worker(out("three"));
  gateway.wire_sends_to_worker(sealed(key_of(17, 0), inner("back"), 2));
  const auto rows = [&] {
    FlowsCommand command;
    command.rows.resize(8);
    command = gateway.obey(std::move(command));
    return std::vector<FlowRow>(command.rows.begin(), command.rows.begin() + command.count);
  };
  ASSERT_EQ(rows().size(), 2u);
  EXPECT_EQ(rows()[0].packets, 3u);
  EXPECT_EQ(rows()[1].packets, 2u);
  EXPECT_EQ(gateway.counts().peers[0].egress_packets, 3u);
  EXPECT_EQ(gateway.counts().peers[0].ingress_packets, 2u);
  ASSERT_EQ(gateway.counts().lcores.size(), 2u);
  EXPECT_EQ(gateway.counts().lcores[1].rx_packets, 3u);
  // They stay when the key changes, and when an SPI ends.
  gateway.install(kFlow, egress_key(6, 9));
  gateway.host_sends_to_worker(out("four"));
  EXPECT_EQ(rows()[0].packets, 4u);
  gateway.admit(kInbound, 18);
  WithdrawCommand withdraw;
  withdraw.entries = {{kInbound, 17}};
  gateway.obey(std::move(withdraw));
  EXPECT_EQ(rows()[1].packets, 2u);
}

TEST(Lcores, AFlowWithoutAKeyIsHeldByTheFirstAndItsPacketsStayInOrder) {
  TwoLcores gateway;
  gateway.know_next_hop();
  gateway.host_sends_to_worker(out("1"));
  gateway.turn();
  ASSERT_EQ(gateway.missed().size(), 1u);
  EXPECT_EQ(gateway.value(Value::kHeld), 1u);
  // Still on its way as the key comes: what follows must not overtake it.
  gateway.host_sends_to_worker(out("2"));
  const EgressKey key = egress_key(5);
  gateway.install(kFlow, key);
  gateway.host_sends_to_worker(out("3"));
  EXPECT_TRUE(gateway.wire_queue.sent.empty());
  gateway.turn();
  gateway.host_sends_to_worker(out("4"));
  std::vector<std::string> words;
  for (const Frame& frame : gateway.secured.sent) words.push_back(words_under(frame, key));
  EXPECT_EQ(words, (std::vector<std::string>{"1", "2", "3"}));
  ASSERT_EQ(gateway.wire_queue.sent.size(), 1u);
  EXPECT_EQ(words_under(gateway.wire_queue.sent[0], key), "4");
}

TEST(Lcores, AFlowWhosePacketsStillDrainIsLeftToTheFirst) {
  TwoLcores gateway;
  gateway.host_sends(out("1"));
  const EgressKey key = egress_key(5);
  gateway.install(kFlow, key);
  gateway.turn();
  // What is held waits for the next hop, which is being asked for.
  ASSERT_EQ(gateway.value(Value::kHeld), 1u);
  gateway.host_sends_to_worker(out("2"));
  gateway.turn();
  gateway.secured.sent.clear();
  gateway.wire_sends(arp(false, kPeerMac, "192.0.2.2", "192.0.2.1"));
  gateway.turn();
  ASSERT_EQ(gateway.secured.sent.size(), 2u);
  EXPECT_EQ(words_under(gateway.secured.sent[0], key), "1");
  EXPECT_EQ(words_under(gateway.secured.sent[1], key), "2");
}

TEST(Lcores, WhatWasHeldHasLeftBeforeAnotherSendsForItsFlow) {
  TwoLcores gateway;
  gateway.know_next_hop();
  gateway.host_sends_to_worker(out("1"));
  gateway.turn();
  ASSERT_EQ(gateway.value(Value::kHeld), 1u);
  const EgressKey key = egress_key(5);
  gateway.install(kFlow, key);
  gateway.secured.before_sending = [&] { gateway.host_sends_to_worker(out("2")); };
  gateway.turn();
  EXPECT_TRUE(gateway.wire_queue.sent.empty());
  gateway.turn();
  ASSERT_EQ(gateway.secured.sent.size(), 2u);
  EXPECT_EQ(words_under(gateway.secured.sent[0], key), "1");
  EXPECT_EQ(words_under(gateway.secured.sent[1], key), "2");
}

TEST(Lcores, WhatWaitedForANeighbourHasLeftBeforeAnotherSendsToIt) {
  TwoLcores gateway;
  const EgressKey key = egress_key(5);
  gateway.install(kFlow, key);
  gateway.host_sends_to_worker(out("1"));
  gateway.turn();
  gateway.turn();
  gateway.secured.sent.clear();  // who has 192.0.2.2?
  gateway.secured.before_sending = [&] { gateway.host_sends_to_worker(out("2")); };
  gateway.wire_sends(arp(false, kPeerMac, "192.0.2.2", "192.0.2.1"));
  EXPECT_TRUE(gateway.wire_queue.sent.empty());
  gateway.turn();
  ASSERT_EQ(gateway.secured.sent.size(), 2u);
  EXPECT_EQ(words_under(gateway.secured.sent[0], key), "1");
  EXPECT_EQ(words_under(gateway.secured.sent[1], key), "2");
}

TEST(Lcores, WhatIsOnItsWayToTheFirstIsNotOvertakenThoughTheFlowHasAKeyByThen) {
  TwoLcores gateway;
  gateway.know_next_hop();
  gateway.host_sends_to_worker(out("1"));
  const EgressKey key = egress_key(5);
  gateway.install(kFlow, key);
  gateway.host_sends_to_worker(out("2"));
  EXPECT_TRUE(gateway.wire_queue.sent.empty());
  gateway.turn();
  ASSERT_EQ(gateway.secured.sent.size(), 2u);
  EXPECT_EQ(words_under(gateway.secured.sent[0], key), "1");
  gateway.host_sends_to_worker(out("3"));
  EXPECT_EQ(gateway.wire_queue.sent.size(), 1u);
}

// The words of the packets that left by the first lcore's queue to the wire, under one key. ARP is left out.
std::vector<std::string> words_sent(TwoLcores& gateway, const EgressKey& key) {
  std::vector<std::string> words;
  for (const Frame& frame : gateway.secured.sent) {
    if (get16(frame, 12) == 0x0800) words.push_back(words_under(frame, key));
  }
  return words;
}

// The port of the first lcore takes a part of what waits, then the rest. Meanwhile the other lcore has a
// packet of the same flow, which must come behind, and once all has left it sends by itself.
void expect_no_overtaking(TwoLcores& gateway, const EgressKey& key, std::vector<std::string> waiting) {
  for (int taken = 0; taken < 2; ++taken) {
    gateway.host_sends_to_worker(out("behind " + std::to_string(taken)));
    waiting.push_back("behind " + std::to_string(taken));
    EXPECT_TRUE(gateway.wire_queue.sent.empty());
    gateway.secured.takes = 1;
    gateway.turn(1);
  }
  gateway.secured.takes = UINT64_MAX;
  gateway.turn(1);
  gateway.turn(1);
  EXPECT_EQ(words_sent(gateway, key), waiting);
  gateway.host_sends_to_worker(out("alone"));
  ASSERT_EQ(gateway.wire_queue.sent.size(), 1u);
  EXPECT_EQ(words_under(gateway.wire_queue.sent[0], key), "alone");
}

TEST(Lcores, WhatWasHandedOverIsNotOvertakenWhileItWaitsForThePort) {
  TwoLcores gateway;
  gateway.know_next_hop();
  for (const char* words : {"1", "2", "3"}) gateway.host_sends_to_worker(out(words));
  const EgressKey key = egress_key(5);
  gateway.install(kFlow, key);
  gateway.secured.takes = 1;
  gateway.turn();
  expect_no_overtaking(gateway, key, {"1", "2", "3"});
}

TEST(Lcores, WhatWasHeldIsNotOvertakenWhileItWaitsForThePort) {
  TwoLcores gateway;
  gateway.know_next_hop();
  for (const char* words : {"1", "2", "3"}) gateway.host_sends_to_worker(out(words));
  gateway.turn();
  ASSERT_EQ(gateway.value(Value::kHeld), 3u);
  const EgressKey key = egress_key(5);
  gateway.secured.takes = 1;
  gateway.install(kFlow, key);
  gateway.turn();
  ASSERT_EQ(gateway.value(Value::kHeld), 0u);
  expect_no_overtaking(gateway, key, {"1", "2", "3"});
}

TEST(Lcores, WhatWaitedForANeighbourIsNotOvertakenWhileItWaitsForThePort) {
  TwoLcores gateway;
  const EgressKey key = egress_key(5);
  gateway.install(kFlow, key);
  for (const char* words : {"1", "2", "3"}) gateway.host_sends_to_worker(out(words));
  gateway.turn();
  gateway.turn();
  ASSERT_EQ(gateway.value(Value::kNeighbourQueued), 3u);
  gateway.secured.takes = 1;
  gateway.wire_sends(arp(false, kPeerMac, "192.0.2.2", "192.0.2.1"));
  ASSERT_EQ(gateway.value(Value::kNeighbourQueued), 0u);
  expect_no_overtaking(gateway, key, {"1", "2", "3"});
}

TEST(Lcores, WhatCameFromTheWireIsNotOvertakenWhileItWaitsForThePort) {
  TwoLcores gateway;
  gateway.know_host("10.1.0.5");
  gateway.admit(kInbound, 17);
  // The packet that the control side is told of goes by the first lcore.
  gateway.wire_sends_to_worker(sealed(key_of(17, 0), inner("1"), 1));
  gateway.unsecured.takes = 0;
  gateway.turn();
  ASSERT_EQ(gateway.seen().size(), 1u);
  gateway.wire_sends_to_worker(sealed(key_of(17, 0), inner("2"), 2));
  EXPECT_TRUE(gateway.hosts_queue.sent.empty());
  gateway.unsecured.takes = UINT64_MAX;
  gateway.turn();
  gateway.turn();
  ASSERT_EQ(gateway.unsecured.sent.size(), 2u);
  EXPECT_EQ(gateway.unsecured.sent[0], ethernet(kHostMac, kUnsecuredMac, 0x0800, inner("1")));
  EXPECT_EQ(gateway.unsecured.sent[1], ethernet(kHostMac, kUnsecuredMac, 0x0800, inner("2")));
  gateway.wire_sends_to_worker(sealed(key_of(17, 0), inner("3"), 3));
  EXPECT_EQ(gateway.hosts_queue.sent.size(), 1u);
}

TEST(Lcores, WhatWaitedForAHostIsNotOvertakenWhileItWaitsForThePort) {
  TwoLcores gateway;
  gateway.admit(kInbound, 17);
  gateway.wire_sends_to_worker(sealed(key_of(17, 0), inner("1"), 1));
  gateway.turn();
  ASSERT_EQ(gateway.value(Value::kNeighbourQueued), 1u);
  gateway.unsecured.sent.clear();  // who has 10.1.0.5?
  gateway.unsecured.takes = 0;
  gateway.host_sends(arp(false, kHostMac, "10.1.0.5", "10.1.0.1"));
  gateway.wire_sends_to_worker(sealed(key_of(17, 0), inner("2"), 2));
  EXPECT_TRUE(gateway.hosts_queue.sent.empty());
  gateway.unsecured.takes = UINT64_MAX;
  gateway.turn(1);
  gateway.turn(1);
  ASSERT_EQ(gateway.unsecured.sent.size(), 2u);
  EXPECT_EQ(gateway.unsecured.sent[0], ethernet(kHostMac, kUnsecuredMac, 0x0800, inner("1")));
  EXPECT_EQ(gateway.unsecured.sent[1], ethernet(kHostMac, kUnsecuredMac, 0x0800, inner("2")));
  gateway.wire_sends_to_worker(sealed(key_of(17, 0), inner("3"), 3));
  EXPECT_EQ(gateway.hosts_queue.sent.size(), 1u);
}

TEST(Lcores, TheMainLcoreReceivesArpAndFragmentsAndAnswersForTheWorkers) {
  Agreed gateway;
  gateway.host_sends_to_worker(arp(true, kHostMac, "10.1.0.6", "10.1.0.1"));
  gateway.turn();
  EXPECT_EQ(gateway.unsecured.sent.size(), 1u);
  EXPECT_TRUE(gateway.hosts_queue.sent.empty());
  // Fragments of one datagram in different queues.
  const auto pieces = in_fragments(sealed(key_of(17, 0), inner(std::string(700, 'x')), 3), 480);
  ASSERT_EQ(pieces.size(), 2u);
  gateway.wire_sends_to_worker(pieces[0]);
  gateway.turn();
  gateway.wire_sends(pieces[1]);
  ASSERT_EQ(gateway.unsecured.sent.size(), 2u);
  EXPECT_EQ(gateway.unsecured.sent[1],
            ethernet(kHostMac, kUnsecuredMac, 0x0800, inner(std::string(700, 'x'))));
}

TEST(Lcores, AFrameForAnUnknownNeighbourWaitsAtTheFirstThenOthersGoStraight) {
  TwoLcores gateway;
  const EgressKey key = egress_key(5);
  gateway.install(kFlow, key);
  gateway.host_sends_to_worker(out("1"));
  gateway.turn();
  gateway.host_sends_to_worker(out("2"));
  gateway.turn();
  ASSERT_EQ(gateway.secured.sent.size(), 1u);  // who has 192.0.2.2?
  gateway.wire_sends(arp(false, kPeerMac, "192.0.2.2", "192.0.2.1"));
  ASSERT_EQ(gateway.secured.sent.size(), 3u);
  gateway.host_sends_to_worker(out("3"));
  ASSERT_EQ(gateway.wire_queue.sent.size(), 1u);
  EXPECT_EQ(words_under(gateway.wire_queue.sent[0], key), "3");
  // Once it is to be confirmed frames come by the first, which probes it.
  gateway.now += Neighbours::kReachableMs;
  gateway.host_sends_to_worker(out("4"));
  EXPECT_EQ(gateway.wire_queue.sent.size(), 1u);
  const uint64_t asked = gateway.value(Value::kSolicitations);
  gateway.turn();
  gateway.turn(Neighbours::kDelayMs);
  EXPECT_EQ(gateway.value(Value::kSolicitations), asked + 1);
  gateway.host_sends_to_worker(out("5"));
  EXPECT_EQ(gateway.wire_queue.sent.size(), 2u);
}

// A host of the peer for each number, and the packets between it and ours.
std::string far_host(uint32_t n) {
  return "10.2." + std::to_string(1 + n / 256) + "." + std::to_string(n % 256);
}
FlowKey towards(uint32_t n) {
  return flow("10.1.0.5", far_host(n));
}
Frame from_far(uint32_t n, uint64_t iv) {
  return sealed(key_of(1000 + n, 0), udp_packet(far_host(n), "10.1.0.5", "opened"), iv);
}

TEST(Lcores, AsManyFlowsAsTheMainLcoreHasHaveTheirKeysCached) {
  constexpr uint32_t kMany = 10'000, kAtOnce = 1000;
  EngineConfig config = gateway_config();
  config.max_flows = kMany;
  Agreed gateway(config);
  if (!gateway.aead->is_plain_memory()) GTEST_SKIP() << "of this library only a few keys are kept";
  for (uint32_t n = 1; n < kMany; ++n) {
    ASSERT_EQ(gateway.install(towards(n), egress_key(n)), InstallResult::kInstalled);
    ASSERT_TRUE(gateway.admit(towards(n).reversed(), 1000 + n));
    gateway.wire_sends(from_far(n, 1));
    gateway.unsecured.sent.clear();
    if (n % kAtOnce == 0) gateway.seen();
  }
  gateway.turn();
  const auto round = [&](uint64_t iv) {
    for (uint32_t n = 1; n < kMany; ++n) {
      gateway.hosts_queue.received.push_back(from_host("10.1.0.5", far_host(n), "sealed"));
      gateway.wire_queue.received.push_back(from_far(n, iv));
      if (n % kAtOnce == 0 || n == kMany - 1) {
        while (!gateway.wire_queue.received.empty() || !gateway.hosts_queue.received.empty()) {
          gateway.turn_worker();
        }
        gateway.hosts_queue.sent.clear();
        gateway.wire_queue.sent.clear();
      }
    }
    while (gateway.worker->grow_memory()) {
    }
    return gateway.worker_counters[Value::kKeyCacheMisses].value();
  };
  uint64_t misses = 0;
  for (uint64_t iv = 2; iv < 4 + KeyCache::kSettlesAfter; ++iv) misses = round(iv);
  EXPECT_EQ(round(20), misses);
  EXPECT_EQ(gateway.handed_off(), 0u);
  EXPECT_EQ(gateway.worker_counters[Value::kForwardedIngress].value(),
            gateway.worker_counters[Value::kForwardedEgress].value());
}

TEST(Lcores, WhereCopiesArePushedOutEachPacketOfTheBurstHasItsOwnKey) {
  // A few places more than flows: dead copies fill them, as long as no time passes.
  constexpr uint32_t kFew = 16, kPlaces = kBurst + 1;
  EngineConfig config = gateway_config();
  config.max_flows = kFew;
  Agreed gateway(config);
  const auto replace = [&](uint32_t n) {
    RemoveCommand remove;
    remove.flows = {towards(n - 1)};
    gateway.obey(std::move(remove));
    gateway.install(towards(n), egress_key(n, static_cast<uint8_t>(n)));
    ASSERT_TRUE(gateway.admit(towards(n).reversed(), 1000 + n));
    gateway.wire_sends(from_far(n, 1));
    gateway.turn();
    gateway.seen();
  };
  for (uint32_t n = 2; n < 3 * kPlaces; ++n) {
    replace(n);
    gateway.hosts_queue.sent.clear();
    gateway.wire_queue.sent.clear();
    // The flow of old is in each burst, before and behind one that needs a place.
    for (const bool old : {true, false, true}) {
      gateway.hosts_queue.received.push_back(old ? out("old") : from_host("10.1.0.5", far_host(n), "new"));
      gateway.wire_queue.received.push_back(old ? sealed(key_of(17, 0), inner("old"), 10 + n)
                                                : from_far(n, 2));
    }
    gateway.turn_worker();
    ASSERT_EQ(gateway.wire_queue.sent.size(), 3u) << n;
    EXPECT_EQ(words_under(gateway.wire_queue.sent[0], gateway.key), "old");
    EXPECT_EQ(words_under(gateway.wire_queue.sent[1], egress_key(n, static_cast<uint8_t>(n))), "new");
    EXPECT_EQ(words_under(gateway.wire_queue.sent[2], gateway.key), "old");
    ASSERT_EQ(gateway.hosts_queue.sent.size(), 3u) << n;
    EXPECT_EQ(words_of(Frame(gateway.hosts_queue.sent[1].begin() + 14, gateway.hosts_queue.sent[1].end())),
              "opened");
  }
  EXPECT_EQ(gateway.handed_off(), 0u);
}

TEST(Lcores, AnIdleLcoreStaysAwakeUntilWhatEndedIsWiped) {
  constexpr uint32_t kMany = 2 * CopySlots::kStep;
  Agreed gateway;
  for (uint32_t n = 1; n <= kMany; ++n) {
    gateway.install(towards(n), egress_key(n));
    gateway.host_sends_to_worker(from_host("10.1.0.5", far_host(n), "copied"));
  }
  EXPECT_EQ(gateway.worker->idle_timeout_ms(), 1000u);
  RemoveCommand remove;
  remove.flows = {towards(kMany)};
  gateway.obey(std::move(remove));
  gateway.pass_worker(1000);
  EXPECT_EQ(gateway.worker->idle_timeout_ms(), 1u);
  gateway.pass_worker(1);
  EXPECT_EQ(gateway.worker->idle_timeout_ms(), 1000u);
  for (const uint8_t octet : std::span(gateway.worker->flows.key_bytes(kMany), FlowRecords::kKeyBytes)) {
    EXPECT_EQ(octet, 0);
  }
}

TEST(Lcores, TheFirstPacketOfAnSpiIsReportedOnceWhicheverLcoreItReaches) {
  TwoLcores gateway;
  gateway.know_host("10.1.0.5");
  gateway.admit(kInbound, 17);
  gateway.wire_sends_to_worker(sealed(key_of(17, 0), inner("1"), 1));
  gateway.turn();
  EXPECT_EQ(gateway.seen().size(), 1u);
  EXPECT_EQ(gateway.unsecured.sent.size(), 1u);
  gateway.wire_sends_to_worker(sealed(key_of(17, 0), inner("2"), 2));
  EXPECT_EQ(gateway.hosts_queue.sent.size(), 1u);
  gateway.turn();
  EXPECT_TRUE(gateway.seen().empty());
}

TEST(Lcores, AnSpiThatOnlyAWorkerLcoreReceivesIsNotRetired) {
  Agreed gateway;
  gateway.admit(kInbound, 18);
  gateway.wire_sends(sealed(key_of(18, 0), inner("new")));
  for (int i = 0; i < 30; ++i) {
    gateway.wire_sends_to_worker(sealed(key_of(17, 0), inner("old"), 10 + i));
    gateway.turn(100);
    gateway.turn_worker();
  }
  EXPECT_NE(gateway.main->receive_spis.find(17, 0), 0u);
  gateway.turn(1000);
  gateway.turn(1);
  EXPECT_EQ(gateway.main->receive_spis.find(17, 0), 0u);
}

TEST(Lcores, ARotationIsDoneOnceNobodyHasTheOldKeyOrWhatItOpened) {
  Agreed gateway;
  gateway.wire_sends_to_worker(sealed(key_of(17, 0), inner("opens"), 2));
  ASSERT_EQ(gateway.hosts_queue.sent.size(), 1u);
  const auto cached = [&] {
    for (uint32_t place = 1; place <= gateway.worker->ingress_keys.first_tier(); ++place) {
      if (gateway.worker->ingress_keys.find(place - 1, SpiRecords::key_tag(17, 0)) != nullptr) return true;
    }
    return false;
  };
  EXPECT_TRUE(cached());
  EXPECT_TRUE(gateway.main->settled());
  const uint8_t fresh[32] = {9};
  gateway.rotate(0, fresh);
  EXPECT_FALSE(gateway.main->settled());
  gateway.turn_worker();
  EXPECT_TRUE(gateway.main->settled());
  EXPECT_FALSE(cached());
  gateway.wire_sends_to_worker(sealed(key_of(17, 0), inner("opens no more"), 3));
  EXPECT_EQ(gateway.hosts_queue.sent.size(), 1u);
  // The new key serves an SPI of the same number.
  gateway.admit(kInbound, 17);
  gateway.wire_sends(sealed(key_of(17, 0, fresh), inner("first")));
  gateway.wire_sends_to_worker(sealed(key_of(17, 0, fresh), inner("new"), 4));
  EXPECT_EQ(gateway.hosts_queue.sent.size(), 2u);
}

TEST(Lcores, AKeyThatEndedIsSealedWithNoMoreAndSoonWiped) {
  Agreed gateway;
  gateway.host_sends_to_worker(out("before"));
  const uint64_t tag = gateway.main->flows[gateway.main->flow_table.find(kFlow)].key_tag;
  const uint32_t place = gateway.main->flow_table.find(kFlow);
  ASSERT_NE(gateway.worker->egress_keys.find(place - 1, tag), nullptr);
  gateway.install(kFlow, egress_key(6, 9));
  gateway.host_sends_to_worker(out("after"));
  ASSERT_EQ(gateway.wire_queue.sent.size(), 2u);
  EXPECT_EQ(words_under(gateway.wire_queue.sent[1], egress_key(6, 9)), "after");
  RemoveCommand remove;
  remove.flows = {kFlow};
  const uint64_t newer = gateway.main->flows[place].key_tag;
  gateway.obey(std::move(remove));
  gateway.host_sends_to_worker(out("unkeyed"));
  EXPECT_EQ(gateway.wire_queue.sent.size(), 2u);
  for (int i = 0; i < 33; ++i) gateway.turn_worker(1);
  EXPECT_EQ(gateway.worker->egress_keys.find(place - 1, newer), nullptr);
  const uint8_t* const octets = gateway.worker->flows.key_bytes(place);
  EXPECT_TRUE(std::all_of(octets, octets + FlowRecords::kKeyBytes, [](uint8_t octet) { return octet == 0; }));
}

TEST(Lcores, WhatTheFirstDoesNotTakeInTimeIsDroppedAndCounted) {
  Agreed gateway;
  for (size_t i = 0; i < Handoff::kCapacity + 10; ++i) {
    gateway.hosts_queue.received.push_back(from_host("10.1.0.5", "10.2.0.9", "no key"));
    gateway.wire_queue.received.push_back(
        in_fragments(sealed(key_of(17, 0), inner(std::string(900, 'x'))), 480)[0]);
  }
  while (!gateway.hosts_queue.received.empty()) gateway.turn_worker();
  EXPECT_EQ(gateway.worker_counters[Drop::kEgressHandoffFull].value(), 10u);
  EXPECT_EQ(gateway.worker_counters[Drop::kIngressHandoffFull].value(), 10u);
  gateway.settle_both();
  // Nothing that was given is lost.
  EXPECT_EQ(gateway.value(Value::kHeldTotal), Handoff::kCapacity);
}

TEST(Lcores, TheLimitsOfIcmpErrorsAndCapturesHoldForAllLcoresTogether) {
  EngineConfig config = gateway_config();
  config.capture = {.ingress = false, .egress = true, .per_second = 50};
  Agreed gateway(config, 1500, 1500);
  const Frame too_long = from_host(with_df(long_packet("10.1.0.5", "10.2.0.7", 1500)));
  for (int i = 0; i < 20; ++i) {
    gateway.host_sends(too_long);
    gateway.host_sends_to_worker(too_long);
  }
  const auto sum = [&](Value value) { return gateway.value(value) + gateway.worker_counters[value].value(); };
  EXPECT_EQ(sum(Value::kIcmpSent), 10u);
  EXPECT_EQ(sum(Value::kIcmpSuppressed), 30u);
  EXPECT_EQ(sum(Value::kCapturesTaken), 5u);
  EXPECT_EQ(sum(Value::kCapturesSuppressed), 35u);
}

TEST(Lcores, NoTwoOfThemGiveTheSameIdentificationToTheirFragments) {
  TwoLcores gateway;
  std::set<uint16_t> low_halves;
  for (uint32_t i = 0; i < 0x8000; ++i) {
    low_halves.insert(static_cast<uint16_t>(gateway.main->shared->identifications.next()));
    low_halves.insert(static_cast<uint16_t>(gateway.worker->shared->identifications.next()));
  }
  EXPECT_EQ(low_halves.size(), 0x10000u);
}

TEST(Lcores, RatesOfSamplesHoldForAllLcores) {
  Agreed gateway;
  SamplingCommand sampling;
  sampling.egress_log2 = 0;
  gateway.obey(std::move(sampling));
  EXPECT_FALSE(gateway.main->settled());
  gateway.host_sends_to_worker(out("sampled"));
  Sample sample;
  EXPECT_TRUE(gateway.worker_samples.pop(&sample));
  EXPECT_TRUE(gateway.main->settled());
}

// Frames of every kind, from hosts and from the wire.
std::vector<Frame> kinds_from_hosts() {
  std::vector<Frame> frames = {out("one"), from_host("fd00:1::5", "fd00:2::7", "six"),
                               out(std::string(1472, 'x'))};
  frames.push_back(from_host("10.1.0.5", "10.2.0.99", "without a key"));
  frames.push_back(from_host("10.1.0.5", "10.3.0.1", "nobody's"));
  frames.push_back(from_host("10.9.0.5", "10.2.0.7", "not ours"));
  frames.push_back(from_host("10.1.0.5", "10.1.0.9", "local"));
  frames.push_back(from_host("10.1.0.5", "224.0.0.5", "multicast"));
  frames.push_back(from_host(with_df(long_packet("10.1.0.5", "10.2.0.7", 1500))));
  frames.push_back(from_host(ipv4_marked(long_packet("10.1.0.5", "10.2.0.7", 1000), 7, 0x2000)));
  Frame tagged = out("tag 0"), other_vlan = out("tag 5"), broken = out("broken"), cut_off = out("cut");
  for (auto [frame, id] : {std::pair{&tagged, 0}, {&other_vlan, 5}}) {
    frame->insert(frame->begin() + 12, {0x81, 0, 0, static_cast<uint8_t>(id)});
    frames.push_back(*frame);
  }
  broken[14 + 10] ^= 1;
  cut_off.resize(30);
  frames.push_back(broken);
  frames.push_back(cut_off);
  frames.push_back(
      ethernet({2, 0, 0, 0, 8, 8}, kHostMac, 0x0800, udp_packet("10.1.0.5", "10.2.0.7", "elsewhere")));
  frames.push_back(ethernet(kUnsecuredMac, kHostMac, 0x88cc, Frame(60)));
  frames.push_back(arp(true, kHostMac, "10.1.0.5", "10.1.0.1"));
  frames.push_back(solicitation(kHostMac, "fd00:1::5", "fd00:1::1"));
  return frames;
}

std::vector<Frame> kinds_from_wire() {
  std::vector<Frame> frames;
  for (uint64_t iv = 1; iv < 4; ++iv) frames.push_back(sealed(key_of(17, 0), inner("opened"), iv));
  Frame forged = sealed(key_of(17, 0), inner("forged"), 9),
        plain = from_wire(udp_packet("192.0.2.9", "192.0.2.1", "x"));
  forged.back() ^= 1;
  frames.push_back(forged);
  frames.push_back(plain);
  frames.push_back(sealed(key_of(99, 0), inner("unknown")));
  frames.push_back(sealed(key_of(17, 0), inner("version"), 1, 1));
  frames.push_back(sealed(key_of(17, 0), udp_packet("10.2.0.8", "10.1.0.5", "another flow")));
  frames.push_back(sealed(key_of(17, 0), inner("to another"), 1, 255, "192.0.2.2", "192.0.2.77"));
  frames.push_back(icmp_packet("192.0.2.9", "192.0.2.1", {8, 0, 0, 0, 0, 1, 0, 1}));
  for (const Frame& piece : in_fragments(sealed(key_of(17, 0), inner(std::string(900, 'x')), 5), 480)) {
    frames.push_back(piece);
  }
  frames.push_back(arp(true, kPeerMac, "192.0.2.2", "192.0.2.1"));
  return frames;
}

// What a gateway makes of them, in an order that lcores do not change, its sealed frames opened.
struct Outcome {
  std::multiset<std::string> to_hosts, to_wire;
  std::map<std::string, uint64_t> drops;
  bool operator==(const Outcome&) const = default;
};

Outcome outcome_of(const EngineCounts& counts, const std::vector<const FakePort*>& hosts,
                   const std::vector<const FakePort*>& wires, const EgressKey& key) {
  Outcome outcome;
  for (const FakePort* port : hosts) {
    for (const Frame& frame : port->sent) outcome.to_hosts.emplace(frame.begin(), frame.end());
  }
  for (const FakePort* port : wires) {
    for (const Frame& frame : port->sent) {
      const Frame shown = get16(frame, 12) == 0x0806 ? frame : opened(frame, key);
      outcome.to_wire.emplace(shown.begin(), shown.end());
    }
  }
  for (const DropCount& drop : counts.drops) {
    if (drop.packets != 0)
      outcome.drops[std::string(drop.direction) + "/" + std::string(drop.reason)] = drop.packets;
  }
  return outcome;
}

TEST(Lcores, EveryKindOfFrameHasTheSameFateWhicheverLcoreItReaches) {
  EngineConfig config = gateway_config();
  Agreed one(config), two(config);
  const std::string six = "fd00:1::5";
  for (Agreed* gateway : {&one, &two}) {
    gateway->install(flow(six, "fd00:2::7"), gateway->key);
    gateway->settle_both();
    gateway->unsecured.sent.clear();
    gateway->secured.sent.clear();
  }
  for (const Frame& frame : kinds_from_hosts()) one.host_sends(frame);
  for (const Frame& frame : kinds_from_wire()) one.wire_sends(frame);
  for (const Frame& frame : kinds_from_hosts()) two.host_sends_to_worker(frame);
  for (const Frame& frame : kinds_from_wire()) two.wire_sends_to_worker(frame);
  one.settle_both();
  two.settle_both();
  const Outcome by_first =
      outcome_of(one.counts(), {&one.unsecured, &one.hosts_queue}, {&one.secured, &one.wire_queue}, one.key);
  const Outcome by_other =
      outcome_of(two.counts(), {&two.unsecured, &two.hosts_queue}, {&two.secured, &two.wire_queue}, two.key);
  EXPECT_EQ(by_first.to_hosts, by_other.to_hosts);
  EXPECT_EQ(by_first.to_wire, by_other.to_wire);
  EXPECT_EQ(by_first.drops, by_other.drops);
  EXPECT_GT(by_first.drops.size(), 12u);
  EXPECT_GT(two.wire_queue.sent.size(), 2u);
  EXPECT_GT(two.hosts_queue.sent.size(), 2u);
  // Pipes count each packet once, whoever ends it.
  for (size_t i = 0; i < kPipeCount; ++i) {
    EXPECT_EQ(one.counts().pipes[i].hit, two.counts().pipes[i].hit) << kPipes[i].name;
    EXPECT_EQ(one.counts().pipes[i].miss, two.counts().pipes[i].miss) << kPipes[i].name;
  }
}

}  // namespace
}  // namespace psp
