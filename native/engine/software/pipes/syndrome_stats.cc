// SPDX-License-Identifier: Apache-2.0
// The end of packets that did not open, counted by what was wrong, and captured where that is asked for.
// They change nothing else: a forger must not be able to do more than raise a counter.
#include "engine/software/pipes/pipes.h"
#include "engine/software/worker.h"
#include "psp/tunnel.h"

namespace psp {

namespace {

enum class Edge : uint8_t { kIcvFailure, kBadTrailer };

}  // namespace

void syndrome_stats(Worker& worker, const Packet& packet, OpenFault fault) {
  worker.counters.hit(Pipe::kSyndromeStats);
  switch (fault == OpenFault::kTrailer ? Edge::kBadTrailer : Edge::kIcvFailure) {
    case Edge::kIcvFailure:
      worker.counters[Value::kRxAuthFail].add();
      capture_unopened(worker, packet, Drop::kIngressIcvFailure);
      worker.drop(packet, Drop::kIngressIcvFailure);
      break;
    case Edge::kBadTrailer:
      worker.counters[Value::kRxError].add();
      capture_unopened(worker, packet, Drop::kIngressBadTrailer);
      worker.drop(packet, Drop::kIngressBadTrailer);
      break;
  }
}

}  // namespace psp
