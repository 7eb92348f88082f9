// SPDX-License-Identifier: Apache-2.0
// Transport mode: the packet keeps its own IP header, and the payload after it is sealed (PSP specification,
// "Transport Mode"): `IP | UDP | PSP header | layer 4 | ICV`. The mode belongs to the SA and the caller
// supplies it; nothing in this module infers it from a packet. Works in place on memory of the caller.
//
// IPv4: the header with its options stays in the clear. IPv6: hop-by-hop options, routing headers and
// destination options before a routing header stay in the clear, because nodes on the path read them.
// Everything after them is sealed (other destination options, AH, ESP, upper layer). An atomic fragment (RFC
// 6946) counts as unfragmented: its fragment header is sealed with the rest.
#pragma once

#include "psp/encapsulation.h"

namespace psp {

enum class TransportFault : uint8_t {
  kNone,
  kFragment,        // a fragment must be reassembled before it can be sealed
  kTunnelProtocol,  // next header 4 or 41 would mean tunnel mode
  kTooLong,         // transport_overhead(true) would exceed the 16-bit lengths
};

// How transport mode splits a packet: IP headers that stay in the clear, and the payload that is sealed.
struct TransportLayout {
  uint16_t header_length = 0;    // of the IP headers before UDP, in octets
  uint16_t protocol_offset = 0;  // of the octet that holds `protocol`
  uint8_t protocol = 0;          // of the payload: the next header of PSP
  uint8_t extensions = 0;        // number of IPv6 extension headers in the clear
  bool ipv6 = false;
  bool final_destination = true;  // false if options or a routing header may name another one
  uint32_t length = 0;            // of the packet
  Address source{};
  Address destination{};
};

// Octets that sealing adds between IP and layer 4. transport_overhead also counts the ICV.
inline constexpr size_t transport_headroom(bool cookie) {
  return encapsulation_headroom(cookie);
}
inline constexpr size_t transport_overhead(bool cookie) {
  return transport_headroom(cookie) + kIcvLength;
}

// Determines the layout of a packet that read_ip accepted.
TransportFault read_transport_layout(const IpPacket& packet, const uint8_t* octets, TransportLayout* layout);

// Seals the packet of `layout` in place: moves its IP headers down by transport_headroom octets, which the
// caller keeps free before the packet, and writes the ICV into the 16 octets after it. `header` supplies
// version, SPI, IV, cookie, crypt offset, S and D. Protocol, length and checksum of the IP header are
// updated. The UDP checksum is computed if requested and if the final destination is known, otherwise it is
// 0. Returns the start of the packet.
uint8_t* seal_transport(const Aead& aead, void* expanded_key, const TransportLayout& layout,
                        uint16_t udp_source, bool udp_checksum, Header header, uint8_t* packet);
// Same as seal_transport without the AEAD, for which *job is filled, and without the UDP checksum, which must
// be computed after the AEAD.
uint8_t* lay_out_transport(void* expanded_key, const TransportLayout& layout, uint16_t udp_source,
                           Header* header, uint8_t* packet, AeadJob* job);

// Opens in place a packet at `outer` that read_ip parsed as outer_packet and whose UDP payload of `length`
// octets read_header accepted with a known version. UDP, PSP header, ICV and octets after the UDP datagram
// are removed. Sets header->cookie to its plaintext. On success *inner points to the restored packet inside
// that memory, which read_ip accepted as *inner_packet; the memory before it is undefined. kTrailer: the next
// header is 4 or 41, or the restored packet is invalid or a fragment.
OpenFault open_transport(const Aead& aead, void* expanded_key, Header* header, const IpPacket& outer_packet,
                         uint8_t* outer, size_t length, uint8_t** inner, IpPacket* inner_packet);
// The part of open_transport after the AEAD (lay_out_opening). Returns kNone or kTrailer.
OpenFault read_opened_transport(Header* header, const IpPacket& outer_packet, uint8_t* outer, size_t length,
                                uint8_t** inner, IpPacket* inner_packet);

}  // namespace psp
