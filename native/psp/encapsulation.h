// SPDX-License-Identifier: Apache-2.0
// Code that tunnel mode and transport mode share: sealing and opening the PSP packet (header, payload, ICV)
// in place, and the UDP header before it (PSP specification, "PSP Packet Format", "UDP Header"). The IP
// headers are handled in tunnel.h and transport.h.
#pragma once

#include <algorithm>

#include "psp/aead.h"
#include "psp/header.h"
#include "psp/ip_packet.h"
#include "psp/protocols.h"

namespace psp {

enum class OpenFault : uint8_t {
  kNone,
  kIcv,      // authentication failed
  kTrailer,  // authentic, but the payload contradicts mode, next header or lengths
};

// Octets of UDP and PSP header before the payload. Together with the ICV this is all that sealing adds, apart
// from an outer IP header.
inline constexpr size_t encapsulation_headroom(bool cookie) {
  return kUdpHeaderLength + kHeaderLength + (cookie ? kCookieLength : 0);
}

// The number of octets that the byte counters of the PSP specification count for `length` octets of UDP
// payload that read_header accepted: from the end of the IV to the end of the payload, cookie and extension
// words included.
inline constexpr size_t sealed_payload_octets(size_t length) {
  return length - kHeaderLength - kIcvLength;
}
// The same for a packet to be sent with `length` octets of payload after the PSP header.
inline constexpr size_t sealed_payload_octets(size_t length, bool cookie) {
  return length + (cookie ? kCookieLength : 0);
}

// The length of the associated data of a PSP packet whose payload ends at `end`. The associated data reaches
// from the first octet of the header to the crypt offset, so it covers S, D and, with a crypt offset, cookie
// and extension words. With AES-GMAC it is the whole packet without the ICV.
inline size_t aad_length(const Header& header, size_t end) {
  return is_encrypting(header.version) ? kHeaderLength + size_t{4} * header.crypt_offset : end;
}

// The constant part of the PSP headers of many packets, which differ only in IV and length.
class SharedHeader {
 public:
  // *header supplies next header, version, SPI, cookie, crypt offset, S and D. The constructor sets its
  // extension length, and its crypt offset to 0 in versions 2 and 3.
  explicit SharedHeader(Header* header) {
    if (!is_encrypting(header->version)) header->crypt_offset = 0;
    header->ext_length = header->has_cookie ? 2 : 1;
    first_word_ = first_word(*header);
    cookie_ = header->cookie;
    has_cookie_ = header->has_cookie;
    encrypts_ = is_encrypting(header->version);
    aad_length_ = static_cast<uint32_t>(kHeaderLength + size_t{4} * header->crypt_offset);
  }

  // Writes the UDP and PSP headers before the `length` octets at `payload` and fills *job for the AEAD, which
  // writes the ICV after them. The UDP checksum is 0 (RFC 6935): the ICV covers the same octets. The crypt
  // offset must not point past the payload, and the UDP length must fit 16 bits. Returns the start of the UDP
  // header.
  uint8_t* lay_out(void* expanded_key, uint64_t iv, uint16_t udp_source, uint8_t* payload, size_t length,
                   AeadJob* job) const {
    const size_t end = kHeaderLength + sealed_payload_octets(length, has_cookie_);
    uint8_t* const psp = payload + length - end;
    store_u64(psp, first_word_);
    store_u64(psp + 8, iv);
    if (has_cookie_) store_u64(psp + kHeaderLength, cookie_);
    const uint32_t aad = encrypts_ ? aad_length_ : static_cast<uint32_t>(end);
    *job = {expanded_key, psp, aad, static_cast<uint32_t>(end) - aad};

    uint8_t* const udp = psp - kUdpHeaderLength;
    // One store for the whole header; the checksum is 0.
    const size_t udp_length = kUdpHeaderLength + end + kIcvLength;
    store_u64(udp, uint64_t{udp_source} << 48 | uint64_t{kUdpPort} << 32 | (udp_length & 0xffff) << 16);
    return udp;
  }

 private:
  uint64_t first_word_, cookie_;
  uint32_t aad_length_;
  bool has_cookie_, encrypts_;
};

// Same as SharedHeader for a single packet. *header also supplies the IV. A crypt offset past the payload is
// reduced to floor((cookie + payload) / 4), which leaves at most 3 octets encrypted.
inline uint8_t* lay_out_payload(void* expanded_key, uint16_t udp_source, Header* header, uint8_t* payload,
                                size_t length, AeadJob* job) {
  const size_t max_offset = sealed_payload_octets(length, header->has_cookie) / 4;
  header->crypt_offset =
      static_cast<uint8_t>(std::min<size_t>({header->crypt_offset, kMaxCryptOffset, max_offset}));
  return SharedHeader(header).lay_out(expanded_key, header->iv, udp_source, payload, length, job);
}

// Fills *job for the AEAD to open `length` octets of UDP payload in place. read_header must have accepted
// them and is_known_version the version. A cookie is plaintext only after the AEAD has run.
inline void lay_out_opening(void* expanded_key, const Header& header, uint8_t* payload, size_t length,
                            AeadJob* job) {
  const size_t end = length - kIcvLength;
  const size_t aad = aad_length(header, end);
  *job = {expanded_key, payload, static_cast<uint32_t>(aad), static_cast<uint32_t>(end - aad)};
}

// Computes and writes the checksum of a complete datagram; a checksum of 0 is sent as 0xffff (RFC 768).
// `destination` is the final destination, also if a routing header follows.
void write_udp_checksum(const Address& source, const Address& destination, uint8_t* udp);

// Whether the UDP checksum of an unfragmented UDP packet is correct; read_ip must have accepted the packet. A
// checksum of 0 means none and is accepted over IPv4 and IPv6 (RFC 6935, RFC 6936). Returns false if the UDP
// length is impossible.
bool udp_checksum_ok(const IpPacket& packet, const uint8_t* octets);

}  // namespace psp
