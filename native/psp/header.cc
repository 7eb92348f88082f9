// SPDX-License-Identifier: Apache-2.0
// Neither alignment nor byte order of the machine matters. Extensions beyond the
// cookie are opaque: they count for the lengths and are skipped.
#include "psp/header.h"

#include "psp/aead.h"
#include "psp/octets.h"

namespace psp {

namespace {

constexpr uint8_t kSample = 0x80, kDrop = 0x40, kCookie = 0x02, kAlwaysOne = 0x01;
constexpr uint8_t kVersionShift = 2, kVersionMask = 0x0f;

}  // namespace

HeaderFault read_header(const uint8_t* octets, size_t length, Header* header) {
  if (length < kHeaderLength + kIcvLength) return HeaderFault::kTruncated;
  const uint8_t flags = octets[3];
  header->next_header = octets[0];
  header->ext_length = octets[1];
  header->crypt_offset = octets[2] & kMaxCryptOffset;
  header->sample = flags & kSample;
  header->drop = flags & kDrop;
  header->version = (flags >> kVersionShift) & kVersionMask;
  header->has_cookie = flags & kCookie;
  header->spi = load_u32(octets + 4);
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

uint64_t read_cookie(const uint8_t* octets) {
  return load_u64(octets + kHeaderLength);
}

size_t write_header(const Header& header, uint8_t* octets) {
  const uint32_t flags = (header.sample ? kSample : 0u) | (header.drop ? kDrop : 0u) |
                         (header.version & uint32_t{kVersionMask}) << kVersionShift |
                         (header.has_cookie ? kCookie : 0u) | kAlwaysOne;
  const uint32_t offset = header.crypt_offset & kMaxCryptOffset;
  const uint32_t front =
      uint32_t{header.next_header} << 24 | uint32_t{header.ext_length} << 16 | offset << 8 | flags;
  store_u64(octets, uint64_t{front} << 32 | header.spi);
  store_u64(octets + 8, header.iv);
  if (!header.has_cookie) return kHeaderLength;
  store_u64(octets + kHeaderLength, header.cookie);
  return kHeaderLength + kCookieLength;
}

}  // namespace psp
