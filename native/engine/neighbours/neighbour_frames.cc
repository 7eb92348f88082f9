// SPDX-License-Identifier: Apache-2.0
// The offsets of ARP and ICMPv6 fields are written once, here, beside the checks.
#include "engine/neighbours/neighbour_frames.h"

#include <cstring>

#include "engine/ports/packet.h"
#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

namespace {

constexpr size_t kArpLength = 28;
constexpr uint8_t kArpFixed[6] = {0, 1, 8, 0, 6, 4};  // Ethernet, IPv4, their address lengths
constexpr uint8_t kSourceLinkLayer = 1, kTargetLinkLayer = 2;
constexpr size_t kMessageLength = 24, kOptionLength = 8;
constexpr uint8_t kRouterFlag = 0x80, kSolicitedFlag = 0x40, kOverrideFlag = 0x20;
constexpr uint8_t kHopLimit = 255;

// Starts a frame of `length` octets after the Ethernet header; null when the mbuf has no space.
uint8_t* begin(rte_mbuf* mbuf, const MacAddress& destination, const MacAddress& source, uint16_t type,
               size_t length) {
  char* appended = rte_pktmbuf_append(mbuf, static_cast<uint16_t>(kEthernetLength + length));
  if (appended == nullptr) return nullptr;
  auto* frame = reinterpret_cast<uint8_t*>(appended);
  std::memset(frame, 0, kEthernetLength + length);
  std::memcpy(frame, destination.data(), 6);
  std::memcpy(frame + 6, source.data(), 6);
  store(frame + 12, type);
  return frame + kEthernetLength;
}

// A request leaves the target's MAC address zero, also when it is sent to one.
bool write_arp(rte_mbuf* mbuf, uint8_t operation, const MacAddress& mac, const Address& sender,
               const MacAddress& destination, const Address& target) {
  const bool request = operation == 1;
  uint8_t* arp = begin(mbuf, destination, mac, kEtherTypeArp, kArpLength);
  if (arp == nullptr) return false;
  std::memcpy(arp, kArpFixed, sizeof kArpFixed);
  arp[7] = operation;
  std::memcpy(arp + 8, mac.data(), 6);
  std::memcpy(arp + 14, sender.data() + 12, 4);
  if (!request) std::memcpy(arp + 18, destination.data(), 6);
  std::memcpy(arp + 24, target.data() + 12, 4);
  return true;
}

bool write_message(rte_mbuf* mbuf, uint8_t type, uint8_t flags, const MacAddress& mac, const Address& source,
                   const MacAddress& destination_mac, const Address& destination, const Address& target) {
  constexpr size_t kLength = kMessageLength + kOptionLength;
  uint8_t* ip = begin(mbuf, destination_mac, mac, kEtherTypeIpv6, kIpv6Header + kLength);
  if (ip == nullptr) return false;
  ip[0] = 0x60;
  ip[5] = kLength;
  ip[6] = kProtocolIcmpv6;
  ip[7] = kHopLimit;
  std::memcpy(ip + 8, source.data(), 16);
  std::memcpy(ip + 24, destination.data(), 16);
  uint8_t* message = ip + kIpv6Header;
  message[0] = type;
  message[4] = flags;
  std::memcpy(message + 8, target.data(), 16);
  message[24] = type == kNeighbourSolicitation ? kSourceLinkLayer : kTargetLinkLayer;
  message[25] = 1;
  std::memcpy(message + 26, mac.data(), 6);

  IpPacket packet;
  packet.version = 6;
  packet.protocol = kProtocolIcmpv6;
  packet.source = source;
  packet.destination = destination;
  const uint16_t sum = checksum_fold(checksum_add(message, kLength, pseudo_header_sum(packet, kLength)));
  store(message + 2, sum);
  return true;
}

}  // namespace

std::optional<NeighbourMessage> read_arp(const uint8_t* arp, size_t length) {
  if (length < kArpLength || std::memcmp(arp, kArpFixed, sizeof kArpFixed) != 0) return {};
  if (arp[6] != 0 || (arp[7] != 1 && arp[7] != 2)) return {};
  NeighbourMessage message;
  message.request = arp[7] == 1;
  message.solicited = !message.request;
  std::memcpy(message.mac.data(), arp + 8, 6);
  static constexpr uint8_t kUnspecified[4] = {};
  if (std::memcmp(arp + 14, kUnspecified, 4) != 0) message.sender = mapped(arp + 14);
  message.target = message.request ? mapped(arp + 24) : message.sender;
  return message;
}

bool is_neighbour_discovery(const IpPacket& packet, const uint8_t* octets) {
  if (packet.version != 6 || packet.protocol != kProtocolIcmpv6 || packet.later_fragment) return false;
  if (packet.length <= packet.payload_offset) return false;
  const uint8_t type = octets[packet.payload_offset];
  return type == kNeighbourSolicitation || type == kNeighbourAdvertisement;
}

std::optional<NeighbourMessage> read_neighbour_discovery(const IpPacket& packet, const uint8_t* octets) {
  const uint8_t* message = octets + packet.payload_offset;
  const uint32_t length = packet.length - packet.payload_offset;
  if (packet.source[0] == 0xff) return {};
  if (packet.fragment || octets[7] != kHopLimit || length < kMessageLength || message[1] != 0) return {};
  if (checksum_fold(checksum_add(message, length, pseudo_header_sum(packet, length))) != 0) return {};

  NeighbourMessage said;
  said.request = message[0] == kNeighbourSolicitation;
  std::memcpy(said.target.data(), message + 8, 16);
  said.sender = said.request ? packet.source : said.target;
  said.overrides = said.request || (message[4] & kOverrideFlag) != 0;
  said.solicited = !said.request && (message[4] & kSolicitedFlag) != 0;
  if (said.target[0] == 0xff) return {};
  const uint8_t wanted = said.request ? kSourceLinkLayer : kTargetLinkLayer;
  for (uint32_t at = kMessageLength; at < length;) {
    if (length - at < kOptionLength || message[at + 1] == 0) return {};
    const uint32_t option = message[at + 1] * 8u;
    if (length - at < option) return {};
    if (message[at] == wanted) std::memcpy(said.mac.data(), message + at + 2, 6);
    at += option;
  }
  return said;
}

bool write_request(rte_mbuf* mbuf, const MacAddress& mac, const Address& sender, const Address& target,
                   const std::optional<MacAddress>& at) {
  if (is_ipv4(target)) return write_arp(mbuf, 1, mac, sender, at.value_or(kBroadcastMac), target);
  if (at) return write_message(mbuf, kNeighbourSolicitation, 0, mac, sender, *at, target, target);
  // The solicited-node group of the target (RFC 4291, 2.7.1) and its MAC address (RFC 2464, 7).
  Address group = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, target[13], target[14], target[15]};
  const MacAddress group_mac = {0x33, 0x33, group[12], group[13], group[14], group[15]};
  return write_message(mbuf, kNeighbourSolicitation, 0, mac, sender, group_mac, group, target);
}

bool write_answer(rte_mbuf* mbuf, const MacAddress& mac, const Address& answered, const Address& asker,
                  const MacAddress& asker_mac, bool as_router) {
  if (is_ipv4(answered)) return write_arp(mbuf, 2, mac, answered, asker_mac, asker);
  const uint8_t flags = static_cast<uint8_t>(kRouterFlag | kSolicitedFlag | (as_router ? kOverrideFlag : 0));
  return write_message(mbuf, kNeighbourAdvertisement, flags, mac, answered, asker_mac, asker, answered);
}

bool write_announcement(rte_mbuf* mbuf, const MacAddress& mac, const Address& own) {
  if (is_ipv4(own)) return write_arp(mbuf, 1, mac, own, kBroadcastMac, own);
  constexpr Address kAllNodes = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  constexpr MacAddress kAllNodesMac = {0x33, 0x33, 0, 0, 0, 1};
  return write_message(mbuf, kNeighbourAdvertisement, kRouterFlag | kOverrideFlag, mac, own, kAllNodesMac,
                       kAllNodes, own);
}

Address link_local(const MacAddress& mac) {
  Address address = {0xfe, 0x80};
  address[8] = mac[0] ^ 2;
  address[9] = mac[1];
  address[10] = mac[2];
  address[11] = 0xff;
  address[12] = 0xfe;
  address[13] = mac[3];
  address[14] = mac[4];
  address[15] = mac[5];
  return address;
}

}  // namespace psp
