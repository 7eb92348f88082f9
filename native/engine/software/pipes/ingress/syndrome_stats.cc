// SPDX-License-Identifier: Apache-2.0
// The end of packets that failed to open, counted by what was wrong, and captured where that is configured.
// They change nothing else: a forger must not be able to do more than raise a counter.
#include "engine/software/pipes/edge.h"
#include "engine/software/pipes/failed_packets.h"
#include "engine/software/pipes/ingress/ingress.h"

namespace psp {

namespace {

enum class Edge : uint8_t {
  kIcvFailure = drops(Drop::kIngressIcvFailure),
  kBadTrailer = drops(Drop::kIngressBadTrailer),
};

Edge choose(const Packet& packet) {
  return packet.open_fault == OpenFault::kTrailer ? Edge::kBadTrailer : Edge::kIcvFailure;
}

}  // namespace

void syndrome_stats(Lcore& lcore, Burst& unopened) {
  for (const Packet& packet : unopened) {
    const Edge edge = choose(packet);
    lcore.counters.hit(Pipe::kSyndromeStats);
    capture_unopened(lcore, packet, reason_of(edge));
    lcore.drop_psp(packet, reason_of(edge));
  }
  unopened.count = 0;
  lcore.capture.clear();
}

}  // namespace psp
