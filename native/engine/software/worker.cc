// SPDX-License-Identifier: Apache-2.0
// One turn. Held packets whose key came go before packets that arrive now; a port that takes nothing more
// leaves the rest in its queue for the next turn.
#include "engine/software/worker.h"

#include <rte_debug.h>

#include <algorithm>
#include <span>

#include "engine/software/pipes/pipes.h"
#include "psp/protocols.h"

namespace psp {

namespace {

constexpr uint32_t kControlFrames = 2048, kControlRoom = RTE_PKTMBUF_HEADROOM + 256;
constexpr uint32_t kFragmentFrames = 2048;

// A timer returns false when the budget ended before its work of this millisecond.
using Timer = bool (*)(Worker&, Budget&);
constexpr Timer kMainTimers[] = {
    [](Worker& worker, Budget& budget) { return worker.egress_reassembly.tick(worker.now_ms, budget); },
    [](Worker& worker, Budget& budget) { return worker.ingress_reassembly.tick(worker.now_ms, budget); },
    [](Worker& worker, Budget& budget) { return worker.give_up(budget); },
    [](Worker& worker, Budget& budget) { return worker.flows.tick(worker.now_ms, budget); },
    [](Worker& worker, Budget& budget) { return worker.receive_spis.tick(worker.now_ms, budget); },
    [](Worker& worker, Budget& budget) { return worker.hosts.tick(worker.now_ms, budget); },
    [](Worker& worker, Budget& budget) { return worker.next_hops.tick(worker.now_ms, budget); },
};
constexpr Timer kWorkerTimers[] = {
    [](Worker& worker, Budget& budget) { return worker.other->flows.sweep(worker.now_ms, budget); },
    [](Worker& worker, Budget& budget) { return worker.other->spis.sweep(worker.now_ms, budget); },
};
constexpr uint32_t kEventsPerTurn = 2 * kBurst;  // of a burst at most kBurst flows are new

uint32_t longest_frame(const PortInfo& unsecured, const PortInfo& secured) {
  return kEthernetLength + std::max({unsecured.mtu, secured.mtu, kIcmpv6Octets});
}

bool any_transport(const std::vector<PeerConfig>& peers) {
  return std::ranges::any_of(peers, [](const PeerConfig& peer) { return peer.mode == Mode::kTransport; });
}

// Whether a peer's prefix has an address in it.
bool any_of_peers(const Peers& peers, const std::vector<Prefix>& prefixes) {
  return std::ranges::any_of(
      prefixes, [&](const Prefix& prefix) { return peers.owner(prefix.address) < Peers::kLocal; });
}

}  // namespace

Worker::Once::Once(const EngineConfig& config, uint32_t longest, Counters& counters)
    : peers(config.vips, config.peers),
      control_pool("control", kControlFrames, kControlRoom),
      fragment_pool("fragment", kFragmentFrames, RTE_PKTMBUF_HEADROOM + longest + kIcvLength),
      capture_limit(config.capture),
      egress_reassembly(
          {Drop::kEgressFragmentTimeout, Drop::kEgressFragmentOverlap, Drop::kEgressFragmentDuplicate,
           Drop::kEgressFragmentTableFull, Drop::kEgressFragmentMalformed},
          counters),
      ingress_reassembly(
          {Drop::kIngressFragmentTimeout, Drop::kIngressFragmentOverlap, Drop::kIngressFragmentDuplicate,
           Drop::kIngressFragmentTableFull, Drop::kIngressFragmentMalformed},
          counters) {}

// Of another lcore the tables are places of copies, as many as there may be records.
Worker::Worker(const EngineConfig& engine_config, const Aead& engine_aead, Port& unsecured_port,
               Port& secured_port, MasterKeys& keys, Counters& own_counters, SpscRing<Event>& event_ring,
               SampleRing& sample_ring, uint64_t seed, Worker* first)
    : config(engine_config),
      aead(engine_aead),
      counters(own_counters),
      events(event_ring),
      samples(sample_ring),
      once(first ? nullptr
                 : std::make_unique<Once>(config, longest_frame(unsecured_port.info(), secured_port.info()),
                                          counters)),
      peers(first ? first->peers : once->peers),
      fragment_pool(first ? first->fragment_pool : once->fragment_pool),
      egress_reassembly(first ? first->egress_reassembly : once->egress_reassembly),
      ingress_reassembly(first ? first->ingress_reassembly : once->ingress_reassembly),
      flows(first ? FlowTable(CopyPlaces::count_for(config.max_flows), first->flows, counters)
                  : FlowTable(config.max_flows, config.wants_per_peer, config.peers.size(), counters,
                              config.lcores - 1)),
      own_hold(first ? nullptr
                     : std::make_unique<Hold>(
                           Hold::Limits{config.held_per_flow, config.held_per_source, config.held_total},
                           longest_frame(unsecured_port.info(), secured_port.info()), counters)),
      hold(first ? first->hold : *own_hold),
      unsecured(unsecured_port, counters.unsecured),
      secured(secured_port, counters.secured),
      unsecured_rules(peers, config.gateways, unsecured.info.mac),
      secured_rules(config.secured_address, config.secured_gateway, secured.info.mac),
      hosts(unsecured_rules, unsecured.info.mac, unsecured.tx, first ? nullptr : once->control_pool.get(),
            counters, {Drop::kIngressNeighbourUnresolved, Drop::kIngressTxFull, Drop::kIngressPortDown},
            Value::kForwardedIngress),
      next_hops(secured_rules, secured.info.mac, secured.tx, first ? nullptr : once->control_pool.get(),
                counters, {Drop::kEgressNoNextHop, Drop::kEgressTxFull, Drop::kEgressPortDown},
                Value::kForwardedEgress),
      bypass(config.bypass),
      icmp_limit(first ? first->icmp_limit : once->icmp_limit),
      echo_limit(first ? first->echo_limit : once->echo_limit),
      identifications(first ? first->identifications : once->identifications),
      vips_on_wire(any_transport(config.peers) || !config.bypass.empty()),
      gateway_among_peers(any_of_peers(peers, config.gateways)),
      draw(seed, config.sampling, config.peers),
      capture(config.capture, config.sampling.snap_bytes, (first ? *first->once : *once).capture_limit),
      egress_keys(aead, config.max_flows),
      outer_header(outer_of(config)),
      egress_tally(counters.peers, &PeerCounters::count_egress),
      ingress_keys(aead, config.max_flows * 2),
      receive_spis(first ? ReceiveSpis(CopyPlaces::count_for(config.max_flows * 2), first->receive_spis,
                                       ingress_keys, counters)
                         : ReceiveSpis({config.max_flows, config.spis_per_flow, config.retire_ms},
                                       config.peers.size(), ingress_keys, counters, config.lcores - 1)),
      ingress_tally(counters.peers, &PeerCounters::count_ingress),
      keys_(keys) {
  counters.peers = std::vector<PeerCounters>(config.peers.size());
  counters.bypass = std::vector<BypassCounters>(config.bypass.size());
}

Worker::Worker(const EngineConfig& engine_config, const Aead& engine_aead, Port& unsecured_port,
               Port& secured_port, MasterKeys& keys, Counters& engine_counters, SpscRing<Event>& event_ring,
               SampleRing& sample_ring, uint64_t seed)
    : Worker(engine_config, engine_aead, unsecured_port, secured_port, keys, engine_counters, event_ring,
             sample_ring, seed, nullptr) {
  for (size_t slot = 0; slot < 2; ++slot) master_keys[slot] = keys.by_slot[slot].get();
  if (config.lcores == 1) return;
  hosts.share();
  next_hops.share();
}

Worker::Worker(Worker& first, uint32_t lcore, Port& unsecured_port, Port& secured_port,
               Counters& own_counters, SampleRing& own_samples, uint64_t seed)
    : Worker(first.config, first.aead, unsecured_port, secured_port, first.keys_, own_counters, first.events,
             own_samples, seed, &first) {
  other = std::make_unique<WorkerState>(first, *this, lcore);
  hosts.ask_of(first.hosts, other->lanes, Handoff::kToHosts);
  next_hops.ask_of(first.next_hops, other->lanes, Handoff::kToWire);
  take_over_changes();
  first.others_.push_back(other.get());
}

WorkerState::WorkerState(Worker& first, Worker& own, uint32_t lcore)
    : table(first),
      flows(first.flows, own.flows, own.egress_keys, lcore),
      spis(first.receive_spis, own.receive_spis, own.ingress_keys, lcore),
      changes(first.changes - 1) {}

bool Worker::run_once(uint64_t now) {
  const bool ticks = now / 1'000'000 != now_ms;
  now_ns = now;
  now_ms = now / 1'000'000;
  const uint64_t sent_before = counters.secured.tx_packets.value();
  if (other) {
    take_over_changes();
  } else {
    drain(*this);
  }

  Burst& burst = burst_;
  receive(unsecured, Handoff::kFromHosts, burst);
  bool moved = burst.count != 0;
  seal_or_hold(burst);

  receive(secured, Handoff::kFromWire, burst);
  moved |= burst.count != 0;
  ingress_root(*this, Direction::kIngress, burst);
  ingress_decrypt(*this, burst);
  ingress_sampling(*this, burst);
  ingress_acl(*this, burst);
  if (!own_packets.empty()) {
    own_packets.move_to(burst);
    seal_or_hold(burst);
  }

  if (!others_.empty()) send_handed_off();
  if (!other) tell_missed();
  budget = Budget(Budget::kTurn);
  if (ticks || ticking_) run_timers();
  unsecured.tx.flush();
  secured.tx.flush();
  for (WorkerState* one : others_) one->lanes.finish(unsecured.tx, secured.tx);
  counters[Value::kPolls].add();
  return moved || ticking_ || counters.secured.tx_packets.value() != sent_before;
}

bool Worker::grow_memory() {
  const bool tables = other ? other->flows.grow() || other->spis.grow() : flows.grow() || receive_spis.grow();
  return tables || egress_keys.grow() || ingress_keys.grow();
}

bool Worker::settled() const {
  return std::ranges::all_of(others_, [this](const WorkerState* one) {
    return one->changes.load(std::memory_order_acquire) == changes.load(std::memory_order_relaxed);
  });
}

void Worker::rotate_master_key() {
  const uint8_t slot = keys_.rotate();
  master_keys[slot] = keys_.by_slot[slot].get();
  receive_spis.end_slot(slot);
  changes.fetch_add(1, std::memory_order_release);
}

uint16_t Worker::follow(bool is_secured, const LinkState& link) {
  const uint16_t mtu = std::min(link.mtu, (is_secured ? secured : unsecured).largest_mtu);
  use(is_secured, link.up, mtu, link.mac);
  changes.fetch_add(1, std::memory_order_release);
  return mtu;
}

// What is kept by flow (EgressFlow::plain_room) is asked again where it is used.
void Worker::use(bool is_secured, bool up, uint16_t mtu, const MacAddress& mac) {
  Side& side = is_secured ? secured : unsecured;
  side.tx.set_up(up);
  side.info.mtu = mtu;
  if (side.info.mac == mac) return;
  side.info.mac = mac;
  side.ethernet = EthernetAddress(mac);
  if (is_secured) {
    secured_rules.change_mac(mac);
    next_hops.change_mac(mac);
  } else {
    unsecured_rules.change_mac(mac);
    hosts.change_mac(mac);
  }
}

// The first lcore changes none of it again before all others have this number.
void Worker::take_over_changes() {
  const uint32_t number = other->table.changes.load(std::memory_order_acquire);
  if (number == other->changes.load(std::memory_order_relaxed)) return;
  master_keys = other->table.master_keys;
  draw.set_as(other->table.draw);
  other->spis.renew_generations();
  ticking_ = true;  // wiping begins in this turn
  for (const bool is_secured : {false, true}) {
    const Side& side = is_secured ? other->table.secured : other->table.unsecured;
    use(is_secured, side.tx.is_up(), side.info.mtu, side.info.mac);
  }
  other->changes.store(number, std::memory_order_release);
}

void Worker::hand_off(Direction direction, uint32_t hash, const Packet& packet) {
  const bool egress = direction == Direction::kEgress;
  const auto lane = egress ? Handoff::kFromHosts : Handoff::kFromWire;
  counters[Value::kHandedOff].add();
  if (other->lanes.give(lane, hash, {packet.mbuf, {}})) return;
  drop(packet, egress ? Drop::kEgressHandoffFull : Drop::kIngressHandoffFull);
}

uint32_t Worker::patience_ms() const {
  const bool sends = unsecured.tx.waits() || secured.tx.waits();
  if (other) return sends || other->flows.sweeping() || other->spis.sweeping() ? 1 : 1000;
  const bool waits =
      sends || !flows.unreported().empty() || !flows.draining().empty() || receive_spis.any_due();
  if (waits) return 1;
  const bool soon = hosts.any_due() || next_hops.any_due() || flows.any_wanted() || flows.any_refused() ||
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

void Worker::receive(Side& side, Handoff::Lane lane, Burst& burst) {
  std::array<rte_mbuf*, kBurst> received;
  const uint16_t handed_off = others_.empty() ? 0 : take_handed_off(lane, received.data());
  burst.count = handed_off;
  burst.count += side.port.rx_burst(&received[handed_off], kBurst - handed_off);
  // All arrays that a burst fills have room for so many packets.
  RTE_VERIFY(burst.count <= kBurst);
  uint64_t octets = 0;
  rte_mbuf* const* mbuf = received.data();
  for (Packet& packet : burst) {
    packet.begin(*mbuf);
    rte_prefetch0(packet.frame());
    octets += (*mbuf++)->pkt_len;
  }
  // Those were counted where they came.
  for (uint16_t i = 0; i < handed_off; ++i) octets -= received[i]->pkt_len;
  if (burst.count == handed_off) return;
  side.counters.rx_packets.add(burst.count - handed_off);
  side.counters.rx_bytes.add(octets);
}

// The pipes of what comes from hosts. Empties the burst.
void Worker::seal_or_hold(Burst& burst) {
  ingress_root(*this, Direction::kEgress, burst);
  egress_root(*this, burst);
  egress_acl(*this, burst);
}

// Half a burst at most, so that what the own queue brings has its turn. Lcores take turns.
uint16_t Worker::take_handed_off(Handoff::Lane lane, rte_mbuf** received) {
  uint16_t count = 0;
  Handoff::Item item;
  std::rotate(others_.begin(), others_.begin() + 1, others_.end());
  for (WorkerState* one : others_) {
    while (count < kBurst / 2 && one->lanes.take(lane, &item)) received[count++] = item.mbuf;
  }
  return count;
}

// Frames that other lcores finished, and whose neighbour they did not know.
void Worker::send_handed_off() {
  for (WorkerState* one : others_) {
    Handoff::Item item;
    for (int left = kBurst; left > 0 && one->lanes.take(Handoff::kToHosts, &item); --left) {
      hosts.send(item.neighbour, item.mbuf, now_ms);
    }
    for (int left = kBurst; left > 0 && one->lanes.take(Handoff::kToWire, &item); --left) {
      next_hops.send(item.neighbour, item.mbuf, now_ms);
    }
  }
}

// Flows are told of in the order in which they missed. What a full ring does not take is told later.
void Worker::tell_missed() {
  for (uint32_t left = kEventsPerTurn; left > 0 && !flows.unreported().empty(); --left) {
    const uint32_t number = flows.unreported().head;
    if (!tell(MissedEvent{flows[number].key, flows[number].peer})) break;
    counters[Value::kMissEvents].add();
    flows.told(number);
  }
  counters[Value::kMissesWaiting].set(flows.unreported().count);
}

// Packets whose key did not come within hold_ms are dropped by this clock, so that the bound on them holds
// however busy the control side is.
bool Worker::give_up(Budget& timers) {
  while (const uint32_t number = flows.overdue(now_ms)) {
    if (timers.spent()) return false;
    timers.spend(Budget::kFlowChange + hold.drop(flows[number].held, Drop::kEgressNoAnswer));
    flows.refuse(number, now_ms + config.unanswered_ms);
  }
  return true;
}

// Timers have half of the budget at most, so that they never keep commands waiting. Where it ends, the next
// turn begins with the timer behind the one that spent it.
void Worker::run_timers() {
  const std::span<const Timer> timers = other ? std::span<const Timer>(kWorkerTimers) : kMainTimers;
  Budget half(Budget::kTurn / 2);
  const size_t first = first_timer_;
  ticking_ = false;
  for (size_t i = 0; i < timers.size(); ++i) {
    const size_t at = (first + i) % timers.size();
    if (timers[at](*this, half)) continue;
    if (!ticking_) first_timer_ = at + 1;
    ticking_ = true;
  }
  budget.spend(half.used());
}

}  // namespace psp
