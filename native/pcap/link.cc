// SPDX-License-Identifier: Apache-2.0
// One row per link type (registry of LINKTYPE_ values). VLAN tags (IEEE 802.1Q, 802.1ad) may follow any link
// header that has an EtherType.
#include "pcap/link.h"

#include <algorithm>
#include <iterator>

#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

namespace {

struct Link {
  uint16_t type;
  size_t length;       // of the header
  size_t type_offset;  // of the EtherType in it
  uint8_t ip_version;  // of link types without an EtherType; 0: derived from the packet
  bool has_ether_type;
};

constexpr Link kLinks[] = {
    {kEthernetLink, kEthernetLength, 12, 0, true},
    {113, 16, 14, 0, true},  // Linux cooked
    {276, 20, 0, 0, true},   // Linux cooked, version 2
    {101, 0, 0, 0, false},   // raw IP
    {12, 0, 0, 0, false},    // raw IP, as DLT_RAW
    {14, 0, 0, 0, false},    // raw IP, as DLT_RAW of OpenBSD
    {228, 0, 0, 4, false},   // raw IPv4
    {229, 0, 0, 6, false},   // raw IPv6
};

constexpr uint16_t kVlanTags[] = {kEtherTypeVlan, kEtherTypeServiceVlan, 0x9100, 0x9200, 0x9300};

uint8_t ip_version_of(uint8_t first_octet) {
  const uint8_t version = first_octet >> 4;
  return version == 4 || version == 6 ? version : 0;
}

void read_ether_type(std::span<const uint8_t> frame, LinkHeader* header) {
  if (frame.size() < header->length) return;
  uint16_t type = load_u16(frame.data() + header->type_offset);
  while (is_vlan_tag(type) && frame.size() >= header->length + kVlanTag) {
    header->type_offset = header->length + 2;
    header->length += kVlanTag;
    type = load_u16(frame.data() + header->type_offset);
  }
  if (type == kEtherTypeIpv4) header->ip_version = 4;
  if (type == kEtherTypeIpv6) header->ip_version = 6;
}

}  // namespace

std::optional<LinkHeader> read_link(uint16_t link_type, std::span<const uint8_t> frame) {
  for (const Link& link : kLinks) {
    if (link.type != link_type) continue;
    LinkHeader header{.length = link.length,
                      .has_ether_type = link.has_ether_type,
                      .type_offset = link.type_offset,
                      .any_version = link.ip_version == 0};
    if (link.has_ether_type) {
      read_ether_type(frame, &header);
    } else if (!frame.empty()) {
      header.ip_version = link.ip_version != 0 ? link.ip_version : ip_version_of(frame[0]);
    }
    return header;
  }
  return std::nullopt;
}

std::string unsupported_link_detail(uint16_t link_type) {
  return "its link type " + std::to_string(link_type) +
         " is not supported; supported are Ethernet, Linux cooked and raw IP";
}

bool is_vlan_tag(uint16_t ether_type) {
  return std::find(std::begin(kVlanTags), std::end(kVlanTags), ether_type) != std::end(kVlanTags);
}

}  // namespace psp
