// SPDX-License-Identifier: Apache-2.0
// A worker lcore's turn: that of the main lcore (main_turn.cc), where each packet that needs slow-path state
// is handed off.
#include "engine/software/pipes/egress/egress.h"
#include "engine/software/pipes/entry.h"
#include "engine/software/pipes/ingress/ingress.h"
#include "engine/software/receive.h"
#include "engine/software/turn.h"

namespace psp {

namespace {

constexpr Timers<WorkerLcore>::Timer kTimers[] = {
    [](WorkerLcore& lcore, Budget& budget) { return lcore.flow_copies.sweep(lcore.now_ms, budget); },
    [](WorkerLcore& lcore, Budget& budget) { return lcore.spi_copies.sweep(lcore.now_ms, budget); },
};

bool receive_from_wire(WorkerLcore& lcore) {
  std::array<rte_mbuf*, kBurst> frames;
  return receive(lcore.secured, frames, 0, lcore.burst);
}
// Packets of our own precede those of hosts.
bool receive_from_hosts(WorkerLcore& lcore) {
  std::array<rte_mbuf*, kBurst> frames;
  const uint16_t own = lcore.own_packets.take(frames.data());
  return receive(lcore.unsecured, frames, own, lcore.burst);
}

// ARP and neighbour discovery, which ingress_root does not count here.
void hand_off_neighbours(WorkerLcore& lcore, Direction direction) {
  for (const Packet& packet : lcore.slow_path) lcore.hand_off(direction, 0, packet);
  lcore.slow_path.count = 0;
}
// The main lcore counts these packets at ingress_root.
void hand_off_icmp(WorkerLcore& lcore) {
  for (const Packet& packet : lcore.slow_path) {
    lcore.counters.unhit(Pipe::kIngressRoot);
    lcore.hand_off(Direction::kIngress, 0, packet);
  }
  lcore.slow_path.count = 0;
}

}  // namespace

bool run_once(WorkerLcore& lcore, uint64_t now_ns) {
  const bool ticks = begin_turn(lcore, now_ns);
  const uint64_t sent_before = lcore.secured.counters.tx_packets.value();
  Burst& burst = lcore.burst;
  lcore.take_over_changes();

  // From the wire to hosts.
  const bool from_wire = receive_from_wire(lcore);
  if (from_wire) {
    ingress_root(lcore, lcore.secured, burst);
    hand_off_neighbours(lcore, Direction::kIngress);
    ingress_reassembly(lcore, burst);
    ingress_decrypt(lcore, burst);
    hand_off_icmp(lcore);
    ingress_bypass(lcore, lcore.clear);
    find_spis(lcore, burst);
    open(lcore, burst);
    syndrome_stats(lcore, lcore.unopened);
    ingress_sampling(lcore, burst);
    ingress_acl(lcore, burst);
    decap(lcore, burst);
    lcore.hosts.send(lcore.to_hosts, lcore.now_ms);
    lcore.spi_copies.end_burst();
  }

  // From hosts to the wire.
  const bool from_hosts = receive_from_hosts(lcore);
  if (from_hosts) {
    ingress_root(lcore, lcore.unsecured, burst);
    hand_off_neighbours(lcore, Direction::kEgress);
    egress_root(lcore, burst);
    answer_echo(lcore, lcore.to_gateway);
    egress_bypass(lcore, lcore.clear);
    egress_acl(lcore, burst);
    egress_sampling(lcore, burst);
    seal(lcore, burst);
    lcore.next_hops.send(lcore.to_wire, lcore.now_ms);
    lcore.flow_copies.end_burst();
  }
  lcore.hosts.send(lcore.to_hosts, lcore.now_ms);  // ICMP errors

  lcore.budget = Budget(Budget::kTurn);
  if (ticks || lcore.timers.unfinished()) lcore.timers.run(lcore, kTimers, lcore.budget);
  lcore.unsecured.tx.flush();
  lcore.secured.tx.flush();
  lcore.counters[Value::kPolls].add();
  return from_wire || from_hosts || lcore.timers.unfinished() ||
         lcore.secured.counters.tx_packets.value() != sent_before;
}

}  // namespace psp
