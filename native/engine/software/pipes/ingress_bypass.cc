// SPDX-License-Identifier: Apache-2.0
// What the configuration lets in from the wire in the clear: to its host as it is, hop limit untouched. A
// wire of veth or virtio brings partial checksums, as hosts do.
#include "engine/software/pipes/pipes.h"
#include "engine/software/worker.h"
#include "psp/ecn.h"

namespace psp {

void ingress_bypass(Worker& worker, uint32_t rule, Packet& packet) {
  packet.inner = packet.layer3();
  if (complete_checksum(packet.ip, packet.inner)) worker.counters[Value::kChecksumsCompleted].add();
  packet.outer_ecn = packet.ip.traffic_class & kEcnMask;
  if (deliver(worker, packet)) worker.counters.bypass[rule].ingress_packets.add();
}

}  // namespace psp
