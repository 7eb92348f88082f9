// SPDX-License-Identifier: Apache-2.0
// Finds the flow's record in the table. A packet of a flow without a key is held, as a copy, and the flow
// wants a key; while held packets of a flow are being drained, later ones queue behind them. After a refusal
// the flow waits for the end of its hold-down. Whether a packet fits the path is decided once there is a key,
// which brings the mode; only a GSO packet that is too long to be held is dropped here.
#include "engine/software/pipes/edge.h"
#include "engine/software/pipes/egress/egress.h"

namespace psp {

namespace {

enum class Edge : uint8_t {
  kSeal = kNextEdge,  // by egress_reassembly and egress_sampling
  kHold,
  kTooBig = drops(Drop::kEgressTooBig),
  kHoldDown = drops(Drop::kEgressHoldDown),
  kKeyWorn = drops(Drop::kEgressKeyWorn),
  kWantLimit = drops(Drop::kEgressWantLimit),
  kTableFull = drops(Drop::kEgressTableFull),
};

FlowKey flow_of(const Packet& packet) {
  return {packet.ip.source, packet.ip.destination};
}

// Prefetches all that the flows of a burst need before any of it is read. Notes in each packet its hash and
// its likely record.
void prefetch(const MainLcore& lcore, Burst& burst) {
  for (Packet* packet : burst.firsts) {
    packet->hash = lcore.flow_table.hash(flow_of(*packet));
    lcore.flow_table.prefetch(packet->hash);
  }
  for (Packet* packet : burst.firsts) packet->flow = lcore.flow_table.prefetch_record(packet->hash);
  const KeyCache& keys = lcore.egress_keys;
  for (const Packet* packet : burst.firsts) {
    if (packet->flow == 0) continue;
    const EgressFlow& flow = lcore.flows[packet->flow];
    keys.prefetch(keys.slot_for(packet->flow, flow.key_misses), flow.version, packet->ip.length);
  }
}

// packet.flow: the likely record at first; the flow's record for kSeal and kHold.
Edge choose(MainLcore& lcore, Packet& packet) {
  const FlowKey key = flow_of(packet);
  if (packet.flow == 0 || lcore.flows[packet.flow].key != key) {
    packet.flow = lcore.flow_table.find(key, packet.hash);
  }
  const bool keyed = packet.flow != 0 && lcore.flows[packet.flow].state == EgressFlow::State::kKeyed;
  if (keyed && lcore.flows[packet.flow].held.empty()) return Edge::kSeal;
  const bool worn = packet.flow != 0 && lcore.flows[packet.flow].state == EgressFlow::State::kWorn;
  if (worn) return Edge::kKeyWorn;
  if (!lcore.hold.fits(packet.mbuf)) return Edge::kTooBig;
  const uint64_t until_ms = lcore.now_ms + lcore.config.hold_ms;
  if (packet.flow == 0) {
    Drop reason{};
    packet.flow = lcore.flow_table.add_wanted(key, packet.peer, until_ms, &reason);
    if (packet.flow != 0) return Edge::kHold;
    return reason == Drop::kEgressWantLimit ? Edge::kWantLimit : Edge::kTableFull;
  }
  const EgressFlow& flow = lcore.flows[packet.flow];
  if (flow.state == EgressFlow::State::kRefused) {
    if (lcore.now_ms < flow.until_ms) return Edge::kHoldDown;
    lcore.flow_table.want_again(packet.flow, until_ms);
  }
  return Edge::kHold;
}

}  // namespace

void egress_acl(MainLcore& lcore, Burst& burst) {
  prefetch(lcore, burst);
  Packet* kept = burst.begin();
  for (Packet* next = burst.begin(); next != burst.end();) {
    Packet& packet = *next++;
    const Edge edge = choose(lcore, packet);
    switch (edge) {
      case Edge::kSeal:
        kept = Burst::keep(kept, packet);
        // Packets of the same flow in a row leave by the same edge.
        for (; next != burst.end() && next->as_before; ++next) {
          next->flow = kept[-1].flow;
          kept = Burst::keep(kept, *next);
        }
        continue;
      case Edge::kHold:
        lcore.counters.miss(Pipe::kEgressAcl);
        // The hold counts a packet that it cannot copy.
        lcore.hold.push(lcore.flows[packet.flow].held, packet.ip.source, packet.mbuf);
        rte_pktmbuf_free(packet.mbuf);
        break;
      default:
        lcore.drop(Pipe::kEgressAcl, packet, reason_of(edge));
    }
    // The next packet of the flow may leave by another edge.
    if (next != burst.end() && next->as_before) next->hash = packet.hash, next->flow = packet.flow;
  }
  lcore.counters.hit(Pipe::kEgressAcl, burst.end_at(kept));
}

}  // namespace psp
