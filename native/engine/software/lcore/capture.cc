// SPDX-License-Identifier: Apache-2.0
// Fronts are kept only while one more packet may be captured.
#include "engine/software/lcore/capture.h"

#include <cstring>

namespace psp {

void Capture::keep(const Packet& packet, uint16_t peer, uint32_t spi, uint64_t now_ns) {
  if (limit_.empty(now_ns)) return;
  const Ports ports = read_ports(packet.ip, packet.layer3());
  Kept& kept = kept_.append();
  kept.frame = packet.mbuf;
  kept.facts = {};
  kept.facts.flow = {packet.ip.source, packet.ip.destination};
  kept.facts.spi = spi;
  kept.facts.peer = peer;
  kept.facts.source_port = ports.source;
  kept.facts.destination_port = ports.destination;
  kept.facts.point = SamplePoint::kIngressFailed;
  kept.facts.protocol = packet.ip.protocol;
  kept.length = packet.mbuf->data_len;
  std::memcpy(kept.octets.data(), packet.frame(), std::min<uint32_t>(kept.length, snap_bytes_));
}

const Capture::Kept* Capture::kept(const Packet& packet) const {
  const auto* const found =
      std::ranges::find_if(kept_, [&](const Kept& kept) { return kept.frame == packet.mbuf; });
  return found == kept_.end() ? nullptr : found;
}

}  // namespace psp
