// SPDX-License-Identifier: Apache-2.0
// Copies opened packets that carry S, from the inner IP header on, before the ACL judges them: only packets
// that passed their ICV come here, so nothing that a peer did not seal is ever copied (PSP has no replay
// protection). With S, D asks that the packet be dropped here; D alone means nothing. Hit: carried S; miss:
// did not.
#include "engine/software/pipes/edge.h"
#include "engine/software/pipes/ingress/ingress.h"
#include "engine/software/pipes/sampled_packets.h"

namespace psp {

namespace {

enum class Edge : uint8_t {
  kIngressAcl = kNextEdge,
  kSampledDrop = drops(Drop::kIngressSampledDrop),
};

Edge choose(Lcore& lcore, Packet& packet) {
  if (!packet.sampled) {
    lcore.counters.miss(Pipe::kIngressSampling);
    return Edge::kIngressAcl;
  }
  lcore.counters.hit(Pipe::kIngressSampling);
  copy_opened(lcore, packet);
  return packet.header.drop ? Edge::kSampledDrop : Edge::kIngressAcl;
}

}  // namespace

void ingress_sampling(Lcore& lcore, Burst& burst) {
  if (std::ranges::none_of(burst, &Packet::sampled)) {
    lcore.counters.miss(Pipe::kIngressSampling, burst.count);
    return;
  }
  Packet* kept = burst.begin();
  for (Packet& packet : burst) {
    const Edge edge = choose(lcore, packet);
    if (edge == Edge::kIngressAcl) {
      kept = Burst::keep(kept, packet);
    } else {
      lcore.drop(packet, reason_of(edge));
    }
  }
  burst.end_at(kept);
}

}  // namespace psp
