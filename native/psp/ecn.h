// SPDX-License-Identifier: Apache-2.0
// Explicit congestion notification of tunnels (RFC 6040): what happens to the two ECN bits when an outer
// header is taken off. On the way in (normal mode, section 4.1) they are copied by seal_tunnel.
#pragma once

#include <cstdint>
#include <optional>

#include "psp/ip_packet.h"

namespace psp {

inline constexpr uint8_t kEcnMask = 3;
inline constexpr uint8_t kNotEct = 0, kEct1 = 1, kEct0 = 2, kCongestionExperienced = 3;

// The inner packet's ECN after decapsulation (RFC 6040 section 4.2, figure 4) from the outer and inner
// values, each 0 to 3. Nothing: the packet must be dropped, since congestion was marked and its ends could
// not be told.
std::optional<uint8_t> decapsulated_ecn(uint8_t outer, uint8_t inner);

// Sets the ECN bits of a packet that read_ip accepted; an IPv4 header checksum follows (RFC 1624).
void set_ecn(uint8_t ecn, IpPacket* packet, uint8_t* octets);

}  // namespace psp
