// SPDX-License-Identifier: Apache-2.0
// Memory of packets that wait is constructed first. Changes are announced after they are made.
#include "engine/software/lcore/main_lcore.h"

#include <algorithm>
#include <utility>

#include "engine/software/lcore/worker_lcore.h"

namespace psp {

namespace {

uint32_t longest_frame(const Port& unsecured, const Port& secured) {
  return kEthernetLength + std::max({unsecured.info().mtu, secured.info().mtu, kIcmpv6Octets});
}

}  // namespace

WaitingPackets::WaitingPackets(const EngineConfig& config, uint32_t longest_frame, Counters& counters)
    : hold({config.held_per_flow, config.held_per_source, config.held_total}, longest_frame, counters),
      egress_reassembly(
          {Drop::kEgressFragmentTimeout, Drop::kEgressFragmentOverlap, Drop::kEgressFragmentDuplicate,
           Drop::kEgressFragmentTableFull, Drop::kEgressFragmentMalformed},
          counters),
      ingress_reassembly(
          {Drop::kIngressFragmentTimeout, Drop::kIngressFragmentOverlap, Drop::kIngressFragmentDuplicate,
           Drop::kIngressFragmentTableFull, Drop::kIngressFragmentMalformed},
          counters) {}

MainLcore::MainLcore(const EngineConfig& engine_config, const Aead& engine_aead, Port& unsecured_port,
                     Port& secured_port, MasterKeys& keys, Counters& own_counters,
                     SpscRing<Event>& event_ring, SampleRing& sample_ring, uint64_t seed)
    : WaitingPackets(engine_config, longest_frame(unsecured_port, secured_port), own_counters),
      Lcore({engine_config, engine_aead, unsecured_port, secured_port, own_counters, sample_ring, seed},
            std::make_shared<Shared>(engine_config, longest_frame(unsecured_port, secured_port)),
            engine_config.max_flows, ReceiveSpis::records_for(engine_config.max_flows)),
      events(event_ring),
      flow_table(flows, shared->ivs, config.wants_per_peer, counters.peers.size(), counters,
                 config.lcores - 1),
      key_wear(config.most_sealed_per_key),
      receive_spis(spis, {config.spis_per_flow, config.retire_ms}, counters.peers.size(), ingress_keys,
                   counters, config.lcores - 1),
      unknown_spis(seed),
      hosts(unsecured_rules, unsecured.info.mac, unsecured.tx, shared->control_pool.get(), counters,
            kHostDrops, Value::kForwardedIngress, config.lcores > 1),
      next_hops(secured_rules, secured.info.mac, secured.tx, shared->control_pool.get(), counters,
                kNextHopDrops, Value::kForwardedEgress, config.lcores > 1),
      keys_(keys) {
  for (size_t slot = 0; slot < 2; ++slot) master_keys[slot] = keys.by_slot[slot].get();
  share_tables();
}

uint16_t MainLcore::follow_link(bool is_secured, const LinkState& link) {
  const Side& side = is_secured ? secured : unsecured;
  const uint16_t mtu = std::min(link.mtu, side.largest_mtu);
  const bool moved = side.info.mac != link.mac;
  use_link(is_secured, link.up, mtu, link.mac);
  if (moved) (is_secured ? next_hops : hosts).change_mac(link.mac);
  announce_change();
  return mtu;
}

void MainLcore::rotate_master_key() {
  const uint8_t slot = keys_.rotate();
  master_keys[slot] = keys_.by_slot[slot].get();
  receive_spis.end_slot(slot);
  announce_change();
}

void MainLcore::replace_topology(std::shared_ptr<const Topology>& next) {
  std::swap(shared->topology, next);
  use_topology(*shared->topology);
  share_tables();
  announce_change();
}

void MainLcore::share_tables() {
  const auto has_peer = [this](size_t n) {
    return n < topology->peers.size() && !topology->peers[static_cast<uint16_t>(n)].vips.empty();
  };
  flow_table.share_between(has_peer);
  receive_spis.share_between(has_peer);
}

uint64_t MainLcore::sealed_packets() const {
  uint64_t sum = counters[Value::kTxPackets].value();
  for (const WorkerLcore* worker : workers) sum += worker->counters[Value::kTxPackets].value();
  return sum;
}

bool MainLcore::settled() const {
  return std::ranges::all_of(workers, [this](const WorkerLcore* worker) {
    return worker->changes.load(std::memory_order_acquire) == changes.load(std::memory_order_relaxed);
  });
}

bool MainLcore::grow_memory() {
  return flow_table.grow() || receive_spis.grow() || egress_keys.grow() || ingress_keys.grow();
}

uint32_t MainLcore::idle_timeout_ms() const {
  const bool now = unsecured.tx.waits() || secured.tx.waits() || !flow_table.unreported().empty() ||
                   !flow_table.draining().empty() || receive_spis.any_due() || key_wear.in_round();
  if (now) return 1;
  const bool soon = hosts.any_due() || next_hops.any_due() || flow_table.any_wanted() ||
                    flow_table.any_refused() || unknown_spis.any() || egress_reassembly.waits() ||
                    ingress_reassembly.waits();
  return soon ? 10 : 1000;
}

}  // namespace psp
