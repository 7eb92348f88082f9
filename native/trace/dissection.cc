// SPDX-License-Identifier: Apache-2.0
// Uses the parsers of native/psp; no length field is trusted.
#include "trace/dissection.h"

#include <algorithm>

#include "pcap/link.h"
#include "psp/encapsulation.h"
#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

namespace {

// `octets` begins with the UDP header.
std::optional<Header> psp_of(std::span<const uint8_t> octets) {
  if (octets.size() < kUdpHeaderLength || load_u16(octets.data() + 2) != kUdpPort) return std::nullopt;
  const std::span<const uint8_t> payload = octets.subspan(kUdpHeaderLength);
  if (payload.size() < kHeaderLength + kIcvLength) return std::nullopt;
  Header header;
  // The engine reports faults of the header. Its fields are readable with any fault but truncation, which the
  // length check above excludes.
  read_header(payload.data(), payload.size(), &header);
  return header;
}

std::optional<uint16_t> too_big_mtu_of(uint8_t version, std::span<const uint8_t> octets) {
  if (octets.size() < kIcmpHeader) return std::nullopt;
  if (version == 4) {
    const bool has_mtu = octets[0] == kIcmpUnreachable && octets[1] == kFragmentationNeeded;
    return has_mtu ? std::optional(load_u16(octets.data() + 6)) : std::nullopt;
  }
  if (octets[0] != kIcmpv6TooBig) return std::nullopt;
  return static_cast<uint16_t>(std::min<uint32_t>(load_u32(octets.data() + 4), UINT16_MAX));
}

}  // namespace

Dissection dissect(std::span<const uint8_t> frame) {
  Dissection dissection;
  const auto link = read_link(kEthernetLink, frame);
  if (!link || frame.size() < link->length) return dissection;
  dissection.ether_type = load_u16(frame.data() + link->type_offset);
  if (link->ip_version == 0) return dissection;
  const std::span<const uint8_t> octets = frame.subspan(link->length);
  IpPacket ip;
  if (read_ip(octets.data(), octets.size(), &ip) != IpFault::kNone) return dissection;
  dissection.ip = ip;
  dissection.ports = read_ports(ip, octets.data());
  if (ip.later_fragment) return dissection;
  const auto layer4 = octets.subspan(ip.payload_offset, ip.length - ip.payload_offset);
  if (ip.protocol == kProtocolUdp) dissection.psp = psp_of(layer4);
  if (ip.protocol == (ip.version == 4 ? kProtocolIcmp : kProtocolIcmpv6)) {
    dissection.too_big_mtu = too_big_mtu_of(ip.version, layer4);
  }
  return dissection;
}

}  // namespace psp
