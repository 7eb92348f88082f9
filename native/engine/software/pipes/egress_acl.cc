// SPDX-License-Identifier: Apache-2.0
// Flows with a key go on to be sealed. A packet of a flow without one is held, as a copy, and the flow wants
// a key; while held packets of a flow are being drained, later ones queue behind them. After a refusal the
// flow rests for its hold-down. Whether a packet fits the path is asked once there is a key, which brings the
// mode; only a super-frame that holding has no room for ends here.
#include "engine/software/pipes/pipes.h"
#include "engine/software/worker.h"

namespace psp {

namespace {

enum class Edge : uint8_t { kSeal, kHold, kTooBig, kHoldDown, kWantLimit, kTableFull };

FlowKey flow_of(const Packet& packet) {
  return {packet.ip.source, packet.ip.destination};
}

// Where a flow's record is looked for: its likely number, then by hash.
struct Place {
  uint32_t hash, number;
};
// Of the packets of a burst; not set where a packet is as the one before it.
using Places = std::array<Place, kBurst>;

// Asks memory for all that the flows of a burst need before any of it is read.
void prefetch(const Worker& worker, const Burst& burst, Places& places) {
  std::array<uint16_t, kBurst> at;
  uint16_t count = 0;
  for (uint16_t i = 0; i < burst.count; ++i) {
    if (burst.packets[i].as_before) continue;
    places[i].hash = worker.flows.hash(flow_of(burst.packets[i]));
    worker.flows.prefetch(places[i].hash);
    at[count++] = i;
  }
  const std::span fresh(at.data(), count);
  for (const uint16_t i : fresh) places[i].number = worker.flows.prefetch_record(places[i].hash);
  const KeyCache& keys = worker.egress_keys;
  for (const uint16_t i : fresh) {
    const uint32_t number = places[i].number;
    if (number == 0) continue;
    const EgressFlow& flow = worker.flows[number];
    keys.prefetch(keys.place_of(number, flow.key_misses), flow.version, burst.packets[i].ip.length);
  }
}

// *number: the flow's record, for kSeal and kHold.
Edge choose(Worker& worker, const Packet& packet, const Place& place, uint32_t* number) {
  const FlowKey key = flow_of(packet);
  *number = place.number != 0 && worker.flows[place.number].key == key ? place.number
                                                                       : worker.flows.find(key, place.hash);
  const bool keyed = *number != 0 && worker.flows[*number].state == EgressFlow::State::kKeyed;
  if (keyed && worker.flows[*number].held.empty()) return Edge::kSeal;
  if (!worker.hold.has_room_for(packet.mbuf)) return Edge::kTooBig;
  const uint64_t until_ms = worker.now_ms + worker.config.hold_ms;
  if (*number == 0) {
    Drop reason{};
    *number = worker.flows.add_wanted(key, packet.peer, until_ms, &reason);
    if (*number != 0) return Edge::kHold;
    return reason == Drop::kEgressWantLimit ? Edge::kWantLimit : Edge::kTableFull;
  }
  const EgressFlow& flow = worker.flows[*number];
  switch (flow.state) {
    case EgressFlow::State::kRefused:
      if (worker.now_ms < flow.until_ms) return Edge::kHoldDown;
      worker.flows.want_again(*number, until_ms);
      return Edge::kHold;
    default:
      return Edge::kHold;
  }
}

}  // namespace

void egress_acl(Worker& worker, Burst& burst) {
  if (worker.other) return egress_copied(worker, burst);
  Places places;
  prefetch(worker, burst, places);
  uint16_t keyed = 0;
  Place place{};
  for (uint16_t i = 0, next; i < burst.count; i = next) {
    Packet& packet = burst.packets[i];
    if (!packet.as_before) place = places[i];
    uint32_t number = 0;
    const Edge edge = choose(worker, packet, place, &number);
    next = i + 1;
    if (edge == Edge::kSeal) {
      // Packets of one flow in a row go on together: sealing changes nothing that its edge depends on.
      while (next < burst.count && burst.packets[next].as_before) ++next;
      keyed += next - i;
      egress_keyed(worker, number, {&packet, static_cast<size_t>(next - i)});
      continue;
    }
    worker.counters.miss(Pipe::kEgressAcl);
    switch (edge) {
      case Edge::kSeal:
        break;
      case Edge::kHold:
        // A copy that fails is counted by the hold.
        worker.hold.push(worker.flows[number].held, packet.ip.source, packet.mbuf);
        rte_pktmbuf_free(packet.mbuf);
        break;
      case Edge::kTooBig:
        worker.drop(packet, Drop::kEgressTooBig);
        break;
      case Edge::kHoldDown:
        worker.drop(packet, Drop::kEgressHoldDown);
        break;
      case Edge::kWantLimit:
        worker.drop(packet, Drop::kEgressWantLimit);
        break;
      case Edge::kTableFull:
        worker.drop(packet, Drop::kEgressTableFull);
        break;
    }
  }
  seal_gathered(worker);
  worker.counters.hit(Pipe::kEgressAcl, keyed);
  burst.count = 0;
}

}  // namespace psp
