// SPDX-License-Identifier: Apache-2.0
// What tunnel and transport mode share: the PSP packet (header, payload, ICV) sealed and opened in place, and
// the UDP header in front of it (PSP specification, "PSP Packet Format", "UDP Header"). Which IP header
// stands before UDP is the business of tunnel.h and transport.h.
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
  kTrailer,  // authentic, but what it holds is not what its mode, next header and lengths allow
};

// Octets of UDP and PSP header in front of what is sealed; with the ICV, all that sealing adds besides an
// outer IP header.
inline constexpr size_t encapsulation_headroom(bool cookie) {
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

// Octets of a PSP packet that are authenticated only; `end` is where its payload ends. The associated data is
// all from the header's first octet to the crypt offset, so S, D and, with an offset, cookie and extension
// words are bound too; AES-GMAC is the same with everything in front of the offset.
inline size_t clear_length(const Header& header, size_t end) {
  return is_encrypting(header.version) ? kHeaderLength + size_t{4} * header.crypt_offset : end;
}

// A PSP header that serves many packets, which differ in IV and length alone.
class SharedHeader {
 public:
  // *header brings next header, version, SPI, cookie, crypt offset, S and D; the extension length is set
  // here, and the crypt offset, which versions 2 and 3 send as 0.
  explicit SharedHeader(Header* header) {
    if (!is_encrypting(header->version)) header->crypt_offset = 0;
    header->ext_length = header->has_cookie ? 2 : 1;
    front_ = header_front(*header);
    cookie_ = header->cookie;
    has_cookie_ = header->has_cookie;
    encrypts_ = is_encrypting(header->version);
    clear_ = static_cast<uint32_t>(kHeaderLength + size_t{4} * header->crypt_offset);
  }

  // Lays out `length` octets at `payload` for the AEAD, which has *job to do then: writes UDP and PSP header
  // in front of them, with UDP checksum 0 (RFC 6935: the ICV covers what it would); the ICV comes behind. The
  // crypt offset must not reach past the payload, and the UDP length must fit 16 bits. Returns the start of
  // the UDP header.
  uint8_t* lay_out(void* expanded_key, uint64_t iv, uint16_t udp_source, uint8_t* payload, size_t length,
                   AeadJob* job) const {
    const size_t end = kHeaderLength + sealed_payload_octets(length, has_cookie_);
    uint8_t* const psp = payload + length - end;
    store_u64(psp, front_);
    store_u64(psp + 8, iv);
    if (has_cookie_) store_u64(psp + kHeaderLength, cookie_);
    const uint32_t clear = encrypts_ ? clear_ : static_cast<uint32_t>(end);
    *job = {expanded_key, psp, clear, static_cast<uint32_t>(end) - clear};

    uint8_t* const udp = psp - kUdpHeaderLength;
    // All of it at once, checksum 0.
    const size_t udp_length = kUdpHeaderLength + end + kIcvLength;
    store_u64(udp, uint64_t{udp_source} << 48 | uint64_t{kUdpPort} << 32 | (udp_length & 0xffff) << 16);
    return udp;
  }

 private:
  uint64_t front_, cookie_;
  uint32_t clear_;
  bool has_cookie_, encrypts_;
};

// The same for one packet: *header brings the IV too, and a crypt offset that reaches past the payload is cut
// to floor((cookie + payload) / 4), which leaves at most 3 octets encrypted.
inline uint8_t* lay_out_payload(void* expanded_key, uint16_t udp_source, Header* header, uint8_t* payload,
                                size_t length, AeadJob* job) {
  const size_t most = sealed_payload_octets(length, header->has_cookie) / 4;
  header->crypt_offset =
      static_cast<uint8_t>(std::min<size_t>({header->crypt_offset, kMaxCryptOffset, most}));
  return SharedHeader(header).lay_out(expanded_key, header->iv, udp_source, payload, length, job);
}

// Opening `length` octets of UDP payload in place is for the AEAD, which has *job to do then. read_header
// accepted them and is_known_version the version. A cookie is in the clear only behind that.
inline void lay_out_opening(void* expanded_key, const Header& header, uint8_t* payload, size_t length,
                            AeadJob* job) {
  const size_t end = length - kIcvLength;
  const size_t clear = clear_length(header, end);
  *job = {expanded_key, payload, static_cast<uint32_t>(clear), static_cast<uint32_t>(end - clear)};
}

// Computes the checksum of a whole datagram and writes it; one of 0 is written as 0xffff (RFC 768). The
// destination is the final one.
void write_udp_checksum(const Address& source, const Address& destination, uint8_t* udp);

// Whether the UDP checksum of a packet holds that read_ip accepted, that is UDP and no fragment. 0 is none,
// and accepted over both families (RFC 6935, RFC 6936). False too when the UDP length cannot be.
bool udp_checksum_ok(const IpPacket& packet, const uint8_t* octets);

}  // namespace psp
