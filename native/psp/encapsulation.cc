// SPDX-License-Identifier: Apache-2.0
// The nonce of the AEAD, SPI and IV, lies in the header as 12 octets in a row. The associated data is all
// from the header's first octet to the crypt offset, so S, D and, with an offset, cookie and extension words
// are bound too; AES-GMAC is the same with everything in front of the offset.
#include "psp/encapsulation.h"

#include <algorithm>

#include "psp/octets.h"

namespace psp {

namespace {

constexpr size_t kNonceOffset = 4;                  // of the SPI in the PSP header
constexpr size_t kUdpLength = 4, kUdpChecksum = 6;  // offsets in the UDP header

// Octets of a PSP packet that are authenticated only; `end` is where its payload ends.
size_t clear_length(const Header& header, size_t end) {
  return is_encrypting(header.version) ? kHeaderLength + size_t{4} * header.crypt_offset : end;
}

uint8_t sent_crypt_offset(const Header& header, size_t behind_iv) {
  if (!is_encrypting(header.version)) return 0;
  return static_cast<uint8_t>(std::min<size_t>({header.crypt_offset, kMaxCryptOffset, behind_iv / 4}));
}

}  // namespace

uint8_t* lay_out_payload(void* expanded_key, uint16_t udp_source, Header* header, uint8_t* payload,
                         size_t length, AeadJob* job) {
  const size_t behind_iv = sealed_payload_octets(length, header->has_cookie);
  const size_t end = kHeaderLength + behind_iv;
  header->ext_length = header->has_cookie ? 2 : 1;
  header->crypt_offset = sent_crypt_offset(*header, behind_iv);

  uint8_t* const psp = payload + length - end;
  write_header(*header, psp);
  const size_t clear = clear_length(*header, end);
  *job = {expanded_key, psp + kNonceOffset, psp, clear, psp + clear, end - clear, psp + end};

  uint8_t* const udp = psp - kUdpHeaderLength;
  // All of it at once, checksum 0.
  const size_t udp_length = kUdpHeaderLength + end + kIcvLength;
  store_u64(udp, uint64_t{udp_source} << 48 | uint64_t{kUdpPort} << 32 | (udp_length & 0xffff) << 16);
  return udp;
}

void lay_out_opening(void* expanded_key, const Header& header, uint8_t* payload, size_t length,
                     AeadJob* job) {
  const size_t end = length - kIcvLength;
  const size_t clear = clear_length(header, end);
  *job = {expanded_key, payload + kNonceOffset, payload, clear, payload + clear, end - clear, payload + end};
}

void write_udp_checksum(const Address& source, const Address& destination, uint8_t* udp) {
  const uint16_t length = load_u16(udp + kUdpLength);
  store_u16(udp + kUdpChecksum, 0);
  const uint32_t pseudo = pseudo_header_sum(source, destination, kProtocolUdp, length);
  const uint16_t checksum = checksum_fold(checksum_add(udp, length, pseudo));
  store_u16(udp + kUdpChecksum, checksum == 0 ? 0xffff : checksum);
}

bool udp_checksum_ok(const IpPacket& packet, const uint8_t* octets) {
  const uint8_t* const udp = octets + packet.payload_offset;
  const size_t there = packet.length - packet.payload_offset;
  if (there < kUdpHeaderLength) return false;
  const uint16_t length = load_u16(udp + kUdpLength);
  if (length < kUdpHeaderLength || length > there) return false;
  if (load_u16(udp + kUdpChecksum) == 0) return true;
  return checksum_fold(checksum_add(udp, length, pseudo_header_sum(packet, length))) == 0;
}

}  // namespace psp
