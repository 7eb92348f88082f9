// SPDX-License-Identifier: Apache-2.0
// Finds the IP packet in a captured frame, behind whatever its link type and VLAN tags put in front.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace psp {

struct LinkFront {
  size_t length = 0;       // octets in front of the IP packet
  uint8_t ip_version = 0;  // 4 or 6, as the front or, where nothing names it, the packet says; 0: no IP
  bool named = false;      // the front names the version, in the two octets at type_offset
  size_t type_offset = 0;
  bool any_version = true;  // false: the link type is that of one version alone
};

// Reads the front of a frame: Ethernet (1), Linux cooked (113, 276) or raw IP (101, 228, 229, and 12 and 14
// as some systems write it). Nothing for other link types. A frame that ends inside its front has no IP.
std::optional<LinkFront> read_link(uint16_t link_type, std::span<const uint8_t> frame);

// Makes a front name another IP version. False when its link type has no way to.
bool set_ip_version(const LinkFront& front, uint8_t version, uint8_t* octets);

}  // namespace psp
