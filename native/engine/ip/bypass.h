// SPDX-License-Identifier: Apache-2.0
// The configured exceptions from "nothing but PSP": packets that pass in the clear, by prefix and port of the
// far end and by protocol. The first rule that matches counts. Most gateways have no rules; then a look-up
// costs one branch.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/config.h"
#include "psp/ip_packet.h"

namespace psp {

class Bypass {
 public:
  explicit Bypass(const std::vector<BypassRule>& rules) : rules_(rules) {}

  bool empty() const { return rules_.empty(); }
  // The index of the rule by which a packet that read_ip accepted passes from a host to the wire, where the
  // far end is its destination. A packet without readable ports (a later fragment, a protocol without ports)
  // matches only rules without a port.
  std::optional<uint32_t> matches_to_wire(const IpPacket& packet, const uint8_t* octets) const {
    if (rules_.empty()) return std::nullopt;
    return find(packet, octets, true);
  }
  // The same from the wire to a host: the far end is its source.
  std::optional<uint32_t> matches_from_wire(const IpPacket& packet, const uint8_t* octets) const {
    if (rules_.empty()) return std::nullopt;
    return find(packet, octets, false);
  }

 private:
  std::optional<uint32_t> find(const IpPacket& packet, const uint8_t* octets, bool to_wire) const;

  const std::vector<BypassRule> rules_;
};

}  // namespace psp
