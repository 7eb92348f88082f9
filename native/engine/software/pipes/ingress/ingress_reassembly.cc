// SPDX-License-Identifier: Apache-2.0
// Fragments from the wire are reassembled first, so that packets are judged whole. Only the main lcore
// reassembles.
#include "engine/software/pipes/edge.h"
#include "engine/software/pipes/ingress/ingress.h"

namespace psp {

namespace {

enum class Edge : uint8_t {
  kIngressDecrypt = kNextEdge,
  kWaits,    // or the reassembly dropped and counted it
  kHandOff,  // worker lcores
};

Edge choose(MainLcore& lcore, Packet& packet) {
  if (!packet.ip.fragment || !is_for_us(lcore, packet)) return Edge::kIngressDecrypt;
  return lcore.ingress_reassembly.add(packet, lcore.now_ms) ? Edge::kIngressDecrypt : Edge::kWaits;
}

Edge choose(WorkerLcore& lcore, Packet& packet) {
  return packet.ip.fragment && is_for_us(lcore, packet) ? Edge::kHandOff : Edge::kIngressDecrypt;
}

}  // namespace

void ingress_reassembly(MainLcore& lcore, Burst& burst) {
  if (!burst.has_fragments) return;
  Packet* kept = burst.begin();
  for (Packet& packet : burst) {
    if (choose(lcore, packet) == Edge::kIngressDecrypt) kept = Burst::keep(kept, packet);
  }
  burst.end_at(kept);
}

void ingress_reassembly(WorkerLcore& lcore, Burst& burst) {
  if (!burst.has_fragments) return;
  Packet* kept = burst.begin();
  for (Packet& packet : burst) {
    if (choose(lcore, packet) == Edge::kIngressDecrypt) {
      kept = Burst::keep(kept, packet);
      continue;
    }
    lcore.counters.unhit(Pipe::kIngressRoot);
    lcore.hand_off(Direction::kIngress, 0, packet);
  }
  burst.end_at(kept);
}

}  // namespace psp
