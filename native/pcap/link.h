// SPDX-License-Identifier: Apache-2.0
// Finds the IP packet in a captured frame behind the header of its link type and VLAN tags. layers.h goes on
// from there.
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

// EtherTypes of VLAN tags: IEEE 802.1Q, 802.1ad, and those of older switches for the outer of two tags.
bool is_vlan_tag(uint16_t ether_type);

}  // namespace psp
