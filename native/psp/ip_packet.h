// SPDX-License-Identifier: Apache-2.0
// Parses IPv4 and IPv6 packets without trusting their lengths, and computes the checksums in them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "psp/address.h"
#include "psp/protocols.h"

namespace psp {

struct IpPacket {
  uint8_t version = 0;           // 4 or 6
  bool fragment = false;         // any fragment, also the first; not an atomic fragment (RFC 6946)
  bool later_fragment = false;   // fragment offset not 0, so there is no layer 4 header
  uint16_t protocol_offset = 0;  // of the octet with `protocol`, in the last header before layer 4
  uint16_t payload_offset = 0;   // of layer 4, from the start of the IP header
  uint8_t protocol = 0;          // of the payload, after IPv6 extension headers
  uint8_t traffic_class = 0;     // DSCP and ECN
  uint32_t length = 0;           // from the IP header; excludes link padding
  Address source{};
  Address destination{};
};

enum class IpFault : uint8_t {
  kNone,
  kTruncated,  // fewer octets than the header says
  kMalformed,  // impossible version, lengths or extension headers; IPv4-mapped address
  kChecksum,   // wrong IPv4 header checksum
};

// Adds `length` octets to the running sum of an Internet checksum (RFC 1071); the result is not complemented
// yet. Only the last part may have an odd length.
uint32_t checksum_add(const uint8_t* octets, size_t length, uint32_t sum);
// Folds and complements.
inline uint16_t checksum_fold(uint32_t sum) {
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~(sum + (sum >> 16)));
}

// Whether the checksum of an IPv4 header without options is correct: the sum of its 16-bit words must be a
// multiple of 0xffff. The sum of wider words in host byte order, with end-around carry, has the same property
// (RFC 1071 section 2).
inline bool ipv4_checksum_ok(const uint8_t* octets) {
  uint64_t words[2];
  uint32_t last;
  std::memcpy(words, octets, sizeof words);
  std::memcpy(&last, octets + sizeof words, sizeof last);
  uint64_t sum = words[0] + words[1];
  sum += sum < words[1];
  sum += last;
  sum += sum < last;
  return sum % 0xffff == 0;
}

// read_ip for a packet of version 4. `header` is its header length in octets; at least 20 octets must be
// present.
inline IpFault read_ipv4(const uint8_t* octets, size_t length, size_t header, IpPacket* packet) {
  // Byte order of the header, so that the field needs no swap.
  const uint16_t any_fragment = swap_to_network(kAnyFragment), offset = swap_to_network(kFragmentOffset);
  constexpr uint16_t kProtocol = 9;  // offset of the field
  const size_t total = load_u16(octets + 2);
  if (header < kIpv4Header || total < header) return IpFault::kMalformed;
  if (total > length) return IpFault::kTruncated;
  const bool checksum_ok =
      header == kIpv4Header ? ipv4_checksum_ok(octets) : checksum_fold(checksum_add(octets, header, 0)) == 0;
  if (!checksum_ok) return IpFault::kChecksum;
  uint16_t fragment;
  std::memcpy(&fragment, octets + 6, sizeof fragment);
  packet->version = 4;
  packet->fragment = fragment & any_fragment;
  packet->later_fragment = fragment & offset;
  packet->protocol_offset = kProtocol;
  packet->payload_offset = static_cast<uint16_t>(header);
  packet->protocol = octets[kProtocol];
  packet->traffic_class = octets[1];
  packet->length = static_cast<uint32_t>(total);
  packet->source = mapped(octets + 12);
  packet->destination = mapped(octets + 16);
  return IpFault::kNone;
}

// read_ip for all packets except IPv4 without options.
IpFault read_ip_slow(const uint8_t* octets, size_t length, IpPacket* packet);

// Parses the packet at the start of `length` octets. Rejects an IPv6 packet with an address in ::ffff:0:0/96,
// which would match the IPv4 flow of these addresses.
inline IpFault read_ip(const uint8_t* octets, size_t length, IpPacket* packet) {
  if (length >= kIpv4Header && octets[0] == kPlainIpv4) return read_ipv4(octets, length, kIpv4Header, packet);
  return read_ip_slow(octets, length, packet);
}

struct Ports {
  uint16_t source = 0, destination = 0;
};

// Whether a packet that read_ip accepted has source and destination ports in this fragment.
inline bool has_ports(const IpPacket& packet) {
  if (packet.later_fragment || packet.payload_offset + 4u > packet.length) return false;
  switch (packet.protocol) {
    case kProtocolTcp:
    case kProtocolUdp:
    case kProtocolDccp:
    case kProtocolSctp:
    case kProtocolUdpLite:
      return true;
    default:
      return false;
  }
}
// The ports of a packet that read_ip accepted; 0 if it has none.
inline Ports read_ports(const IpPacket& packet, const uint8_t* octets) {
  if (!has_ports(packet)) return {};
  return {load_u16(octets + packet.payload_offset), load_u16(octets + packet.payload_offset + 2)};
}

// The two halves of the 128-bit product, XORed.
inline uint64_t fold_product(uint64_t one, uint64_t other) {
  const auto product = static_cast<unsigned __int128>(one) * other;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

// The part of a flow hash that depends on the addresses; the same for all packets of a flow.
struct AddressHash {
  uint64_t value = 0;
  bool swapped = false;  // the destination is hashed first
};
// `symmetric`: both directions of a conversation get the same hash. If source and destination are equal, only
// the ports distinguish the directions.
AddressHash address_hash(const Address& source, const Address& destination, bool symmetric);
// Seeded hash of addresses, protocol and ports, for ECMP entropy. Fragments are hashed by addresses alone, so
// that all fragments of a packet take the same path. `addresses` must belong to the packet.
inline uint32_t flow_hash(const AddressHash& addresses, const IpPacket& packet, const uint8_t* octets,
                          uint32_t seed) {
  constexpr uint64_t kMultiplier = 0x9e3779b97f4a7c15;
  uint64_t layer4 = uint64_t{seed} << 32;
  if (!packet.fragment) {
    layer4 ^= static_cast<uint64_t>(packet.protocol) << 32;
    if (has_ports(packet)) {
      const uint32_t ports = load_u32(octets + packet.payload_offset);
      layer4 ^= addresses.swapped ? ports << 16 | ports >> 16 : ports;
    }
  }
  return static_cast<uint32_t>(fold_product(addresses.value ^ layer4, kMultiplier) >> 32);
}
inline uint32_t flow_hash(const IpPacket& packet, const uint8_t* octets, uint32_t seed,
                          bool symmetric = false) {
  AddressHash addresses = address_hash(packet.source, packet.destination, symmetric);
  if (symmetric && is_same(packet.source, packet.destination)) {
    const Ports ports = read_ports(packet, octets);
    addresses.swapped = ports.source > ports.destination;
  }
  return flow_hash(addresses, packet, octets, seed);
}

// The sum of the pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1) for a layer 4 length. Both
// addresses must have the same family.
uint32_t pseudo_header_sum_ipv6(const Address& source, const Address& destination, uint8_t protocol,
                                uint32_t layer4_length);
inline uint32_t pseudo_header_sum(const Address& source, const Address& destination, uint8_t protocol,
                                  uint32_t layer4_length) {
  if (!is_ipv4(source)) return pseudo_header_sum_ipv6(source, destination, protocol, layer4_length);
  const uint32_t from = load_u32(source.data() + 12), to = load_u32(destination.data() + 12);
  return (from >> 16) + (from & 0xffff) + (to >> 16) + (to & 0xffff) + protocol + (layer4_length >> 16) +
         (layer4_length & 0xffff);
}
inline uint32_t pseudo_header_sum(const IpPacket& packet, uint32_t layer4_length) {
  return pseudo_header_sum(packet.source, packet.destination, packet.protocol, layer4_length);
}

// Writes the header checksum of the IPv4 packet at `octets`. Its header length must be correct.
void write_ipv4_checksum(uint8_t* octets);

// A host with checksum offload leaves the folded pseudo-header sum in the TCP or UDP checksum field
// (CHECKSUM_PARTIAL in Linux). The offset of that field in layer 4, or 0 for other protocols.
inline size_t checksum_offset(uint8_t protocol) {
  if (protocol == kProtocolUdp) return kUdpChecksum;
  return protocol == kProtocolTcp ? kTcpChecksum : 0;
}
// Whether the checksum field of a packet that read_ip accepted has such a partial checksum. Never true for
// fragments.
inline bool looks_partial(const IpPacket& packet, const uint8_t* octets) {
  const size_t offset = checksum_offset(packet.protocol);
  const uint32_t length = packet.length - packet.payload_offset;
  if (offset == 0 || packet.fragment || length < offset + 2) return false;
  const uint16_t field = load_u16(octets + packet.payload_offset + offset);
  if (packet.version != 4) {
    return field == static_cast<uint16_t>(~checksum_fold(pseudo_header_sum(packet, length)));
  }
  // Same as pseudo_header_sum, in host byte order, which does not change the result. The folded sum equals
  // the field, which then is not 0, if their difference is a multiple of 0xffff.
  uint32_t from, to;
  std::memcpy(&from, packet.source.data() + 12, sizeof from);
  std::memcpy(&to, packet.destination.data() + 12, sizeof to);
  const uint64_t sum = uint64_t{from} + to + swap_to_network(static_cast<uint16_t>(length)) +
                       swap_to_network(static_cast<uint16_t>(packet.protocol));
  return field != 0 && (sum + 0xffff - swap_to_network(field)) % 0xffff == 0;
}
// Completes a partial checksum; returns true if it did. A correct checksum that looks partial keeps its
// value.
bool complete_checksum(const IpPacket& packet, uint8_t* octets);

}  // namespace psp
