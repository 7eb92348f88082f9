// SPDX-License-Identifier: Apache-2.0
// egress_acl of a worker lcore: finds the copy of the flow's record. A packet of a flow that has no copy, or
// must wait, or would overtake a packet that the main lcore still has, is handed off as it came. So are
// fragments of flows in transport mode, which the main lcore reassembles.
#include "engine/software/pipes/edge.h"
#include "engine/software/pipes/egress/egress.h"
#include "engine/software/pipes/egress/path.h"

namespace psp {

namespace {

enum class Edge : uint8_t {
  kSeal = kNextEdge,  // by egress_sampling
  kHandOff,
};

// Prefetches all that the copies of a burst need before any of it is read. Notes each packet's hash in it.
void prefetch(const WorkerLcore& lcore, Burst& burst) {
  const FlowCopies& copies = lcore.flow_copies;
  std::array<uint32_t, kBurst> likely;
  const Packet* before = nullptr;
  for (Packet& packet : burst) {
    packet.hash = packet.as_before ? before->hash : copies.hash({packet.ip.source, packet.ip.destination});
    if (!packet.as_before) copies.prefetch(packet.hash);
    before = &packet;
  }
  for (uint16_t i = 0; i < burst.count; ++i) {
    likely[i] = burst.packets[i].as_before ? 0 : copies.prefetch_copy(burst.packets[i].hash);
  }
  for (uint16_t i = 0; i < burst.count; ++i) {
    if (likely[i] != 0) copies.prefetch_rest(likely[i], burst.packets[i].ip.length);
  }
}

bool must_reassemble(const WorkerLcore& lcore, const Packet& packet) {
  return packet.ip.fragment && lcore.flows[packet.flow].mode == Mode::kTransport;
}

// packet.flow: the flow's copy for kSeal.
Edge choose(WorkerLcore& lcore, Packet& packet) {
  if (lcore.handoff.is_behind(Handoff::kFromHosts, packet.hash)) return Edge::kHandOff;
  bool renewed = false;
  packet.flow = lcore.flow_copies.find({packet.ip.source, packet.ip.destination}, packet.hash, &renewed);
  if (renewed) prepare(lcore, packet.flow);
  return packet.flow != 0 && !must_reassemble(lcore, packet) ? Edge::kSeal : Edge::kHandOff;
}

}  // namespace

void egress_acl(WorkerLcore& lcore, Burst& burst) {
  prefetch(lcore, burst);
  Packet* kept = burst.begin();
  uint32_t flow = 0;  // of the packet before, if it is sealed
  for (Packet& packet : burst) {
    if (packet.as_before && flow != 0) {
      packet.flow = flow;
      if (!must_reassemble(lcore, packet)) {
        kept = Burst::keep(kept, packet);
        continue;
      }
    }
    if (choose(lcore, packet) == Edge::kSeal) {
      flow = packet.flow;
      kept = Burst::keep(kept, packet);
    } else {
      flow = 0;
      lcore.counters.unhit(Pipe::kIngressRoot);
      lcore.counters.unhit(Pipe::kEgressRoot);
      lcore.hand_off(Direction::kEgress, packet.hash, packet);
    }
  }
  lcore.counters.hit(Pipe::kEgressAcl, burst.end_at(kept));
}

}  // namespace psp
