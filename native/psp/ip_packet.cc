// SPDX-License-Identifier: Apache-2.0
// One pass over the headers, each step checked against the octets at hand. IPv6 extension headers are walked
// up to a bound (RFC 8200 section 4); a first fragment must hold its whole chain (RFC 7112), later fragments
// end the walk, because what lies behind their fragment header is the middle of something.
#include "psp/ip_packet.h"

#include <cstring>
#include <utility>

#include "psp/octets.h"

namespace psp {

namespace {

constexpr size_t kIpv4Header = 20, kIpv6Header = 40;
constexpr uint16_t kIpv4Protocol = 9, kIpv6NextHeader = 6;
constexpr uint16_t kMoreFragments = 0x2000, kFragmentOffset = 0x1fff;

constexpr int kExtensionsAtMost = 8;

// A sum of words in the machine's own order tells as well whether a checksum holds. Nearly every header has
// no options.
bool checksum_holds(const uint8_t* octets, size_t header) {
  if (header != kIpv4Header) return checksum_fold(checksum_add(octets, header, 0)) == 0;
  uint64_t words[2];
  uint32_t last;
  std::memcpy(words, octets, sizeof words);
  std::memcpy(&last, octets + sizeof words, sizeof last);
  uint64_t sum = last;
  for (const uint64_t word : words) sum += (word & 0xffffffff) + (word >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  return checksum_fold(static_cast<uint32_t>((sum & 0xffff) + (sum >> 16))) == 0;
}

IpFault read_ipv4(const uint8_t* octets, size_t length, IpPacket* packet) {
  if (length < kIpv4Header) return IpFault::kTruncated;
  const size_t header = (octets[0] & 0x0f) * size_t{4};
  const size_t total = load_u16(octets + 2);
  if (header < kIpv4Header || total < header) return IpFault::kMalformed;
  if (total > length) return IpFault::kTruncated;
  if (!checksum_holds(octets, header)) return IpFault::kChecksum;
  const uint16_t fragment = load_u16(octets + 6);
  packet->version = 4;
  packet->protocol = octets[kIpv4Protocol];
  packet->protocol_offset = kIpv4Protocol;
  packet->traffic_class = octets[1];
  packet->fragment = fragment & (kMoreFragments | kFragmentOffset);
  packet->later_fragment = fragment & kFragmentOffset;
  packet->payload_offset = static_cast<uint16_t>(header);
  packet->length = static_cast<uint32_t>(total);
  packet->source = mapped(octets + 12);
  packet->destination = mapped(octets + 16);
  return IpFault::kNone;
}

bool is_extension(uint8_t protocol) {
  return protocol == kProtocolHopByHop || protocol == kProtocolRouting || protocol == kProtocolFragment ||
         protocol == kProtocolAuthentication || protocol == kProtocolDestinationOptions;
}

// Octets of the extension header whose length octet is given.
size_t extension_length(uint8_t protocol, uint8_t length_octet) {
  if (protocol == kProtocolFragment) return 8;
  if (protocol == kProtocolAuthentication) return (length_octet + size_t{2}) * 4;
  return (length_octet + size_t{1}) * 8;
}

// Sets protocol, payload_offset and the fragment marks; false when the chain is impossible.
bool walk_extensions(const uint8_t* octets, IpPacket* packet) {
  packet->protocol_offset = kIpv6NextHeader;
  uint8_t protocol = octets[kIpv6NextHeader];
  size_t offset = kIpv6Header;
  int fragments = 0;  // at most one header (RFC 8200 section 4.1)
  for (int walked = 0; is_extension(protocol); walked++) {
    if (walked == kExtensionsAtMost || (protocol == kProtocolHopByHop && walked != 0)) return false;
    if (offset + 8 > packet->length) return false;
    const size_t length = extension_length(protocol, octets[offset + 1]);
    if (length % 8 != 0 || offset + length > packet->length) return false;
    if (protocol == kProtocolFragment) {
      if (fragments++ != 0) return false;
      const uint16_t field = load_u16(octets + offset + 2);
      packet->fragment = field & 0xfff9;
      packet->later_fragment = field & 0xfff8;
    }
    packet->protocol_offset = static_cast<uint16_t>(offset);
    protocol = octets[offset];
    offset += length;
    if (packet->later_fragment) break;
  }
  packet->protocol = protocol;
  packet->payload_offset = static_cast<uint16_t>(offset);
  return true;
}

IpFault read_ipv6(const uint8_t* octets, size_t length, IpPacket* packet) {
  if (length < kIpv6Header) return IpFault::kTruncated;
  const size_t total = kIpv6Header + load_u16(octets + 4);
  if (total > length) return IpFault::kTruncated;
  packet->version = 6;
  packet->traffic_class = static_cast<uint8_t>(load_u16(octets) >> 4);
  packet->fragment = false;
  packet->later_fragment = false;
  packet->length = static_cast<uint32_t>(total);
  std::memcpy(packet->source.data(), octets + 8, 16);
  std::memcpy(packet->destination.data(), octets + 24, 16);
  if (is_ipv4(packet->source) || is_ipv4(packet->destination)) return IpFault::kMalformed;
  return walk_extensions(octets, packet) ? IpFault::kNone : IpFault::kMalformed;
}

// Both halves of the product of two numbers, one upon the other.
uint64_t fold(uint64_t one, uint64_t other) {
  const auto product = static_cast<unsigned __int128>(one) * other;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

// Different for each end, so that the order of the ends counts.
uint64_t fold(const Address& address, uint64_t mask) {
  return fold(load_u64(address.data()) ^ mask, load_u64(address.data() + 8) ^ ~mask);
}

}  // namespace

IpFault read_ip(const uint8_t* octets, size_t length, IpPacket* packet) {
  if (length == 0) return IpFault::kTruncated;
  switch (octets[0] >> 4) {
    case 4:
      return read_ipv4(octets, length, packet);
    case 6:
      return read_ipv6(octets, length, packet);
    default:
      return IpFault::kMalformed;
  }
}

Ports read_ports(const IpPacket& packet, const uint8_t* octets) {
  if (packet.later_fragment || packet.payload_offset + 4u > packet.length) return {};
  switch (packet.protocol) {
    case kProtocolTcp:
    case kProtocolUdp:
    case kProtocolDccp:
    case kProtocolSctp:
    case kProtocolUdpLite:
      return {load_u16(octets + packet.payload_offset), load_u16(octets + packet.payload_offset + 2)};
    default:
      return {};
  }
}

uint32_t flow_hash(const IpPacket& packet, const uint8_t* octets, uint32_t seed, bool symmetric) {
  const Address* from = &packet.source;
  const Address* to = &packet.destination;
  Ports ports = packet.fragment ? Ports{} : read_ports(packet, octets);
  if (symmetric) {
    const int order = std::memcmp(from->data(), to->data(), from->size());
    if (order > 0 || (order == 0 && ports.source > ports.destination)) {
      std::swap(from, to);
      std::swap(ports.source, ports.destination);
    }
  }
  constexpr uint64_t kFrom = 0x9e3779b97f4a7c15, kTo = 0xd1b54a32d192ed03;
  uint64_t layer4 = seed;
  if (!packet.fragment) {
    layer4 |= static_cast<uint64_t>(packet.protocol) << 32;
    layer4 ^= fold(kTo, static_cast<uint64_t>(ports.source) << 16 | ports.destination);
  }
  const uint64_t ends = fold(fold(*from, kFrom) ^ kTo, fold(*to, kTo) ^ kFrom);
  return static_cast<uint32_t>(fold(ends ^ layer4, kFrom) >> 32);
}

}  // namespace psp
