// SPDX-License-Identifier: Apache-2.0
// Changes of the main lcore are taken over at the beginning of a turn, all at once.
#include "engine/software/lcore/worker_lcore.h"

namespace psp {

WorkerLcore::WorkerLcore(MainLcore& main_lcore, uint32_t index, Port& unsecured_port, Port& secured_port,
                         Counters& own_counters, SampleRing& own_samples, uint64_t seed)
    : Lcore(
          {main_lcore.config, main_lcore.aead, unsecured_port, secured_port, own_counters, own_samples, seed},
          main_lcore.shared, CopySlots::count_for(main_lcore.flows.slab().capacity()),
          CopySlots::count_for(main_lcore.spis.slab().capacity())),
      main(main_lcore),
      flow_copies(main.flow_table, flows, egress_keys, index),
      spi_copies(main.receive_spis, spis, ingress_keys, index),
      hosts(main.hosts, handoff, Handoff::kToHosts, unsecured.tx, counters, kHostDrops,
            Value::kForwardedIngress),
      next_hops(main.next_hops, handoff, Handoff::kToWire, secured.tx, counters, kNextHopDrops,
                Value::kForwardedEgress),
      changes(main.changes - 1) {
  take_over_changes();
  main.workers.push_back(this);
}

void WorkerLcore::hand_off(Direction direction, uint32_t hash, const Packet& packet) {
  const bool egress = direction == Direction::kEgress;
  counters[Value::kHandedOff].add();
  if (handoff.push(egress ? Handoff::kFromHosts : Handoff::kFromWire, hash, {packet.mbuf, {}})) return;
  drop(packet, egress ? Drop::kEgressHandoffFull : Drop::kIngressHandoffFull);
}

// The main lcore changes none of it again before all worker lcores have this number.
void WorkerLcore::take_over_changes() {
  const uint32_t number = main.changes.load(std::memory_order_acquire);
  if (number == changes.load(std::memory_order_relaxed)) return;
  master_keys = main.master_keys;
  sampling.set_as(main.sampling);
  spi_copies.renew_generations();
  use_topology(*main.shared->topology);
  timers.begin();  // old keys are wiped from this turn on
  for (const bool is_secured : {false, true}) {
    const Side& side = is_secured ? main.secured : main.unsecured;
    use_link(is_secured, side.tx.is_up(), side.info.mtu, side.info.mac);
  }
  changes.store(number, std::memory_order_release);
}

bool WorkerLcore::grow_memory() {
  return flow_copies.grow() || spi_copies.grow() || egress_keys.grow() || ingress_keys.grow();
}

uint32_t WorkerLcore::idle_timeout_ms() const {
  const bool sends = unsecured.tx.waits() || secured.tx.waits();
  return sends || flow_copies.sweeping() || spi_copies.sweeping() ? 1 : 1000;
}

}  // namespace psp
