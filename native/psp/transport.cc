// SPDX-License-Identifier: Apache-2.0
// Cuts an IP packet behind the headers that the way needs and puts UDP and PSP into the gap; opening closes
// the gap again. Only the front is moved: it is the shorter part.
#include "psp/transport.h"

#include <algorithm>
#include <cstring>

#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

namespace {

constexpr uint16_t kIpv6NextHeader = 6;

bool is_tunnel(uint8_t protocol) {
  return protocol == kNextHeaderIpv4 || protocol == kNextHeaderIpv6;
}

// Walks as far as headers follow that may stay, and cuts behind the last one that must (RFC 8200 section
// 4.1). read_ip has checked the lengths of all of them.
void cut_ipv6(const uint8_t* octets, TransportLayout* cut) {
  cut->header_length = kIpv6Header;
  cut->protocol_offset = kIpv6NextHeader;
  cut->protocol = octets[kIpv6NextHeader];
  cut->extensions = 0;
  uint8_t passed = 0;
  uint8_t protocol = cut->protocol;
  for (size_t offset = kIpv6Header; protocol == kProtocolHopByHop || protocol == kProtocolRouting ||
                                    protocol == kProtocolDestinationOptions;) {
    const bool stays = protocol != kProtocolDestinationOptions;
    if (protocol == kProtocolRouting) cut->final_destination = false;
    protocol = octets[offset];
    ++passed;
    const size_t next = offset + (octets[offset + 1] + size_t{1}) * 8;
    if (stays) {
      cut->header_length = static_cast<uint16_t>(next);
      cut->protocol_offset = static_cast<uint16_t>(offset);
      cut->protocol = protocol;
      cut->extensions = passed;
    }
    offset = next;
  }
}

// Makes the front of a packet name its protocol and length anew.
void rewrite_front(bool ipv6, uint16_t protocol_offset, uint8_t protocol, size_t length, uint8_t* packet) {
  packet[protocol_offset] = protocol;
  if (ipv6) {
    store_u16(packet + 4, static_cast<uint16_t>(length - kIpv6Header));
  } else {
    store_u16(packet + 2, static_cast<uint16_t>(length));
    write_ipv4_checksum(packet);
  }
}

}  // namespace

TransportFault read_transport_layout(const IpPacket& packet, const uint8_t* octets, TransportLayout* cut) {
  if (packet.fragment) return TransportFault::kFragment;
  cut->ipv6 = packet.version == 6;
  cut->length = packet.length;
  cut->source = packet.source;
  cut->destination = packet.destination;
  if (cut->ipv6) {
    cut->final_destination = true;
    cut_ipv6(octets, cut);
  } else {
    cut->header_length = packet.payload_offset;
    cut->protocol_offset = packet.protocol_offset;
    cut->protocol = packet.protocol;
    cut->final_destination = packet.payload_offset == kIpv4Header;
  }
  if (is_tunnel(cut->protocol)) return TransportFault::kTunnelProtocol;
  const size_t counted = packet.length - (cut->ipv6 ? kIpv6Header : 0);
  return counted + transport_overhead(true) > UINT16_MAX ? TransportFault::kTooLong : TransportFault::kNone;
}

uint8_t* lay_out_transport(void* expanded_key, const TransportLayout& cut, uint16_t udp_source,
                           Header* header, uint8_t* packet, AeadJob* job) {
  uint8_t* const start = packet - transport_headroom(header->has_cookie);
  std::memmove(start, packet, cut.header_length);
  header->next_header = cut.protocol;
  lay_out_payload(expanded_key, udp_source, header, packet + cut.header_length,
                  cut.length - cut.header_length, job);
  rewrite_front(cut.ipv6, cut.protocol_offset, kProtocolUdp,
                cut.length + transport_overhead(header->has_cookie), start);
  return start;
}

uint8_t* seal_transport(const Aead& aead, void* expanded_key, const TransportLayout& cut, uint16_t udp_source,
                        bool udp_checksum, Header header, uint8_t* packet) {
  AeadJob job;
  uint8_t* const start = lay_out_transport(expanded_key, cut, udp_source, &header, packet, &job);
  aead.seal(job);
  if (udp_checksum && cut.final_destination)
    write_udp_checksum(cut.source, cut.destination, start + cut.header_length);
  return start;
}

OpenFault read_opened_transport(Header* header, const IpPacket& outer_packet, uint8_t* outer, size_t length,
                                uint8_t** inner, IpPacket* inner_packet) {
  const size_t front = outer_packet.payload_offset;
  uint8_t* const payload = outer + front + kUdpHeaderLength;
  if (header->has_cookie) header->cookie = read_cookie(payload);
  if (is_tunnel(header->next_header)) return OpenFault::kTrailer;

  uint8_t* const start = payload + header->length() - front;
  const size_t restored = front + length - header->length() - kIcvLength;
  std::memmove(start, outer, front);
  rewrite_front(outer_packet.version == 6, outer_packet.protocol_offset, header->next_header, restored,
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
