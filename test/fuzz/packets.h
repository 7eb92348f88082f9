// SPDX-License-Identifier: Apache-2.0
// IP packets made from the fuzzer's octets. A mutator rarely guesses a checksum, and little code runs after a
// wrong one: targets process each packet as it is and once more with corrected checksums.
#pragma once

#include <algorithm>
#include <cstring>

#include "input.h"
#include "psp/ip_packet.h"
#include "psp/octets.h"

namespace psp::fuzz {

// A literal implementation of RFC 1071, one word after another.
inline uint16_t plain_checksum(const uint8_t* octets, size_t length, uint32_t sum = 0) {
  for (size_t i = 0; i < length; i += 2) {
    sum += static_cast<uint32_t>(octets[i] << 8 | (i + 1 < length ? octets[i + 1] : 0));
    sum = (sum & 0xffff) + (sum >> 16);
  }
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

// Sets the IPv4 header checksum if the header is complete.
inline void fix_ipv4_checksum(uint8_t* packet, size_t length) {
  if (length < 20 || packet[0] >> 4 != 4) return;
  const size_t header = (packet[0] & 15) * size_t{4};
  if (header < 20 || header > length) return;
  store_u16(packet + 10, 0);
  store_u16(packet + 10, plain_checksum(packet, header));
}

// Also sets the checksum of ICMP, ICMPv6, TCP or UDP if the packet is complete.
inline void fix_checksums(uint8_t* octets, size_t length) {
  fix_ipv4_checksum(octets, length);
  IpPacket packet;
  if (read_ip(octets, length, &packet) != IpFault::kNone || packet.fragment) return;
  const size_t there = packet.length - packet.payload_offset;
  size_t field = 2;
  if (packet.protocol == kProtocolTcp) field = 16;
  if (packet.protocol == kProtocolUdp) field = 6;
  const bool icmp = packet.version == 4 && packet.protocol == kProtocolIcmp;
  if (field == 2 && !icmp && packet.protocol != kProtocolIcmpv6) return;
  if (there < field + 2) return;
  uint8_t* const layer4 = octets + packet.payload_offset;
  const uint32_t pseudo = icmp ? 0 : pseudo_header_sum(packet, static_cast<uint32_t>(there));
  store_u16(layer4 + field, 0);
  store_u16(layer4 + field, plain_checksum(layer4, there, pseudo));
}

inline Octets with_fixed_checksums(Octets octets) {
  fix_checksums(octets.data(), octets.size());
  return octets;
}

// Whether `ecn` changes only the packet's ECN field and the checksum that depends on it.
inline bool equal_but_ecn(Octets one, Octets other) {
  for (Octets* packet : {&one, &other}) {
    if (packet->size() < 20) continue;
    if ((*packet)[0] >> 4 == 4) {
      (*packet)[1] &= 0xfc;
      fix_ipv4_checksum(packet->data(), packet->size());
    } else {
      (*packet)[1] &= 0xcf;
    }
  }
  return one == other;
}

}  // namespace psp::fuzz
