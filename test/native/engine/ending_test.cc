// SPDX-License-Identifier: Apache-2.0
// The end of a gateway: wherever packets wait by then, each goes back to its pool before the pool ends. DPDK
// tells of the end of pools, and how many packets of each are elsewhere.
#define ALLOW_INTERNAL_API
#include <rte_mempool.h>

#include "wire_frames.h"

namespace psp {
namespace {

// What ended while it lives.
struct EndedPools {
  EndedPools() { EXPECT_EQ(rte_mempool_event_callback_register(note, this), 0); }
  ~EndedPools() { EXPECT_EQ(rte_mempool_event_callback_unregister(note, this), 0); }
  static void note(rte_mempool_event event, rte_mempool* pool, void* self) {
    if (event != RTE_MEMPOOL_EVENT_DESTROY) return;
    ++static_cast<EndedPools*>(self)->count;
    static_cast<EndedPools*>(self)->missing += rte_mempool_in_use_count(pool);
  }
  uint32_t count = 0, missing = 0;
};

TEST(Ending, GivesEveryPacketBackToItsPool) {
  EngineConfig config = gateway_config();
  config.peers[0].mode = Mode::kTransport;
  auto gateway = std::make_unique<Gateway>(config, 1500, 1500);
  const auto packet = [](const std::string& destination, size_t length) {
    return ipv4_marked(long_packet("10.1.0.5", destination, length), 7, 0);
  };
  const auto host_sends = [&](const Frame& ip) { gateway->host_sends(from_host(ip)); };
  const auto fragments = [&](const std::string& destination) {
    return in_fragments(from_host(packet(destination, 1000)), 504);
  };
  gateway->know_next_hop();
  gateway->secured.takes = gateway->unsecured.takes = 0;
  // What was held waits for the port, or still for a key.
  for (const char* destination : {"10.2.0.7", "10.2.0.9"}) host_sends(packet(destination, 100));
  EgressKey key = transport_key(5);
  gateway->install(flow("10.1.0.5", "10.2.0.7"), key);
  // Other packets wait for the port, or for a silent next hop: put together, cut, and as they came.
  key.outer_destination = address("192.0.2.3");
  gateway->install(flow("10.1.0.5", "10.2.0.8"), key);
  for (const char* destination : {"10.2.0.7", "10.2.0.8"}) {
    for (const Frame& fragment : fragments(destination)) gateway->host_sends(fragment);
    host_sends(packet(destination, 1480));
    host_sends(packet(destination, 100));
  }
  // A packet lacks its rest; a host that is silent is to be told something; others were answered.
  gateway->host_sends(fragments("10.2.0.7")[0]);
  host_sends(with_df(packet("10.2.0.7", 1480)));
  gateway->host_sends(arp(true, kHostMac, "10.1.0.6", "10.1.0.1"));
  gateway->wire_sends(arp(true, kPeerMac, "192.0.2.2", "192.0.2.1"));
  EXPECT_EQ(gateway->value(Value::kHeld), 1u);
  EXPECT_EQ(gateway->value(Value::kResubmitted), 1u);
  EXPECT_EQ(gateway->value(Value::kReassembled), 2u);
  EXPECT_EQ(gateway->value(Value::kPacketsFragmented), 2u);
  EXPECT_EQ(gateway->value(Value::kFragmentsWaiting), 1u);
  EXPECT_EQ(gateway->value(Value::kNeighbourQueued), 5u);
  EXPECT_FALSE(gateway->main->unsecured.tx.empty());
  EXPECT_FALSE(gateway->main->secured.tx.empty());
  gateway->expect_conservation();

  EndedPools ended;
  gateway.reset();
  EXPECT_EQ(ended.count, 7u);  // the worker's five, and the ports'
  EXPECT_EQ(ended.missing, 0u);
}

}  // namespace
}  // namespace psp
