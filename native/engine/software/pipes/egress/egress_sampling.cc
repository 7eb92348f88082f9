// SPDX-License-Identifier: Apache-2.0
// Decides which packets are sampled before they are sealed, because S is in the authenticated part of the PSP
// header. Only packets that can be sealed are copied, each PSP packet once at each configured point: the
// inner packet right before the seal, its checksum complete, and the finished frame (sampled_packets.h).
// Packets that were held or reassembled are sampled when they leave. One decision is made for a packet that
// must be fragmented: fragmented before the seal, each of its fragments carries S and is copied as the packet
// that it is then, as at the other end; fragmented after the seal, the frame is copied whole. Hit: sampled;
// miss: not sampled while packets towards its peer are. Without sampling nothing is decided or counted.
#include "engine/software/pipes/egress/egress.h"

namespace psp {

void egress_sampling(Lcore& lcore, Burst& burst) {
  if (!lcore.sampling.on()) return;
  for (Packet& packet : burst) {
    const uint16_t peer = lcore.flows[packet.flow].peer;
    if (!lcore.sampling.on(peer)) continue;
    packet.sampled = lcore.sampling.next(peer);
    if (packet.sampled) {
      lcore.counters.hit(Pipe::kEgressSampling);
    } else {
      lcore.counters.miss(Pipe::kEgressSampling);
    }
  }
}

}  // namespace psp
