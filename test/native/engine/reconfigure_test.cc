// SPDX-License-Identifier: Apache-2.0
// Peers, VIPs and bypass that are replaced while packets pass.
#include <gtest/gtest.h>

#include "engine/ip/topology.h"
#include "lcores.h"
#include "sealed_frames.h"

namespace psp {
namespace {

EngineConfig with_space_for_peers(EngineConfig config = gateway_config()) {
  config.max_peers = 4;
  return config;
}

const FlowKey kFlow = flow("10.1.0.5", "10.2.0.7");
const PeerConfig kSecond = {.vips = {prefix("10.3.0.0/16"), prefix("fd00:3::/64")}};

// The command as the control thread leaves it for the main lcore.
ReconfigureCommand to(const EngineConfig& config, std::vector<PeerConfig> peers,
                      std::vector<BypassRule> bypass = {}, bool paths_changed = false) {
  ReconfigureCommand command{config.vips, std::move(peers), std::move(bypass), paths_changed, false, nullptr};
  command.prepared = std::make_shared<Topology>(config.gateways, command.vips, command.peers, command.bypass);
  return command;
}

Frame packet_to(const std::string& destination, const std::string& words = "x") {
  return from_host("10.1.0.5", destination, words);
}

TEST(Reconfigure, APeerThatIsAddedIsReachedAndOneThatIsRemovedIsNot) {
  Gateway gateway(with_space_for_peers());
  gateway.know_next_hop();
  gateway.host_sends(packet_to("10.3.0.7"));
  EXPECT_EQ(gateway.dropped(Drop::kEgressNoPeer), 1u);
  const PeerConfig first = gateway.config.peers[0];
  gateway.obey(to(gateway.config, {first, kSecond}));
  gateway.host_sends(packet_to("10.3.0.7"));
  const auto missed = gateway.missed();
  ASSERT_EQ(missed.size(), 1u);
  EXPECT_EQ(missed[0].peer, 1);
  const FlowKey to_second = flow("10.1.0.5", "10.3.0.7");
  EXPECT_EQ(gateway.install(to_second, egress_key(6), 1), InstallResult::kInstalled);
  gateway.settle();
  EXPECT_EQ(gateway.secured.sent.size(), 1u);
  EXPECT_EQ(gateway.counters.read().peers[1].egress_packets, 1u);

  gateway.install(kFlow, egress_key(5));
  gateway.obey(to(gateway.config, {first, PeerConfig{}}));
  gateway.obey(RemoveCommand{{to_second}});
  gateway.secured.sent.clear();
  gateway.host_sends(packet_to("10.3.0.7"));
  EXPECT_EQ(gateway.dropped(Drop::kEgressNoPeer), 2u);
  EXPECT_TRUE(gateway.secured.sent.empty());
  gateway.host_sends(packet_to("10.2.0.7", "still there"));
  ASSERT_EQ(gateway.secured.sent.size(), 1u);
  EXPECT_EQ(words_of(opened(gateway.secured.sent[0], egress_key(5))), "still there");
  EXPECT_EQ(gateway.counters.read().peers[1].keyed_flows, 0u);
  gateway.expect_conservation();
}

TEST(Reconfigure, HostsFindThePrefixesOfANewPeer) {
  Gateway gateway(with_space_for_peers());
  const auto answers = [&] {
    gateway.unsecured.sent.clear();
    gateway.host_sends(arp(true, kHostMac, "10.1.0.5", "10.3.0.7"));
    return gateway.unsecured.sent.size();
  };
  EXPECT_EQ(answers(), 0u);
  gateway.obey(to(gateway.config, {gateway.config.peers[0], kSecond}));
  EXPECT_EQ(answers(), 1u);
}

TEST(Reconfigure, ABypassRuleComesAndGoes) {
  EngineConfig config = with_space_for_peers();
  Gateway gateway(config);
  gateway.know_next_hop();
  const std::vector<BypassRule> rules = {{prefix("192.0.2.0/24"), 0, 0}};
  gateway.host_sends(packet_to("192.0.2.2"));
  EXPECT_TRUE(gateway.secured.sent.empty());
  gateway.obey(to(config, config.peers, rules));
  gateway.host_sends(packet_to("192.0.2.2"));
  EXPECT_EQ(gateway.secured.sent.size(), 1u);
  EXPECT_EQ(gateway.counters.read().bypass[0].egress_packets, 1u);
  gateway.obey(to(config, config.peers));
  gateway.host_sends(packet_to("192.0.2.2"));
  EXPECT_EQ(gateway.secured.sent.size(), 1u);
  gateway.expect_conservation();
}

TEST(Reconfigure, WithoutMemoryChangesNothing) {
  Gateway gateway(with_space_for_peers());
  ReconfigureCommand command;
  command.failed = true;
  const Topology* const before = gateway.main->topology;
  EXPECT_TRUE(gateway.obey(std::move(command)).failed);
  EXPECT_EQ(gateway.main->topology, before);
}

// Of one gateway, commands go on over several turns.
struct Lcores : TwoLcores {
  explicit Lcores(EngineConfig engine_config) : TwoLcores(std::move(engine_config)) {}

  // Carries out as much as can be done now. The old topology is in the command until it ends.
  bool carry_out_some() {
    Budget all = Budget::unlimited();
    return carry_out(*main, command, all);
  }
  Command command;
};

TEST(Reconfigure, IsCompleteOnceAWorkerLcoreUsesTheNewTopology) {
  Lcores gateway(with_space_for_peers());
  const std::weak_ptr<const Topology> old = gateway.main->shared->topology;
  gateway.command.body = to(gateway.config, {gateway.config.peers[0], kSecond});
  EXPECT_TRUE(gateway.carry_out_some());
  EXPECT_FALSE(gateway.main->settled());
  EXPECT_FALSE(old.expired());
  EXPECT_EQ(gateway.worker->topology, old.lock().get());
  gateway.host_sends_to_worker(packet_to("10.3.0.7"));
  EXPECT_TRUE(gateway.main->settled());
  gateway.turn();
  EXPECT_EQ(gateway.missed().size(), 1u);
  gateway.command = {};
  EXPECT_TRUE(old.expired());
}

TEST(Reconfigure, AnotherMtuCountsForFlowsThatHaveAKeyOnEveryLcore) {
  Lcores gateway(with_space_for_peers());
  gateway.know_next_hop();
  gateway.install(kFlow, egress_key(5));
  const Frame packet = packet_to("10.2.0.7", std::string(1200, 'x'));
  gateway.host_sends(packet);
  gateway.host_sends_to_worker(packet);
  EXPECT_EQ(gateway.secured.sent.size(), 1u);
  EXPECT_EQ(gateway.wire_queue.sent.size(), 1u);
  PeerConfig narrow = gateway.config.peers[0];
  narrow.mtu = 800;
  gateway.command.body = to(gateway.config, {narrow}, {}, true);
  EXPECT_FALSE(gateway.carry_out_some());
  gateway.turn_worker();
  EXPECT_TRUE(gateway.carry_out_some());
  gateway.secured.sent.clear();
  gateway.wire_queue.sent.clear();
  gateway.host_sends(packet);
  gateway.host_sends_to_worker(packet);
  gateway.settle_both();
  std::vector<Frame> sent(gateway.secured.sent.begin(), gateway.secured.sent.end());
  sent.insert(sent.end(), gateway.wire_queue.sent.begin(), gateway.wire_queue.sent.end());
  EXPECT_EQ(sent.size(), 4u);
  for (const Frame& frame : sent) EXPECT_LE(frame.size(), kEthernetLength + 800u);
}

TEST(Reconfigure, TheTablesAreSharedAnew) {
  EngineConfig config = with_space_for_peers();
  config.max_flows = 100;
  config.peers = {{.vips = {prefix("10.2.0.0/16")}}};
  Gateway gateway(config);
  const auto install = [&](uint16_t peer, uint32_t n) {
    const FlowKey key = flow("10.1.0.5", "10." + std::to_string(2 + peer) + ".0." + std::to_string(n + 1));
    return gateway.install(key, egress_key(n + 1), peer) == InstallResult::kInstalled;
  };
  uint32_t first = 0;
  while (install(0, first)) ++first;
  EXPECT_EQ(first, 100u);
  gateway.obey(to(config, {config.peers[0], kSecond}));
  EXPECT_FALSE(install(1, 0));
  // What the first gives back is the other's, up to a quarter of the table.
  for (uint32_t n = 0; n < 30; ++n)
    gateway.obey(RemoveCommand{{flow("10.1.0.5", "10.2.0." + std::to_string(n + 1))}});
  EXPECT_FALSE(install(0, 0) && install(0, 1) && install(0, 2) && install(0, 3) && install(0, 4) &&
               install(0, 5));
  uint32_t second = 0;
  while (install(1, second)) ++second;
  EXPECT_GE(second, 25u);
}

TEST(Reconfigure, ManyTimesLeavesOneTopology) {
  Gateway gateway(with_space_for_peers());
  gateway.know_next_hop();
  gateway.install(kFlow, egress_key(5));
  std::vector<std::weak_ptr<const Topology>> all;
  for (int i = 0; i < 100; ++i) {
    std::vector<PeerConfig> peers = {gateway.config.peers[0]};
    if (i % 2 == 0) peers.push_back(kSecond);
    gateway.obey(to(gateway.config, std::move(peers)));
    all.push_back(gateway.main->shared->topology);
    gateway.host_sends(packet_to("10.2.0.7"));
    gateway.host_sends(packet_to("10.3.0.7"));
  }
  EXPECT_EQ(std::ranges::count_if(all, [](const auto& one) { return !one.expired(); }), 1);
  EXPECT_EQ(gateway.secured.sent.size(), 100u);
  // The flow to the peer that came and went was never removed.
  gateway.pass(10'000);
  gateway.expect_conservation();
}

}  // namespace
}  // namespace psp
