// SPDX-License-Identifier: Apache-2.0
// One pass over the rules; the configuration bounds their number.
#include "engine/ip/bypass.h"

namespace psp {

std::optional<uint32_t> Bypass::find(const IpPacket& packet, const uint8_t* octets, bool to_wire) const {
  const Address& far = to_wire ? packet.destination : packet.source;
  const Ports ports = read_ports(packet, octets);
  const uint16_t port = to_wire ? ports.destination : ports.source;
  for (uint32_t i = 0; i < rules_.size(); ++i) {
    const BypassRule& rule = rules_[i];
    if (rule.protocol != 0 && rule.protocol != packet.protocol) continue;
    if (rule.port != 0 && rule.port != port) continue;
    if (is_ipv4(rule.prefix.address) == is_ipv4(far) && rule.prefix.contains(far)) return i;
  }
  return std::nullopt;
}

}  // namespace psp
