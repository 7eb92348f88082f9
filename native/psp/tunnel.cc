// SPDX-License-Identifier: Apache-2.0
// Lays out and reads `outer IP | UDP | PSP header | inner packet | ICV`.
#include "psp/tunnel.h"

#include <cstring>

#include "psp/ecn.h"
#include "psp/octets.h"

namespace psp {

namespace {

constexpr size_t kIpv4Header = 20, kIpv6Header = 40;
constexpr uint16_t kDontFragment = 0x4000;

uint8_t next_header_of(const IpPacket& inner_packet) {
  return inner_packet.version == 4 ? kNextHeaderIpv4 : kNextHeaderIpv6;
}

uint8_t traffic_class(const Outer& outer, const IpPacket& inner_packet) {
  if (!outer.dscp) return inner_packet.traffic_class;
  return static_cast<uint8_t>(*outer.dscp << 2 | (inner_packet.traffic_class & kEcnMask));
}

void write_ipv4(const Outer& outer, uint8_t traffic_class, size_t total, uint8_t* octets) {
  octets[0] = 0x45;
  octets[1] = traffic_class;
  store_u16(octets + 2, static_cast<uint16_t>(total));
  store_u16(octets + 4, outer.dont_fragment ? 0 : outer.identification);
  store_u16(octets + 6, outer.dont_fragment ? kDontFragment : 0);
  octets[8] = outer.hop_limit;
  octets[9] = kProtocolUdp;
  std::memcpy(octets + 12, outer.source.data() + 12, 4);
  std::memcpy(octets + 16, outer.destination.data() + 12, 4);
  write_ipv4_checksum(octets);
}

void write_ipv6(const Outer& outer, uint8_t traffic_class, size_t payload, uint8_t* octets) {
  store_u32(octets, 0x60000000u | static_cast<uint32_t>(traffic_class) << 20);
  store_u16(octets + 4, static_cast<uint16_t>(payload));
  octets[6] = kProtocolUdp;
  octets[7] = outer.hop_limit;
  std::memcpy(octets + 8, outer.source.data(), 16);
  std::memcpy(octets + 24, outer.destination.data(), 16);
}

}  // namespace

size_t tunnel_front(bool outer_ipv6, bool cookie) {
  return (outer_ipv6 ? kIpv6Header : kIpv4Header) + encapsulation_front(cookie);
}

uint8_t* seal_tunnel(const Aead& aead, void* expanded_key, const Outer& outer, const IpPacket& inner_packet,
                     Header header, uint8_t* inner) {
  const bool ipv4 = is_ipv4(outer.source);
  const size_t udp_length = encapsulation_front(header.has_cookie) + inner_packet.length + kIcvLength;
  if ((ipv4 ? kIpv4Header : 0) + udp_length > UINT16_MAX) return nullptr;

  header.next_header = next_header_of(inner_packet);
  uint8_t* const udp = seal_payload(aead, expanded_key, outer.udp_source, header, inner, inner_packet.length);
  if (outer.udp_checksum) write_udp_checksum(outer.source, outer.destination, udp);
  uint8_t* const start = udp - (ipv4 ? kIpv4Header : kIpv6Header);
  const uint8_t marks = traffic_class(outer, inner_packet);
  if (ipv4) {
    write_ipv4(outer, marks, kIpv4Header + udp_length, start);
  } else {
    write_ipv6(outer, marks, udp_length, start);
  }
  return start;
}

OpenFault open_tunnel(const Aead& aead, void* expanded_key, Header* header, uint8_t* payload, size_t length,
                      uint8_t** inner, IpPacket* inner_packet) {
  if (!open_payload(aead, expanded_key, header, payload, length)) return OpenFault::kIcv;
  uint8_t* const packet = payload + header->length();
  const size_t packet_length = length - header->length() - kIcvLength;
  if (read_ip(packet, packet_length, inner_packet) != IpFault::kNone ||
      inner_packet->length != packet_length || header->next_header != next_header_of(*inner_packet)) {
    return OpenFault::kTrailer;
  }
  *inner = packet;
  return OpenFault::kNone;
}

}  // namespace psp
