// SPDX-License-Identifier: Apache-2.0
// The configured exceptions from "nothing but PSP": which packets pass in the clear, by the far end's prefix
// and port and by the protocol. Rules are tried in order and the first that fits counts. Most gateways have
// none, and then asking costs one branch.
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

  // The position of the rule by which a packet that read_ip accepted passes from a host to the wire: the far
  // end is its destination. A packet whose ports cannot be seen (a later fragment, a protocol that has none)
  // fits rules without a port only.
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
