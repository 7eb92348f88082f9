// SPDX-License-Identifier: Apache-2.0
// What tunnel and transport mode share: the PSP packet (header, payload, ICV) sealed and opened in place, and
// the UDP header in front of it (PSP specification, "PSP Packet Format", "UDP Header"). Which IP header
// stands before UDP is the business of tunnel.h and transport.h.
#pragma once

#include "psp/aead.h"
#include "psp/header.h"
#include "psp/ip_packet.h"

namespace psp {

inline constexpr size_t kUdpHeaderLength = 8;

enum class OpenFault : uint8_t {
  kNone,
  kIcv,      // authentication failed
  kTrailer,  // authentic, but what it holds is not what its mode, next header and lengths allow
};

// Octets of UDP and PSP header in front of what is sealed; with the ICV, all that sealing adds besides an
// outer IP header.
inline constexpr size_t encapsulation_front(bool cookie) {
  return kUdpHeaderLength + kHeaderLength + (cookie ? kCookieLength : 0);
}

// What the byte counters of the PSP specification count of `length` octets of UDP payload that read_header
// accepted: from after the IV to the end of the payload, so cookie and extension words too.
inline constexpr size_t sealed_payload_octets(size_t length) {
  return length - kHeaderLength - kIcvLength;
}
// The same for a packet to be sent with `length` octets of payload behind the PSP header.
inline constexpr size_t sealed_payload_octets(size_t length, bool cookie) {
  return length + (cookie ? kCookieLength : 0);
}

// Lays out `length` octets at `payload` for the AEAD, which has *job to do then: writes UDP and PSP header in
// front of them, with UDP checksum 0 (RFC 6935: the ICV covers what it would); the ICV comes behind. *header
// brings next header, version, SPI, IV, cookie, crypt offset, S and D; the extension length is set here. In
// versions 2 and 3 the crypt offset is sent as 0; in 0 and 1 one that reaches past the payload is cut to
// floor((cookie + payload) / 4), which leaves at most 3 octets encrypted. Returns the start of the UDP
// header. The UDP length must fit 16 bits.
uint8_t* lay_out_payload(void* expanded_key, uint16_t udp_source, Header* header, uint8_t* payload,
                         size_t length, AeadJob* job);

// Opening `length` octets of UDP payload in place is for the AEAD, which has *job to do then. read_header
// accepted them and is_known_version the version. A cookie is in the clear only behind that.
void lay_out_opening(void* expanded_key, const Header& header, uint8_t* payload, size_t length, AeadJob* job);

// Computes the checksum of a whole datagram and writes it; one of 0 is written as 0xffff (RFC 768). The
// destination is the final one.
void write_udp_checksum(const Address& source, const Address& destination, uint8_t* udp);

// Whether the UDP checksum of a packet holds that read_ip accepted, that is UDP and no fragment. 0 is none,
// and accepted over both families (RFC 6935, RFC 6936). False too when the UDP length cannot be.
bool udp_checksum_ok(const IpPacket& packet, const uint8_t* octets);

}  // namespace psp
