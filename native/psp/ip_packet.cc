// SPDX-License-Identifier: Apache-2.0
// One pass over the headers; each step is checked against the available octets. IPv6 extension headers are
// parsed up to a limit (RFC 8200 section 4). A first fragment must contain its whole header chain (RFC 7112).
// Later fragments end the parse, because their payload starts in the middle of the packet.
#include "psp/ip_packet.h"

#include <cstring>
#include <utility>

#include "psp/octets.h"

namespace psp {

namespace {

constexpr int kMaxExtensions =
    8;  // plus a fragment header, so that every accepted packet may also be fragmented

bool is_extension(uint8_t protocol) {
  return protocol == kProtocolHopByHop || protocol == kProtocolRouting || protocol == kProtocolFragment ||
         protocol == kProtocolAuthentication || protocol == kProtocolDestinationOptions;
}

// Length of an extension header in octets, from its length field.
size_t extension_length(uint8_t protocol, uint8_t length_octet) {
  if (protocol == kProtocolFragment) return 8;
  if (protocol == kProtocolAuthentication) return (length_octet + size_t{2}) * 4;
  return (length_octet + size_t{1}) * 8;
}

// Sets protocol, payload_offset and the fragment flags; returns false if the chain is invalid.
bool walk_extensions(const uint8_t* octets, IpPacket* packet) {
  packet->protocol_offset = kIpv6NextHeader;
  uint8_t protocol = octets[kIpv6NextHeader];
  size_t offset = kIpv6Header;
  int fragments = 0;  // at most one header (RFC 8200 section 4.1)
  for (int walked = 0; is_extension(protocol); walked++) {
    const bool fragment = protocol == kProtocolFragment;
    if (!fragment && walked - fragments == kMaxExtensions) return false;
    if (protocol == kProtocolHopByHop && walked != 0) return false;
    if (offset + 8 > packet->length) return false;
    const size_t length = extension_length(protocol, octets[offset + 1]);
    if (length % 8 != 0 || offset + length > packet->length) return false;
    if (fragment) {
      if (fragments++ != 0) return false;
      const uint16_t field = load_u16(octets + offset + 2);
      packet->fragment = field & 0xfff9;
      packet->later_fragment = field & kIpv6FragmentOffset;
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

// Uses a different `seed` for each address, so that their order matters.
uint64_t hash_address(const Address& address, uint64_t seed) {
  return fold_product(load_u64(address.data()) ^ seed, load_u64(address.data() + 8) ^ ~seed);
}

}  // namespace

IpFault read_ip_slow(const uint8_t* octets, size_t length, IpPacket* packet) {
  if (length == 0) return IpFault::kTruncated;
  const uint8_t version = octets[0] >> 4;
  if (version == 6) return read_ipv6(octets, length, packet);
  if (version != 4) return IpFault::kMalformed;
  if (length < kIpv4Header) return IpFault::kTruncated;
  return read_ipv4(octets, length, (octets[0] & 0x0f) * size_t{4}, packet);
}

AddressHash address_hash(const Address& source, const Address& destination, bool symmetric) {
  constexpr uint64_t kFirst = 0x9e3779b97f4a7c15, kSecond = 0xd1b54a32d192ed03;
  const bool swapped = symmetric && std::memcmp(source.data(), destination.data(), source.size()) > 0;
  const Address& first = swapped ? destination : source;
  const Address& second = swapped ? source : destination;
  return {fold_product(hash_address(first, kFirst) ^ kSecond, hash_address(second, kSecond) ^ kFirst),
          swapped};
}

}  // namespace psp
