// SPDX-License-Identifier: Apache-2.0
// One turn. Held packets whose key came go before packets that arrive now; a port that takes nothing more
// leaves the rest in its queue for the next turn.
#include "engine/software/worker.h"

#include <algorithm>

#include "engine/software/pipes.h"

namespace psp {

namespace {

constexpr uint32_t kControlFrames = 2048, kControlRoom = RTE_PKTMBUF_HEADROOM + 256;
constexpr uint32_t kFragmentFrames = 2048;
constexpr uint32_t kEventsPerTurn = 256;

uint32_t longest_frame(const PortInfo& unsecured, const PortInfo& secured) {
  return kEthernetLength + std::max({unsecured.mtu, secured.mtu, kIcmpv6Octets});
}

bool any_transport(const std::vector<PeerConfig>& peers) {
  return std::ranges::any_of(peers, [](const PeerConfig& peer) { return peer.mode == Mode::kTransport; });
}

}  // namespace

Worker::Worker(const EngineConfig& engine_config, const Aead& engine_aead, Port& unsecured_port,
               Port& secured_port, uint8_t slot, std::unique_ptr<MasterKey> active, Counters& engine_counters,
               SpscRing<Event>& event_ring, SampleRing& sample_ring, uint64_t seed)
    : config(engine_config),
      aead(engine_aead),
      counters(engine_counters),
      events(event_ring),
      samples(sample_ring),
      peers(config.vips, config.peers),
      control_pool("control", kControlFrames, kControlRoom),
      fragment_pool(
          "fragment", kFragmentFrames,
          RTE_PKTMBUF_HEADROOM + longest_frame(unsecured_port.info(), secured_port.info()) + kIcvLength),
      egress_reassembly(
          {Drop::kEgressFragmentTimeout, Drop::kEgressFragmentOverlap, Drop::kEgressFragmentDuplicate,
           Drop::kEgressFragmentTableFull, Drop::kEgressFragmentMalformed},
          counters),
      ingress_reassembly(
          {Drop::kIngressFragmentTimeout, Drop::kIngressFragmentOverlap, Drop::kIngressFragmentDuplicate,
           Drop::kIngressFragmentTableFull, Drop::kIngressFragmentMalformed},
          counters),
      flows(config.max_flows, config.wants_per_peer, config.peers.size(), counters),
      hold({config.held_per_flow, config.held_per_source, config.held_total},
           longest_frame(unsecured_port.info(), secured_port.info()), counters),
      unsecured(unsecured_port, counters.unsecured),
      secured(secured_port, counters.secured),
      unsecured_rules(peers, config.gateways, unsecured.info.mac),
      secured_rules(config.secured_address),
      hosts(unsecured_rules, unsecured.info.mac, unsecured.tx, control_pool.get(), counters,
            {Drop::kIngressNeighbourUnresolved, Drop::kIngressTxFull, Drop::kIngressPortDown},
            Value::kForwardedIngress),
      next_hops(secured_rules, secured.info.mac, secured.tx, control_pool.get(), counters,
                {Drop::kEgressNoNextHop, Drop::kEgressTxFull, Drop::kEgressPortDown},
                Value::kForwardedEgress),
      bypass(config.bypass),
      vips_on_wire(any_transport(config.peers) || !config.bypass.empty()),
      draw(seed, config.sampling, config.peers),
      capture(config.capture, config.sampling.snap_bytes),
      egress_keys(aead, config.max_flows),
      outer_header(outer_of(config)),
      egress_tally(counters.peers, &PeerCounters::count_egress),
      ingress_keys(aead, config.max_flows * 2),
      receive_spis({config.max_flows, config.spis_per_flow, config.retire_ms}, config.peers.size(),
                   ingress_keys, counters),
      ingress_tally(counters.peers, &PeerCounters::count_ingress) {
  master_keys[slot] = std::move(active);
  counters.peers = std::vector<PeerCounters>(config.peers.size());
  counters.bypass = std::vector<BypassCounters>(config.bypass.size());
}

bool Worker::run_once(uint64_t now) {
  const bool ticks = now / 1'000'000 != now_ms;
  now_ns = now;
  now_ms = now / 1'000'000;
  const uint64_t sent_before = counters.secured.tx_packets.value();
  drain(*this);

  Burst& burst = burst_;
  receive(unsecured, burst);
  bool moved = burst.count != 0;
  ingress_root(*this, Direction::kEgress, burst);
  egress_root(*this, burst);
  egress_acl(*this, burst);

  receive(secured, burst);
  moved |= burst.count != 0;
  ingress_root(*this, Direction::kIngress, burst);
  ingress_decrypt(*this, burst);
  ingress_sampling(*this, burst);
  ingress_acl(*this, burst);

  tell_missed();
  if (ticks) tick();
  unsecured.tx.flush();
  secured.tx.flush();
  counters[Value::kPolls].add();
  return moved || counters.secured.tx_packets.value() != sent_before;
}

uint32_t Worker::patience_ms() const {
  const bool waits = unsecured.tx.waits() || secured.tx.waits() || !flows.untold().empty() ||
                     !flows.draining().empty() || receive_spis.any_due();
  if (waits) return 1;
  const bool soon = hosts.asking() || next_hops.asking() || flows.any_refused() ||
                    egress_reassembly.waits() || ingress_reassembly.waits();
  return soon ? 10 : 1000;
}

void Worker::tell_sample(SampleFacts& facts, const Packet& packet, const uint8_t* octets, uint32_t length) {
  facts.at_ns = now_ns;
  facts.protocol = packet.ip.protocol;
  facts.source_port = packet.ports.source;
  facts.destination_port = packet.ports.destination;
  const bool taken = samples.push(facts, octets, length);
  counters[taken ? Value::kSamplesTaken : Value::kSamplesLost].add();
}

void Worker::receive(Side& side, Burst& burst) {
  std::array<rte_mbuf*, kBurst> received;
  burst.count = side.port.rx_burst(received.data(), kBurst);
  uint64_t octets = 0;
  for (uint16_t i = 0; i < burst.count; ++i) {
    burst.packets[i].begin(received[i]);
    rte_prefetch0(burst.packets[i].frame());
    octets += received[i]->pkt_len;
  }
  if (burst.count == 0) return;
  side.counters.rx_packets.add(burst.count);
  side.counters.rx_bytes.add(octets);
}

// Flows are told of in the order in which they missed. What a full ring does not take is told later.
void Worker::tell_missed() {
  for (uint32_t left = kEventsPerTurn; left > 0 && !flows.untold().empty(); --left) {
    const uint32_t number = flows.untold().head;
    if (!tell(MissedEvent{flows[number].key, flows[number].peer})) break;
    counters[Value::kMissEvents].add();
    flows.told(number);
  }
  counters[Value::kMissesWaiting].set(flows.untold().count);
}

void Worker::tick() {
  egress_reassembly.tick(now_ms);
  ingress_reassembly.tick(now_ms);
  flows.tick(now_ms);
  receive_spis.tick(now_ms);
  hosts.tick(now_ms);
  next_hops.tick(now_ms);
}

}  // namespace psp
