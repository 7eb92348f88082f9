// SPDX-License-Identifier: Apache-2.0
// In transport mode a fragment cannot be sealed, as layer 4 begins only in the first one: a packet that its
// host cut is put together here, within bounds, and cut again once it is sealed. In tunnel mode fragments are
// packets like all others.
#include "engine/software/pipes.h"
#include "engine/software/worker.h"

namespace psp {

void egress_keyed(Worker& worker, uint32_t number, Packet& packet) {
  const bool waits = packet.ip.fragment && worker.flows[number].mode == Mode::kTransport;
  if (waits && !worker.egress_reassembly.add(packet, worker.now_ms)) return;
  egress_sampling(worker, number, packet);
}

}  // namespace psp
