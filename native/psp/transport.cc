// SPDX-License-Identifier: Apache-2.0
// Inserts UDP and PSP after the IP headers that routers on the path read; opening removes them again. Only
// the IP headers are moved, because they are the shorter part.
#include "psp/transport.h"

#include <algorithm>
#include <cstring>

#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

namespace {

bool is_tunnel(uint8_t protocol) {
  return protocol == kNextHeaderIpv4 || protocol == kNextHeaderIpv6;
}

// Parses the extension headers that may stay in the clear and splits after the last one that must (RFC 8200
// section 4.1). read_ip has validated all lengths.
void lay_out_ipv6(const uint8_t* octets, TransportLayout* layout) {
  layout->header_length = kIpv6Header;
  layout->protocol_offset = kIpv6NextHeader;
  layout->protocol = octets[kIpv6NextHeader];
  layout->extensions = 0;
  uint8_t count = 0;
  uint8_t protocol = layout->protocol;
  for (size_t offset = kIpv6Header; protocol == kProtocolHopByHop || protocol == kProtocolRouting ||
                                    protocol == kProtocolDestinationOptions;) {
    const bool must_stay = protocol != kProtocolDestinationOptions;
    if (protocol == kProtocolRouting) layout->final_destination = false;
    protocol = octets[offset];
    ++count;
    const size_t next = offset + (octets[offset + 1] + size_t{1}) * 8;
    if (must_stay) {
      layout->header_length = static_cast<uint16_t>(next);
      layout->protocol_offset = static_cast<uint16_t>(offset);
      layout->protocol = protocol;
      layout->extensions = count;
    }
    offset = next;
  }
}

// Updates protocol, length and checksum of the IP header.
void update_ip_header(bool ipv6, uint16_t protocol_offset, uint8_t protocol, size_t length, uint8_t* packet) {
  packet[protocol_offset] = protocol;
  if (ipv6) {
    store_u16(packet + 4, static_cast<uint16_t>(length - kIpv6Header));
  } else {
    store_u16(packet + 2, static_cast<uint16_t>(length));
    write_ipv4_checksum(packet);
  }
}

}  // namespace

TransportFault read_transport_layout(const IpPacket& packet, const uint8_t* octets, TransportLayout* layout) {
  if (packet.fragment) return TransportFault::kFragment;
  layout->ipv6 = packet.version == 6;
  layout->length = packet.length;
  layout->source = packet.source;
  layout->destination = packet.destination;
  if (layout->ipv6) {
    layout->final_destination = true;
    lay_out_ipv6(octets, layout);
  } else {
    layout->header_length = packet.payload_offset;
    layout->protocol_offset = packet.protocol_offset;
    layout->protocol = packet.protocol;
    layout->final_destination = packet.payload_offset == kIpv4Header;
  }
  if (is_tunnel(layout->protocol)) return TransportFault::kTunnelProtocol;
  const size_t payload_length = packet.length - (layout->ipv6 ? kIpv6Header : 0);
  return payload_length + transport_overhead(true) > UINT16_MAX ? TransportFault::kTooLong
                                                                : TransportFault::kNone;
}

uint8_t* lay_out_transport(void* expanded_key, const TransportLayout& layout, uint16_t udp_source,
                           Header* header, uint8_t* packet, AeadJob* job) {
  uint8_t* const start = packet - transport_headroom(header->has_cookie);
  std::memmove(start, packet, layout.header_length);
  header->next_header = layout.protocol;
  lay_out_payload(expanded_key, udp_source, header, packet + layout.header_length,
                  layout.length - layout.header_length, job);
  update_ip_header(layout.ipv6, layout.protocol_offset, kProtocolUdp,
                   layout.length + transport_overhead(header->has_cookie), start);
  return start;
}

uint8_t* seal_transport(const Aead& aead, void* expanded_key, const TransportLayout& layout,
                        uint16_t udp_source, bool udp_checksum, Header header, uint8_t* packet) {
  AeadJob job;
  uint8_t* const start = lay_out_transport(expanded_key, layout, udp_source, &header, packet, &job);
  aead.seal(job);
  if (udp_checksum && layout.final_destination)
    write_udp_checksum(layout.source, layout.destination, start + layout.header_length);
  return start;
}

OpenFault read_opened_transport(Header* header, const IpPacket& outer_packet, uint8_t* outer, size_t length,
                                uint8_t** inner, IpPacket* inner_packet) {
  const size_t header_length = outer_packet.payload_offset;
  uint8_t* const payload = outer + header_length + kUdpHeaderLength;
  if (header->has_cookie) header->cookie = read_cookie(payload);
  if (is_tunnel(header->next_header)) return OpenFault::kTrailer;

  uint8_t* const start = payload + header->length() - header_length;
  const size_t restored = header_length + length - header->length() - kIcvLength;
  std::memmove(start, outer, header_length);
  update_ip_header(outer_packet.version == 6, outer_packet.protocol_offset, header->next_header, restored,
                   start);
  if (read_ip(start, restored, inner_packet) != IpFault::kNone || inner_packet->fragment) {
    return OpenFault::kTrailer;
  }
  *inner = start;
  return OpenFault::kNone;
}

OpenFault open_transport(const Aead& aead, void* expanded_key, Header* header, const IpPacket& outer_packet,
                         uint8_t* outer, size_t length, uint8_t** inner, IpPacket* inner_packet) {
  uint8_t* const payload = outer + outer_packet.payload_offset + kUdpHeaderLength;
  AeadJob job;
  lay_out_opening(expanded_key, *header, payload, length, &job);
  if (!aead.open(job)) return OpenFault::kIcv;
  return read_opened_transport(header, outer_packet, outer, length, inner, inner_packet);
}

}  // namespace psp
