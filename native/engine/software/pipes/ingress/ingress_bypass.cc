// SPDX-License-Identifier: Apache-2.0
// Delivers packets that a bypass rule lets in from the wire in the clear to their hosts as they are, hop
// limit untouched. A wire of veth or virtio brings partial checksums, as hosts do.
#include "engine/software/pipes/ingress/ingress.h"
#include "psp/ecn.h"

namespace psp {

void ingress_bypass(Lcore& lcore, Burst& clear) {
  for (Packet& packet : clear) {
    packet.inner = packet.layer3();
    if (complete_checksum(packet.ip, packet.inner)) lcore.counters[Value::kChecksumsCompleted].add();
    packet.outer_ecn = packet.ip.traffic_class & kEcnMask;
    if (decap(lcore, packet)) lcore.counters.bypass[packet.bypass_rule].ingress_packets.add();
  }
  clear.count = 0;
}

}  // namespace psp
