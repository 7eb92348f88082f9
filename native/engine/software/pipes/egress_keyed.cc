// SPDX-License-Identifier: Apache-2.0
// In transport mode a fragment cannot be sealed, as layer 4 begins only in the first one: a packet that its
// host cut is put together here, within bounds, and cut again once it is sealed. In tunnel mode fragments are
// packets like all others.
#include "engine/software/pipes/pipes.h"
#include "engine/software/worker.h"

namespace psp {

void egress_keyed(Worker& worker, uint32_t number, std::span<Packet> packets) {
  if (worker.flows[number].mode == Mode::kTunnel) return egress_sampling(worker, number, packets);
  for (Packet& packet : packets) {
    if (packet.ip.fragment && !worker.egress_reassembly.add(packet, worker.now_ms)) continue;
    egress_sampling(worker, number, {&packet, 1});
  }
}

}  // namespace psp
