// SPDX-License-Identifier: Apache-2.0
// Internet checksums (RFC 1071). Words are summed in the machine's own order, eight octets at a time, and
// turned once at the end: the sum does not mind.
#include <algorithm>
#include <cstring>

#include "psp/ip_packet.h"
#include "psp/octets.h"

namespace psp {

namespace {

// Folds to 16 bits; only a sum of zero folds to zero.
uint16_t fold(uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>((sum & 0xffff) + (sum >> 16));
}

// Where the checksum stands in the layer 4 header, or 0.
size_t checksum_offset(uint8_t protocol) {
  if (protocol == kProtocolTcp) return 16;
  return protocol == kProtocolUdp ? 6 : 0;
}

}  // namespace

uint32_t checksum_add(const uint8_t* octets, size_t length, uint32_t sum) {
  uint64_t words = 0;
  for (; length >= 8; octets += 8, length -= 8) {
    uint64_t word;
    std::memcpy(&word, octets, 8);
    words += (word & 0xffffffff) + (word >> 32);
  }
  uint64_t rest = 0;
  std::memcpy(&rest, octets, length);
  words += (rest & 0xffffffff) + (rest >> 32);
  return static_cast<uint32_t>(fold(sum)) + swap_to_network(fold(words));
}

uint16_t checksum_fold(uint32_t sum) {
  return static_cast<uint16_t>(~fold(sum));
}

uint32_t pseudo_header_sum(const Address& source, const Address& destination, uint8_t protocol,
                           uint32_t layer4_length) {
  const size_t skip = is_ipv4(source) ? 12 : 0;
  uint32_t sum = checksum_add(source.data() + skip, 16 - skip, 0);
  sum = checksum_add(destination.data() + skip, 16 - skip, sum);
  return sum + protocol + (layer4_length >> 16) + (layer4_length & 0xffff);
}

void write_ipv4_checksum(uint8_t* octets) {
  store_u16(octets + 10, 0);
  store_u16(octets + 10, checksum_fold(checksum_add(octets, (octets[0] & 0x0f) * size_t{4}, 0)));
}

bool complete_checksum(const IpPacket& packet, uint8_t* octets) {
  const size_t offset = checksum_offset(packet.protocol);
  if (offset == 0 || packet.fragment) return false;
  uint8_t* layer4 = octets + packet.payload_offset;
  const uint32_t length = packet.length - packet.payload_offset;
  if (length < offset + 2) return false;
  const bool udp = packet.protocol == kProtocolUdp;
  if (udp && (length < 8 || load_u16(layer4 + 4) != length)) return false;
  if (load_u16(layer4 + offset) != fold(pseudo_header_sum(packet, length))) return false;
  // The field holds the pseudo-header's share of the sum already.
  const uint16_t checksum = checksum_fold(checksum_add(layer4, length, 0));
  store_u16(layer4 + offset, udp && checksum == 0 ? 0xffff : checksum);
  return true;
}

}  // namespace psp
