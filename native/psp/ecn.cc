// SPDX-License-Identifier: Apache-2.0
// The table of RFC 6040 as three rules, and the bits in the headers of both families.
#include "psp/ecn.h"

#include "psp/octets.h"

namespace psp {

std::optional<uint8_t> decapsulated_ecn(uint8_t outer, uint8_t inner) {
  if (outer == kCongestionExperienced) {
    if (inner == kNotEct) return std::nullopt;
    return kCongestionExperienced;
  }
  if (outer == kEct1 && inner == kEct0) return kEct1;
  return inner;
}

void set_ecn(uint8_t ecn, IpPacket* packet, uint8_t* octets) {
  packet->traffic_class = static_cast<uint8_t>((packet->traffic_class & ~kEcnMask) | (ecn & kEcnMask));
  const uint16_t before = load_u16(octets);
  if (packet->version == 6) {
    store_u16(octets, static_cast<uint16_t>((before & 0xf00f) | packet->traffic_class << 4));
    return;
  }
  octets[1] = packet->traffic_class;
  const uint32_t sum = static_cast<uint16_t>(~load_u16(octets + 10)) + static_cast<uint16_t>(~before);
  store_u16(octets + 10, checksum_fold(sum + load_u16(octets)));
}

}  // namespace psp
