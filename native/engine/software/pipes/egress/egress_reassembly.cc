// SPDX-License-Identifier: Apache-2.0
// In transport mode a fragment cannot be sealed, because only the first one has layer 4: a packet that its
// host fragmented is reassembled here, within bounds, and fragmented again once it is sealed. In tunnel mode
// fragments are packets like all others.
#include "engine/software/pipes/edge.h"
#include "engine/software/pipes/egress/egress.h"

namespace psp {

namespace {

enum class Edge : uint8_t {
  kEgressSampling = kNextEdge,
  kWaits,  // or the reassembly dropped and counted it
};

Edge choose(MainLcore& lcore, Packet& packet) {
  if (!packet.ip.fragment || lcore.flows[packet.flow].mode == Mode::kTunnel) return Edge::kEgressSampling;
  return lcore.egress_reassembly.add(packet, lcore.now_ms) ? Edge::kEgressSampling : Edge::kWaits;
}

}  // namespace

void egress_reassembly(MainLcore& lcore, Burst& burst) {
  if (!burst.has_fragments) return;
  Packet* kept = burst.begin();
  for (Packet& packet : burst) {
    if (choose(lcore, packet) == Edge::kEgressSampling) kept = Burst::keep(kept, packet);
  }
  burst.end_at(kept);
}

}  // namespace psp
