// SPDX-License-Identifier: Apache-2.0
// Finds the IP packet in a captured frame after the header of its link type and VLAN tags. layers.h parses
// further layers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace psp {

struct LinkHeader {
  size_t length = 0;            // octets before the IP packet
  uint8_t ip_version = 0;       // 4 or 6, from the header or else from the packet; 0: no IP
  bool has_ether_type = false;  // an EtherType at type_offset gives the version
  size_t type_offset = 0;
  bool any_version = true;  // false: the link type implies one version
};

// Reads the link header of a frame: Ethernet (1), Linux cooked (113, 276) or raw IP (101, 228, 229, and 12
// and 14 as some systems write it). Returns nothing for other link types. A frame that ends inside its link
// header has no IP.
std::optional<LinkHeader> read_link(uint16_t link_type, std::span<const uint8_t> frame);

// Why a frame of another link type is not processed, as a text that completes a sentence about it.
std::string unsupported_link_detail(uint16_t link_type);

// EtherTypes of VLAN tags: IEEE 802.1Q, 802.1ad, and those that older switches use for the outer tag.
bool is_vlan_tag(uint16_t ether_type);

}  // namespace psp
