// SPDX-License-Identifier: Apache-2.0
// Tunnel mode: an IP packet sealed inside outer IP, UDP and PSP, and back (PSP specification, "Tunnel Mode").
// The families inside and outside are independent. Works in place on memory of the caller; knows nothing of
// Ethernet or of where keys come from.
#pragma once

#include <optional>

#include "psp/encapsulation.h"

namespace psp {

// What the outer headers say.
struct Outer {
  Address source{};
  Address destination{};  // of one family, that of the outer header
  uint8_t hop_limit = 64;
  std::optional<uint8_t> dscp;  // 0 to 63; without it the inner packet's (RFC 2983, uniform model)
  bool dont_fragment = true;    // IPv4
  uint16_t identification = 0;  // IPv4 without dont_fragment; else 0 is sent (RFC 6864)
  uint16_t udp_source = 0;      // flow hash of the inner packet, for ECMP
  bool udp_checksum = false;    // 0 is sent without it
};

// Octets that sealing puts in front of the inner packet, and with the ICV in all.
size_t tunnel_front(bool outer_ipv6, bool cookie);
inline size_t tunnel_overhead(bool outer_ipv6, bool cookie) {
  return tunnel_front(outer_ipv6, cookie) + kIcvLength;
}

// Seals the inner packet of inner_packet.length octets at `inner` in place: writes tunnel_front octets in
// front of it and the ICV behind it. `header` brings version, SPI, IV, cookie, crypt offset, S and D; next
// header and extension length are set here, the crypt offset as seal_payload says. ECN is copied to the outer
// header (RFC 6040 section 4.1, normal mode); the inner packet stays as it is, its hop limit too. Returns the
// start of the outer packet; null, with nothing written, when its lengths would not fit 16 bits.
[[nodiscard]] uint8_t* seal_tunnel(const Aead& aead, void* expanded_key, const Outer& outer,
                                   const IpPacket& inner_packet, Header header, uint8_t* inner);

// The same but for the AEAD, which has *job to do, and for the UDP checksum, which comes after it.
[[nodiscard]] uint8_t* lay_out_tunnel(void* expanded_key, const Outer& outer, const IpPacket& inner_packet,
                                      Header* header, uint8_t* inner, AeadJob* job);

// Opens `length` octets of UDP payload in place that read_header accepted with a known version. When the ICV
// is right, header->cookie is in the clear. On success *inner points at the inner packet inside the payload,
// which read_ip accepted and which ends where the payload does. A next header other than 4 or 41 is kTrailer.
// The ECN of the outer header is the caller's to carry over (ecn.h).
OpenFault open_tunnel(const Aead& aead, void* expanded_key, Header* header, uint8_t* payload, size_t length,
                      uint8_t** inner, IpPacket* inner_packet);
// The rest of that, behind the AEAD (lay_out_opening): kNone or kTrailer.
OpenFault read_opened_tunnel(Header* header, uint8_t* payload, size_t length, uint8_t** inner,
                             IpPacket* inner_packet);

}  // namespace psp
