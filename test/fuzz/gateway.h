// SPDX-License-Identifier: Apache-2.0
// A whole software gateway between two ports in memory, for the worker target: two peers, one in tunnel and
// one in transport mode, keys from fixed octets. It remembers what it was given, so that whatever comes out
// can be judged:
//
//   secured port    ARP, neighbour discovery of its own, and PSP that opens to a packet that a host sent, or
//   to
//                   an ICMP error of its own about a packet that a peer sealed
//   unsecured port  ARP, neighbour discovery, ICMP errors and echo replies of its own, and packets that a
//   peer
//                   sealed
//
// Judging lives in judge.h.
#pragma once

#include <memory>
#include <set>

#include "../native/engine/frames.h"
#include "engine/software/commands.h"
#include "engine/software/turn.h"
#include "memory_port.h"
#include "packets.h"

namespace psp::fuzz {

inline constexpr uint8_t kMasterOctets[32] = {1, 2, 3, 4, 5, 6, 7, 8};
inline constexpr uint16_t kTunnelPeer = 0, kTransportPeer = 1;

// Which of the gateways an input is about. What the shapes differ in decides by which path packets are
// sealed: a sampled packet and one with a UDP checksum are sealed alone, all others in batches.
struct Shape {
  bool outer_ipv6 = false;
  uint16_t secured_mtu = 1600;
  bool udp_checksum = false;
  bool samples = false;
  uint16_t tunnel_mtu = 0, transport_mtu = 0;  // of the paths to the two peers; 0: that of the secured port
};
inline constexpr Shape kShapes[] = {
    {.secured_mtu = 1600, .samples = true},
    {.outer_ipv6 = true, .secured_mtu = 1300, .udp_checksum = true, .samples = true},
    {.secured_mtu = 1500, .tunnel_mtu = 900, .transport_mtu = 700},
    {.outer_ipv6 = true, .secured_mtu = 1500},
};

inline EngineConfig config_of(const Shape& shape) {
  EngineConfig config;
  config.gateways = {prefix("10.1.0.1/24"), prefix("fd00:1::1/64")};
  config.secured_address = prefix(shape.outer_ipv6 ? "fd00:9::1/64" : "192.0.2.1/24");
  config.secured_gateway = address(shape.outer_ipv6 ? "fd00:9::2" : "192.0.2.2");
  config.vips = {prefix("10.1.0.0/24"), prefix("fd00:1::/64")};
  config.peers = {{.vips = {prefix("10.2.0.0/16"), prefix("fd00:2::/64")}, .mtu = shape.tunnel_mtu},
                  {.vips = {prefix("10.3.0.0/16"), prefix("fd00:3::/64")},
                   .mode = Mode::kTransport,
                   .mtu = shape.transport_mtu}};
  config.outer.udp_checksum = shape.udp_checksum;
  config.max_flows = 256;
  config.retire_ms = 1000;
  config.held_per_flow = 8;
  config.held_per_source = 32;
  config.held_total = 64;
  config.wants_per_peer = 32;
  config.spis_per_flow = 8;
  if (shape.samples) config.sampling.egress_log2 = 1;
  config.sampling.plain = true;
  return config;
}

class Gateway {
 public:
  explicit Gateway(const Shape& shape) : shape(shape), config(config_of(shape)) { begin(); }

  void turn(uint64_t ms = 0) {
    now_ms_ += ms;
    run_once(*main, now_ms_ * 1'000'000);
    for (Event event; events.pop(&event);) {
    }
    for (Sample sample; samples.pop(&sample);) {
    }
  }
  void settle() {
    do turn();
    while (!unsecured.received.empty() || !secured.received.empty());
  }
  template <typename T>
  T obey(T body) {
    Command command;
    command.body = std::move(body);
    Budget all = Budget::unlimited();
    carry_out(*main, command, all);
    return std::get<T>(std::move(command.body));
  }

  // Every frame has exactly one end, received ones and those that we make of others.
  bool conserves() {
    uint64_t ends = value(Value::kHeld) + value(Value::kNeighbourQueued) + value(Value::kConsumed) +
                    value(Value::kForwardedEgress) + value(Value::kForwardedIngress) +
                    value(Value::kFragmentsWaiting) + value(Value::kFragmentsJoined);
    for (const Counter& drop : counters.drops) ends += drop.value();
    const uint64_t made =
        value(Value::kFragmentsMade) - value(Value::kPacketsFragmented) + value(Value::kIcmpSent);
    return ends == counters.unsecured.rx_packets.value() + counters.secured.rx_packets.value() + made;
  }
  uint64_t value(Value value) { return counters[value].value(); }

  // Takes back all that an input did, as far as the worker can tell; afterwards no packet may be out.
  void forget() {
    unsecured.takes = secured.takes = UINT64_MAX;
    main->unsecured.tx.set_up(true);
    main->secured.tx.set_up(true);
    remove_flows();
    for (int second = 0; second < 700; second += second < 8 ? 1 : 100) {
      turn(second < 8 ? 1000 : 100'000);
      for (int more = 0; more < 8; ++more) turn(1);
    }
    unsecured.sent.clear();
    secured.sent.clear();
    require(conserves(), "every frame has one end");
    require(value(Value::kHeld) == 0, "nothing is held for a flow that was removed");
    require(value(Value::kFragmentsWaiting) == 0, "no fragment waits for ever");
    require(unsecured.packets_out() == 0 && secured.packets_out() == 0, "no packet is lost");
    require(rte_mempool_in_use_count(main->shared->control_pool.get()) == 0, "nor one of our own");
    require(rte_mempool_in_use_count(main->shared->fragment_pool.get()) == 0, "nor a fragment");
    // What was learned of neighbours stays with the worker: an input must not depend on those before it.
    introduce();
    if (value(Value::kNeighbours) != kNeighboursAtFirst) begin();
  }

  const Shape shape;
  const EngineConfig config;
  std::unique_ptr<Aead> aead = make_aead_libcrypto();
  MemoryPort unsecured{{kUnsecuredMac, 1500}}, secured{{kSecuredMac, shape.secured_mtu}};
  Counters counters;
  SpscRing<Event> events{64};
  SampleRing samples{64, 128};
  MasterKeys master_keys;
  std::unique_ptr<MainLcore> main;

 private:
  static constexpr uint64_t kNeighboursAtFirst = 3;

  void begin() {
    main.reset();
    master_keys.by_slot = {std::make_unique<MasterKey>(std::span<const uint8_t, 32>(kMasterOctets)), nullptr};
    for (Counter& value : counters.values) value.set(0);
    for (Counter& drop : counters.drops) drop.set(0);
    counters.unsecured.rx_packets.set(0);
    counters.secured.rx_packets.set(0);
    main = std::make_unique<MainLcore>(config, *aead, unsecured, secured, master_keys, counters, events,
                                       samples, 20);
    turn(1000);
    introduce();
    require(value(Value::kNeighbours) == kNeighboursAtFirst, "the neighbours are known");
  }
  // The next hop and two hosts make themselves known.
  void introduce() {
    const auto next_hop = *config.secured_gateway;
    secured.received.push_back(is_ipv4(next_hop) ? arp(true, kPeerMac, "192.0.2.2", "192.0.2.1")
                                                 : solicitation(kPeerMac, "fd00:9::2", "fd00:9::1"));
    unsecured.received.push_back(arp(true, kHostMac, "10.1.0.5", "10.1.0.1"));
    unsecured.received.push_back(solicitation(kHostMac, "fd00:1::5", "fd00:1::1"));
    settle();
    unsecured.sent.clear();
    secured.sent.clear();
  }
  void remove_flows() {
    FlowsCommand page;
    page.rows.resize(1024);
    RemoveCommand remove;
    do {
      page = obey(std::move(page));
      page.cursor = page.next_cursor;
      for (uint32_t i = 0; i < page.count; ++i) {
        const FlowRow& row = page.rows[i];
        const bool inbound = row.state == FlowRow::State::kOffered || row.state == FlowRow::State::kSeen;
        remove.flows.push_back(inbound ? row.flow.reversed() : row.flow);
      }
    } while (page.cursor != 0);
    obey(std::move(remove));
  }

  uint64_t now_ms_ = 0;
};

}  // namespace psp::fuzz
