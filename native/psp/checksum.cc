// SPDX-License-Identifier: Apache-2.0
// Internet checksums (RFC 1071). Words are added in host byte order, eight octets at a time, and the sum is
// swapped once at the end: the byte order does not change the checksum. Remaining octets are loaded directly
// in smaller words, because a wide load from a buffer that was filled octet by octet would stall.
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

template <typename Word>
uint64_t load_raw(const uint8_t* octets) {
  Word word;
  std::memcpy(&word, octets, sizeof word);
  return word;
}

}  // namespace

uint32_t checksum_add(const uint8_t* octets, size_t length, uint32_t sum) {
  uint64_t words = 0;
  for (; length >= 8; octets += 8, length -= 8) {
    const auto word = load_raw<uint64_t>(octets);
    words += (word & 0xffffffff) + (word >> 32);
  }
  if (length & 4) {
    words += load_raw<uint32_t>(octets);
    octets += 4;
  }
  if (length & 2) {
    words += load_raw<uint16_t>(octets);
    octets += 2;
  }
  if (length & 1) words += swap_to_network(static_cast<uint16_t>(*octets << 8));
  return static_cast<uint32_t>(fold(sum)) + swap_to_network(fold(words));
}

uint32_t pseudo_header_sum_ipv6(const Address& source, const Address& destination, uint8_t protocol,
                                uint32_t layer4_length) {
  return checksum_add(destination.data(), destination.size(),
                      checksum_add(source.data(), source.size(),
                                   protocol + (layer4_length >> 16) + (layer4_length & 0xffff)));
}

void write_ipv4_checksum(uint8_t* octets) {
  store_u16(octets + 10, 0);
  store_u16(octets + 10, checksum_fold(checksum_add(octets, (octets[0] & 0x0f) * size_t{4}, 0)));
}

bool complete_checksum(const IpPacket& packet, uint8_t* octets) {
  if (!looks_partial(packet, octets)) return false;
  const size_t offset = checksum_offset(packet.protocol);
  uint8_t* layer4 = octets + packet.payload_offset;
  const uint32_t length = packet.length - packet.payload_offset;
  const bool udp = packet.protocol == kProtocolUdp;
  if (udp && load_u16(layer4 + 4) != length) return false;
  // The field already contains the pseudo-header sum.
  const uint16_t checksum = checksum_fold(checksum_add(layer4, length, 0));
  store_u16(layer4 + offset, udp && checksum == 0 ? 0xffff : checksum);
  return true;
}

}  // namespace psp
