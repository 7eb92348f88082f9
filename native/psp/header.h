// SPDX-License-Identifier: Apache-2.0
// The PSP header on the wire (PSP specification, "PSP Packet Format").
#pragma once

#include <cstddef>
#include <cstdint>

namespace psp {

inline constexpr uint16_t kUdpPort = 1000;
inline constexpr size_t kHeaderLength = 16;     // up to the end of the IV
inline constexpr size_t kCookieLength = 8;      // the virtualization cookie, when V is set
inline constexpr uint8_t kMaxCryptOffset = 63;  // 6 bits
inline constexpr uint8_t kNextHeaderIpv4 = 4;   // tunnel mode
inline constexpr uint8_t kNextHeaderIpv6 = 41;  // tunnel mode

// Versions 0 and 1 are AES-GCM with keys of 128 and 256 bits, 2 and 3 AES-GMAC with the same; all others are
// reserved and discarded on receipt (PSP specification, "PSP Header", Version).
inline constexpr bool is_known_version(uint8_t version) {
  return version <= 3;
}
// False for AES-GMAC, which authenticates and hides nothing.
inline constexpr bool is_encrypting(uint8_t version) {
  return version <= 1;
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

// Reads the header at the start of `length` octets of UDP payload and checks the lengths against it. Reserved
// bits are ignored (PSP specification); unknown versions are the caller's to refuse. Extension words behind
// the IV and the cookie are opaque and only counted.
HeaderFault read_header(const uint8_t* octets, size_t length, Header* header);

// The cookie of a header with V as it lies there, in the clear or not.
uint64_t read_cookie(const uint8_t* octets);

// Writes kHeaderLength octets, and the cookie behind them when has_cookie. Returns the octets written.
size_t write_header(const Header& header, uint8_t* octets);

}  // namespace psp
