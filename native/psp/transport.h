// SPDX-License-Identifier: Apache-2.0
// Transport mode: the packet keeps its own IP header, and what lies behind is sealed (PSP specification,
// "Transport Mode"): `IP | UDP | PSP header | layer 4 | ICV`. The mode belongs to the SA and is the caller's
// to know; nothing here guesses it. Works in place on memory of the caller.
//
// IPv4: the header with its options stays in front. IPv6: hop-by-hop options, routing headers and destination
// options before a routing header stay, because nodes on the way read them; everything behind is sealed
// (other destination options, AH, ESP, upper layer). An atomic fragment (RFC 6946) is whole: its fragment
// header is sealed with the rest.
#pragma once

#include "psp/encapsulation.h"

namespace psp {

enum class TransportFault : uint8_t {
  kNone,
  kFragment,        // a part of a packet cannot be sealed: to be reassembled first
  kTunnelProtocol,  // 4 or 41 would stand in the PSP header, and mean tunnel mode
  kTooLong,         // no room in the 16-bit lengths for transport_overhead(true)
};

// Where a packet is cut for transport mode.
struct TransportLayout {
  uint16_t header_length = 0;    // IP headers that stay in front of UDP, in octets
  uint16_t protocol_offset = 0;  // of the octet that names what follows them
  uint8_t protocol = 0;          // what follows them: the next header of PSP
  uint8_t extensions = 0;        // IPv6 extension headers among them
  bool ipv6 = false;
  bool final_destination = true;  // no options or routing header that may hold another one
  uint32_t length = 0;            // of the packet
  Address source{};
  Address destination{};
};

// Octets that sealing puts between IP and layer 4, and with the ICV in all.
inline constexpr size_t transport_headroom(bool cookie) {
  return encapsulation_headroom(cookie);
}
inline constexpr size_t transport_overhead(bool cookie) {
  return transport_headroom(cookie) + kIcvLength;
}

// Finds the cut of a packet that read_ip accepted.
TransportFault read_transport_layout(const IpPacket& packet, const uint8_t* octets, TransportLayout* cut);

// Seals the packet that `cut` was made of, in place: moves its front down by transport_headroom octets, which
// the caller keeps free in front of it, and writes the ICV into the 16 octets behind it. `header` brings
// version, SPI, IV, cookie, crypt offset, S and D. Protocol, length and IPv4 checksum of the front follow.
// The UDP checksum is computed if wanted and the final destination is known, else 0. Returns the start of the
// packet.
uint8_t* seal_transport(const Aead& aead, void* expanded_key, const TransportLayout& cut, uint16_t udp_source,
                        bool udp_checksum, Header header, uint8_t* packet);
// The same but for the AEAD, which has *job to do, and for the UDP checksum, which comes after it.
uint8_t* lay_out_transport(void* expanded_key, const TransportLayout& cut, uint16_t udp_source,
                           Header* header, uint8_t* packet, AeadJob* job);

// Opens in place a packet at `outer`, read by read_ip as outer_packet, whose UDP payload of `length` octets
// read_header accepted with a known version. Octets behind the UDP datagram are dropped with UDP, PSP header
// and ICV; header->cookie is then in the clear. On success *inner points at the restored packet inside the
// memory, which read_ip accepted as *inner_packet; what lies in front of it is worthless. kTrailer: next
// header 4 or 41, or nothing whole results: an impossible packet, or a fragment.
OpenFault open_transport(const Aead& aead, void* expanded_key, Header* header, const IpPacket& outer_packet,
                         uint8_t* outer, size_t length, uint8_t** inner, IpPacket* inner_packet);
// The rest of that, behind the AEAD (lay_out_opening): kNone or kTrailer.
OpenFault read_opened_transport(Header* header, const IpPacket& outer_packet, uint8_t* outer, size_t length,
                                uint8_t** inner, IpPacket* inner_packet);

}  // namespace psp
