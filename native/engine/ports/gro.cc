// SPDX-License-Identifier: Apache-2.0
// Frames are compared octet by octet where they must be equal; only lengths, checksums, the IPv4
// identification, and TCP sequence number and flags may differ.
#include "engine/ports/gro.h"

#include <cstring>

#include "engine/ports/packet.h"
#include "psp/header.h"
#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

namespace {

constexpr uint8_t kFin = 0x01, kSyn = 0x02, kRst = 0x04, kPsh = 0x08, kUrg = 0x20, kCwr = 0x80;
// The kernel segments frames of 64 KiB and more in software, whatever the device supports.
constexpr uint32_t kLongest = UINT16_MAX;

bool equal(const uint8_t* a, const uint8_t* b, uint32_t from, uint32_t to) {
  return std::memcmp(a + from, b + from, to - from) == 0;
}

// Sets layer4, ipv6 and udp. False unless TCP or UDP follows a plain IP header and the frame is exactly as
// long as its headers say.
bool read_ip_header(const uint8_t* frame, uint32_t length, Joinable* joinable) {
  if (length < kEthernetLength + kIpv4Header + kUdpHeaderLength) return false;
  const uint8_t* const ip = frame + kEthernetLength;
  const uint16_t type = load_u16(frame + 12);
  uint8_t protocol = 0;
  if (type == kEtherTypeIpv4) {
    if (ip[0] != kPlainIpv4 || (load_u16(ip + 6) & kAnyFragment) != 0) return false;
    if (load_u16(ip + 2) != length - kEthernetLength) return false;
    protocol = ip[9];
    joinable->layer4 = kEthernetLength + kIpv4Header;
  } else if (type == kEtherTypeIpv6) {
    if (length < kEthernetLength + kIpv6Header + kUdpHeaderLength) return false;
    if (load_u16(ip + 4) != length - kEthernetLength - kIpv6Header) return false;
    protocol = ip[6];
    joinable->layer4 = kEthernetLength + kIpv6Header;
    joinable->ipv6 = true;
  }
  joinable->udp = protocol == kProtocolUdp;
  return protocol == kProtocolUdp || protocol == kProtocolTcp;
}

uint32_t pseudo_sum(const uint8_t* frame, bool ipv6, uint8_t protocol, uint32_t length) {
  const uint8_t* const addresses = frame + kEthernetLength + (ipv6 ? 8 : 12);
  return checksum_add(addresses, ipv6 ? 32 : 8, protocol + length);
}

bool checksum_holds(const Joinable& joinable, uint32_t length) {
  const uint32_t octets = length - joinable.layer4;
  const uint8_t protocol = joinable.udp ? kProtocolUdp : kProtocolTcp;
  const uint32_t pseudo = pseudo_sum(joinable.frame, joinable.ipv6, protocol, octets);
  return checksum_fold(checksum_add(joinable.frame + joinable.layer4, octets, pseudo)) == 0;
}

bool read_udp(const uint8_t* udp, uint32_t length, bool sealed, bool* unchecked) {
  if (load_u16(udp + 4) != length) return false;
  *unchecked = load_u16(udp + kUdpChecksum) == 0;
  return !*unchecked || (sealed && load_u16(udp + 2) == kUdpPort);
}

}  // namespace

Joinable read_joinable(const uint8_t* frame, uint32_t length, bool sealed) {
  Joinable joinable;
  joinable.frame = frame;
  if (length > kLongest || !read_ip_header(frame, length, &joinable)) return joinable;
  const uint8_t* const layer4 = frame + joinable.layer4;
  const uint32_t there = length - joinable.layer4;
  uint32_t header = kUdpHeaderLength;
  bool unchecked = false;
  if (joinable.udp) {
    if (!read_udp(layer4, there, sealed, &unchecked)) return joinable;
  } else {
    if (there < kTcpHeader) return joinable;
    header = (layer4[12] >> 4) * 4u;
    if (header < kTcpHeader || (layer4[kTcpFlags] & (kSyn | kRst | kUrg)) != 0) return joinable;
  }
  if (there <= header || !(unchecked || checksum_holds(joinable, length))) return joinable;
  joinable.headers = static_cast<uint16_t>(joinable.layer4 + header);
  joinable.payload = static_cast<uint16_t>(there - header);
  return joinable;
}

void GroPacket::begin(const Joinable& first) {
  first_ = first;
  payload_ = first.payload;
  count_ = 1;
  last_flags_ = first.headers != 0 && !first.udp ? first.frame[first.layer4 + kTcpFlags] : 0;
  closed_ = first.headers == 0 || (last_flags_ & (kFin | kPsh)) != 0;
}

GroPacket::Result GroPacket::add(const Joinable& next) {
  if (!same_flow(next)) return Result::kOther;
  if (closed_ || !follows(next)) {
    closed_ = true;
    return Result::kFollows;
  }
  payload_ += next.payload;
  ++count_;
  if (!first_.udp) last_flags_ = next.frame[next.layer4 + kTcpFlags];
  closed_ = next.payload < first_.payload || (last_flags_ & (kFin | kPsh)) != 0;
  return Result::kMerged;
}

// Compares addresses, protocol and ports. A frame that could not be read may be of any flow.
bool GroPacket::same_flow(const Joinable& next) const {
  if (first_.layer4 == 0 || next.layer4 == 0) return true;
  if (first_.ipv6 != next.ipv6 || first_.udp != next.udp) return false;
  const uint32_t addresses = kEthernetLength + (first_.ipv6 ? 8 : 12);
  return equal(first_.frame, next.frame, addresses, first_.layer4 + 4u);
}

bool GroPacket::follows(const Joinable& next) const {
  if (next.headers != first_.headers || next.payload > first_.payload) return false;
  if (first_.headers + payload_ + next.payload > kLongest || count_ == kSegmentsAtMost) return false;
  const uint8_t *a = first_.frame, *b = next.frame;
  constexpr uint32_t ip = kEthernetLength;
  if (first_.ipv6) {
    if (!equal(a, b, 0, ip + 4) || !equal(a, b, ip + 6, ip + 8)) return false;
  } else {
    if (!equal(a, b, 0, ip + 2) || !equal(a, b, ip + 6, ip + 10)) return false;
    // Meaningless where fragmentation is forbidden (RFC 6864).
    const bool counts = load_u16(b + ip + 4) == static_cast<uint16_t>(load_u16(a + ip + 4) + count_);
    if (!counts && (load_u16(a + ip + 6) & kDontFragment) == 0) return false;
  }
  const uint32_t layer4 = first_.layer4;
  if (first_.udp) return (load_u16(a + layer4 + 6) == 0) == (load_u16(b + layer4 + 6) == 0);
  const uint8_t differ = a[layer4 + kTcpFlags] ^ b[layer4 + kTcpFlags];
  if ((differ & ~(kFin | kPsh | kCwr)) != 0 || (b[layer4 + kTcpFlags] & kCwr) != 0) return false;
  return load_u32(b + layer4 + 4) == load_u32(a + layer4 + 4) + payload_ &&
         equal(a, b, layer4 + 8, layer4 + kTcpFlags) &&
         equal(a, b, layer4 + kTcpFlags + 1, layer4 + kTcpChecksum) &&
         equal(a, b, layer4 + kTcpChecksum + 2, first_.headers);
}

FrameFacts GroPacket::facts() const {
  FrameFacts facts{};
  facts.flags = kPartialChecksum;
  facts.kind = first_.udp ? kUdpPackets : first_.ipv6 ? kTcpIpv6Packets : kTcpIpv4Packets;
  const bool congestion = !first_.udp && (first_.frame[first_.layer4 + kTcpFlags] & kCwr) != 0;
  if (congestion) facts.kind |= kCongestionOnce;
  facts.headers = first_.headers;
  facts.size = first_.payload;
  facts.checksum_start = first_.layer4;
  facts.checksum_offset = first_.udp ? kUdpChecksum : kTcpChecksum;
  return facts;
}

uint32_t GroPacket::write_headers(uint8_t* to) const {
  std::memcpy(to, first_.frame, first_.headers);
  const uint32_t length = first_.headers + payload_;
  const uint32_t octets = length - first_.layer4;
  uint8_t* const ip = to + kEthernetLength;
  if (first_.ipv6) {
    store_u16(ip + 4, static_cast<uint16_t>(octets));
  } else {
    store_u16(ip + 2, static_cast<uint16_t>(length - kEthernetLength));
    write_ipv4_checksum(ip);
  }
  uint8_t* const layer4 = to + first_.layer4;
  if (first_.udp) {
    store_u16(layer4 + 4, static_cast<uint16_t>(octets));
  } else {
    layer4[kTcpFlags] |= last_flags_ & (kFin | kPsh);
  }
  const uint8_t protocol = first_.udp ? kProtocolUdp : kProtocolTcp;
  const uint32_t pseudo = pseudo_sum(to, first_.ipv6, protocol, octets);
  // A partial checksum: the kernel adds the rest, so it is not complemented.
  store_u16(layer4 + (first_.udp ? kUdpChecksum : kTcpChecksum),
            static_cast<uint16_t>(~checksum_fold(pseudo)));
  return first_.headers;
}

}  // namespace psp
