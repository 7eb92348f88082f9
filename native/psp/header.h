// SPDX-License-Identifier: Apache-2.0
// The PSP header on the wire (PSP specification, "PSP Packet Format"). Neither alignment nor byte order of
// the machine matters. Extensions beyond the cookie are opaque: they count for the lengths and are skipped.
#pragma once

#include <cstddef>
#include <cstdint>

#include "psp/aead.h"
#include "psp/octets.h"

namespace psp {

inline constexpr uint16_t kUdpPort = 1000;
inline constexpr size_t kHeaderLength = 16;     // up to the end of the IV
inline constexpr size_t kCookieLength = 8;      // the virtualization cookie, when V is set
inline constexpr uint8_t kMaxCryptOffset = 63;  // 6 bits
inline constexpr uint8_t kNextHeaderIpv4 = 4;   // tunnel mode
inline constexpr uint8_t kNextHeaderIpv6 = 41;  // tunnel mode
// Octet 3: S, D, the version, V, and a bit that is always set.
inline constexpr uint8_t kSampleBit = 0x80, kDropBit = 0x40, kCookieBit = 0x02, kAlwaysOne = 0x01;
inline constexpr uint8_t kVersionShift = 2, kVersionMask = 0x0f;

// Versions 0 and 1 are AES-GCM with keys of 128 and 256 bits, 2 and 3 AES-GMAC with the same; all others are
// reserved and discarded on receipt (PSP specification, "PSP Header", Version).
inline constexpr bool is_known_version(uint8_t version) {
  return version <= 3;
}
// False for AES-GMAC, which authenticates and hides nothing.
inline constexpr bool is_encrypting(uint8_t version) {
  return version <= 1;
}

// An SPI whose low 31 bits are zero is reserved: no key may be derived under it (PSP specification, "SPI").
inline constexpr bool is_reserved_spi(uint32_t spi) {
  return (spi & 0x7fffffff) == 0;
}

struct Header {
  uint8_t next_header = 0;
  uint8_t ext_length = 1;    // 8-octet units beyond the first 8
  uint8_t crypt_offset = 0;  // 4-octet units from the end of the IV; without meaning in versions 2 and 3
  bool sample = false;       // S
  bool drop = false;         // D
  uint8_t version = 0;
  bool has_cookie = false;  // V
  uint32_t spi = 0;
  uint64_t iv = 0;
  uint64_t cookie = 0;  // when has_cookie; as read_header reads it ciphertext, unless the crypt offset lies
                        // behind it: open_tunnel and open_transport set it once it is in the clear

  // Octets of the whole header, extensions included.
  size_t length() const { return 8 + 8 * static_cast<size_t>(ext_length); }
};

enum class HeaderFault : uint8_t {
  kNone,
  kTruncated,    // shorter than its header and an ICV
  kMalformed,    // lowest bit of octet 3 clear, V without room for a cookie, ext_length 0
  kCryptOffset,  // points past the payload; only versions 0 and 1 have one
};

// The cookie of a header with V as it lies there, in the clear or not.
inline uint64_t read_cookie(const uint8_t* octets) {
  return load_u64(octets + kHeaderLength);
}

// Reads the header at the start of `length` octets of UDP payload and checks the lengths against it. Reserved
// bits are ignored (PSP specification); unknown versions are the caller's to refuse. Extension words behind
// the IV and the cookie are opaque and only counted.
inline HeaderFault read_header(const uint8_t* octets, size_t length, Header* header) {
  if (length < kHeaderLength + kIcvLength) return HeaderFault::kTruncated;
  const uint64_t front = load_u64(octets);
  // Nearly every one: no cookie, no extension words, no crypt offset, no S and D.
  constexpr uint64_t kPlainMask = 0x00ff3fff & ~(uint64_t{kVersionMask} << kVersionShift);
  constexpr uint64_t kPlain = 0x00010000 | kAlwaysOne;
  if ((front >> 32 & kPlainMask) == kPlain) {
    *header = {};
    header->next_header = static_cast<uint8_t>(front >> 56);
    header->version = static_cast<uint8_t>(front >> 32) >> kVersionShift;
    header->spi = static_cast<uint32_t>(front);
    header->iv = load_u64(octets + 8);
    return HeaderFault::kNone;
  }
  const auto flags = static_cast<uint8_t>(front >> 32);
  header->next_header = static_cast<uint8_t>(front >> 56);
  header->ext_length = static_cast<uint8_t>(front >> 48);
  header->crypt_offset = static_cast<uint8_t>(front >> 40) & kMaxCryptOffset;
  header->sample = flags & kSampleBit;
  header->drop = flags & kDropBit;
  header->version = (flags >> kVersionShift) & kVersionMask;
  header->has_cookie = flags & kCookieBit;
  header->spi = static_cast<uint32_t>(front);
  header->iv = load_u64(octets + 8);
  header->cookie = 0;

  const size_t least = kHeaderLength + (header->has_cookie ? kCookieLength : 0);
  if (!(flags & kAlwaysOne) || header->length() < least) return HeaderFault::kMalformed;
  if (length < header->length() + kIcvLength) return HeaderFault::kTruncated;
  if (is_encrypting(header->version) &&
      kHeaderLength + size_t{4} * header->crypt_offset > length - kIcvLength) {
    return HeaderFault::kCryptOffset;
  }
  if (header->has_cookie) header->cookie = read_cookie(octets);
  return HeaderFault::kNone;
}

// The first 8 octets of a header, as a number.
inline uint64_t header_front(const Header& header) {
  const uint32_t flags = (header.sample ? kSampleBit : 0u) | (header.drop ? kDropBit : 0u) |
                         (header.version & uint32_t{kVersionMask}) << kVersionShift |
                         (header.has_cookie ? kCookieBit : 0u) | kAlwaysOne;
  const uint32_t offset = header.crypt_offset & kMaxCryptOffset;
  const uint32_t front =
      uint32_t{header.next_header} << 24 | uint32_t{header.ext_length} << 16 | offset << 8 | flags;
  return uint64_t{front} << 32 | header.spi;
}

// Writes kHeaderLength octets, and the cookie behind them when has_cookie. Returns the octets written.
inline size_t write_header(const Header& header, uint8_t* octets) {
  store_u64(octets, header_front(header));
  store_u64(octets + 8, header.iv);
  if (!header.has_cookie) return kHeaderLength;
  store_u64(octets + kHeaderLength, header.cookie);
  return kHeaderLength + kCookieLength;
}

}  // namespace psp
