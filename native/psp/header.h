// SPDX-License-Identifier: Apache-2.0
// The PSP header on the wire (PSP specification, "PSP Packet Format"). Independent of the alignment and byte
// order of the machine. Extension words after the cookie are opaque: they count in the lengths and are
// skipped.
#pragma once

#include <cstddef>
#include <cstdint>

#include "psp/aead.h"
#include "psp/octets.h"

namespace psp {

inline constexpr uint16_t kUdpPort = 1000;      // PSP specification, "UDP Header"
inline constexpr size_t kHeaderLength = 16;     // without cookie and extension words
inline constexpr size_t kCookieLength = 8;      // the virtualization cookie, present if V is set
inline constexpr uint8_t kMaxCryptOffset = 63;  // 6 bits
// The next header in tunnel mode: IPv4 (RFC 2003) or IPv6 (RFC 2473) encapsulation.
inline constexpr uint8_t kNextHeaderIpv4 = 4, kNextHeaderIpv6 = 41;
// Octet 3: S, D, version, V, and a bit that is always 1.
inline constexpr uint8_t kSampleBit = 0x80, kDropBit = 0x40, kCookieBit = 0x02, kAlwaysOne = 0x01;
inline constexpr uint8_t kVersionShift = 2, kVersionMask = 0x0f;

// Versions 0 and 1 are AES-GCM with 128-bit and 256-bit keys, versions 2 and 3 are AES-GMAC with the same key
// lengths. All other versions are reserved, and their packets are dropped (PSP specification, "PSP Header",
// Version).
inline constexpr bool is_known_version(uint8_t version) {
  return version <= 3;
}
// False for AES-GMAC, which authenticates without encrypting.
inline constexpr bool is_encrypting(uint8_t version) {
  return version <= 1;
}

// An SPI whose low 31 bits are zero is reserved; no key may be derived for it (PSP specification, "SPI").
inline constexpr bool is_reserved_spi(uint32_t spi) {
  return (spi & 0x7fffffff) == 0;
}

struct Header {
  uint8_t next_header = 0;
  uint8_t ext_length = 1;    // header length in 8-octet units, not counting the first
  uint8_t crypt_offset = 0;  // 4-octet units from the end of the IV; unused in versions 2 and 3
  bool sample = false;       // S
  bool drop = false;         // D
  uint8_t version = 0;
  bool has_cookie = false;  // V
  uint32_t spi = 0;
  uint64_t iv = 0;
  // Valid if has_cookie. read_header reads ciphertext here unless the crypt offset is past the cookie;
  // open_tunnel and open_transport set the plaintext.
  uint64_t cookie = 0;

  // Length of the header in octets, including cookie and extension words.
  size_t length() const { return 8 + 8 * static_cast<size_t>(ext_length); }
};

enum class HeaderFault : uint8_t {
  kNone,
  kTruncated,    // shorter than the header and an ICV
  kMalformed,    // the always-1 bit is 0, or ext_length is too small for IV or cookie
  kCryptOffset,  // versions 0 and 1: the crypt offset points past the payload
};

// Reads the cookie field of a header with V, plaintext or ciphertext.
inline uint64_t read_cookie(const uint8_t* octets) {
  return load_u64(octets + kHeaderLength);
}

// Reads the header at the start of `length` octets of UDP payload and validates the lengths. Reserved bits
// are ignored (PSP specification, "PSP Header"). The caller must reject unknown versions. Extension words are
// opaque; only their length is checked.
inline HeaderFault read_header(const uint8_t* octets, size_t length, Header* header) {
  if (length < kHeaderLength + kIcvLength) return HeaderFault::kTruncated;
  const uint64_t word = load_u64(octets);
  // Fast path for the common header: no cookie, no extension words, no crypt offset, S and D clear.
  constexpr uint64_t kPlainMask = 0x00ff3fff & ~(uint64_t{kVersionMask} << kVersionShift);
  constexpr uint64_t kPlain = 0x00010000 | kAlwaysOne;
  if ((word >> 32 & kPlainMask) == kPlain) {
    *header = {};
    header->next_header = static_cast<uint8_t>(word >> 56);
    header->version = static_cast<uint8_t>(word >> 32) >> kVersionShift;
    header->spi = static_cast<uint32_t>(word);
    header->iv = load_u64(octets + 8);
    return HeaderFault::kNone;
  }
  const auto flags = static_cast<uint8_t>(word >> 32);
  header->next_header = static_cast<uint8_t>(word >> 56);
  header->ext_length = static_cast<uint8_t>(word >> 48);
  header->crypt_offset = static_cast<uint8_t>(word >> 40) & kMaxCryptOffset;
  header->sample = flags & kSampleBit;
  header->drop = flags & kDropBit;
  header->version = (flags >> kVersionShift) & kVersionMask;
  header->has_cookie = flags & kCookieBit;
  header->spi = static_cast<uint32_t>(word);
  header->iv = load_u64(octets + 8);
  header->cookie = 0;

  const size_t min_length = kHeaderLength + (header->has_cookie ? kCookieLength : 0);
  if (!(flags & kAlwaysOne) || header->length() < min_length) return HeaderFault::kMalformed;
  if (length < header->length() + kIcvLength) return HeaderFault::kTruncated;
  if (is_encrypting(header->version) &&
      kHeaderLength + size_t{4} * header->crypt_offset > length - kIcvLength) {
    return HeaderFault::kCryptOffset;
  }
  if (header->has_cookie) header->cookie = read_cookie(octets);
  return HeaderFault::kNone;
}

// The first 8 octets of the header as an integer.
inline uint64_t first_word(const Header& header) {
  const uint32_t flags = (header.sample ? kSampleBit : 0u) | (header.drop ? kDropBit : 0u) |
                         (header.version & uint32_t{kVersionMask}) << kVersionShift |
                         (header.has_cookie ? kCookieBit : 0u) | kAlwaysOne;
  const uint32_t offset = header.crypt_offset & kMaxCryptOffset;
  const uint32_t word =
      uint32_t{header.next_header} << 24 | uint32_t{header.ext_length} << 16 | offset << 8 | flags;
  return uint64_t{word} << 32 | header.spi;
}

// Writes kHeaderLength octets, and the cookie if has_cookie. Returns the number of octets written.
inline size_t write_header(const Header& header, uint8_t* octets) {
  store_u64(octets, first_word(header));
  store_u64(octets + 8, header.iv);
  if (!header.has_cookie) return kHeaderLength;
  store_u64(octets + kHeaderLength, header.cookie);
  return kHeaderLength + kCookieLength;
}

}  // namespace psp
