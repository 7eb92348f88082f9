// SPDX-License-Identifier: Apache-2.0
// ECN of tunnels (RFC 6040): the two ECN bits when an outer header is removed. When it is added (normal mode,
// section 4.1), seal_tunnel copies them.
#pragma once

#include <cstdint>
#include <optional>

#include "psp/ip_packet.h"

namespace psp {

// The two low bits of the traffic class (RFC 3168 section 5).
inline constexpr uint8_t kEcnMask = 3;
inline constexpr uint8_t kNotEct = 0, kEct1 = 1, kEct0 = 2, kCongestionExperienced = 3;

// The ECN of the inner packet after decapsulation (RFC 6040 section 4.2, figure 4) from the outer and inner
// values, each 0 to 3. Returns nothing if the packet must be dropped: congestion was marked, but the end
// hosts do not support ECN.
std::optional<uint8_t> decapsulated_ecn(uint8_t outer, uint8_t inner);

// Sets the ECN bits of a packet that read_ip accepted and updates an IPv4 header checksum (RFC 1624).
void set_ecn(uint8_t ecn, IpPacket* packet, uint8_t* octets);

}  // namespace psp
