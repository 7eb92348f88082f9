// SPDX-License-Identifier: Apache-2.0
// Each segment is a copy of the GSO packet's headers and of a slice of its payload.
#include "engine/ports/gso.h"

#include <rte_hash_crc.h>

#include <algorithm>
#include <cstring>

#include "engine/ports/packet.h"
#include "psp/header.h"
#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

namespace {

constexpr uint32_t kSctpChecksum = 8;
constexpr uint8_t kTcpFinPsh = 0x09, kTcpCwr = 0x80;

// Offset of layer 4 in a frame; 0 where it cannot be determined.
uint8_t protocol_of(const uint8_t* frame, uint32_t length) {
  IpPacket ip;
  if (length <= kEthernetLength) return 0;
  const bool read = read_ip(frame + kEthernetLength, length - kEthernetLength, &ip) == IpFault::kNone;
  return read ? ip.protocol : 0;
}

void write_crc32c(uint8_t* octets, uint32_t length, uint8_t* field) {
  std::memset(field, 0, 4);
  uint32_t crc = UINT32_MAX;
  // In steps, because layer 4 may have any alignment.
  for (; length >= 8; octets += 8, length -= 8) {
    uint64_t word;
    std::memcpy(&word, octets, sizeof word);
    crc = rte_hash_crc_8byte(word, crc);
  }
  for (; length > 0; --length) crc = rte_hash_crc_1byte(*octets++, crc);
  for (uint32_t i = 0; i < 4; ++i) field[i] = static_cast<uint8_t>(~crc >> 8 * i);
}

}  // namespace

bool complete_checksum(const FrameFacts& facts, uint8_t* frame, uint32_t length) {
  const uint32_t start = facts.checksum_start, offset = facts.checksum_offset;
  const uint32_t octets = offset == kSctpChecksum ? 4 : 2;
  if (start + offset + octets > length) return false;
  uint8_t* const layer4 = frame + start;
  if (offset == kSctpChecksum && protocol_of(frame, length) == kProtocolSctp) {
    write_crc32c(layer4, length - start, layer4 + offset);
    return true;
  }
  // The field holds the sum of the pseudo-header.
  const uint16_t checksum = checksum_fold(checksum_add(layer4, length - start, 0));
  store_u16(layer4 + offset, checksum == 0 ? 0xffff : checksum);
  return true;
}

bool Segments::begin(const FrameFacts& facts, const uint8_t* frame, uint32_t length, bool sealed) {
  count_ = at_ = 0;
  if (length <= kEthernetLength || facts.size == 0) return false;
  const uint16_t type = load_u16(frame + 12);
  const uint8_t* const packet = frame + kEthernetLength;
  if (type != kEtherTypeIpv4 && type != kEtherTypeIpv6) return false;
  if (read_ip(packet, length - kEthernetLength, &ip_) != IpFault::kNone || ip_.fragment) return false;
  ip_at_ = kEthernetLength;
  tunnels_.clear();
  const bool partial = facts.flags & kPartialChecksum;
  const bool plain = !partial || facts.checksum_start == ip_at_ + ip_.payload_offset;
  if (!plain && !tunnels_.read(frame, facts.checksum_start, &ip_at_, &ip_)) return false;
  const uint8_t kind = facts.kind & ~kCongestionOnce;
  const bool udp = kind == kUdpPackets;
  const bool tcp = kind == (ip_.version == 4 ? kTcpIpv4Packets : kTcpIpv6Packets);
  if (ip_.protocol != (udp ? kProtocolUdp : kProtocolTcp) || !(udp || tcp)) return false;
  const uint32_t end = ip_at_ + ip_.length, layer4 = ip_at_ + ip_.payload_offset;
  if (layer4 + (udp ? kUdpHeaderLength : kTcpHeader) > end) return false;
  headers_ = layer4 + (udp ? kUdpHeaderLength : (frame[layer4 + 12] >> 4) * 4u);
  if (headers_ >= end || headers_ < layer4 + (udp ? kUdpHeaderLength : kTcpHeader)) return false;
  payload_ = end - headers_;
  size_ = std::min<uint32_t>(facts.size, payload_);
  const uint32_t count = (payload_ + size_ - 1) / size_;
  if (count > kSegmentsAtMost) return false;
  const uint16_t whole = static_cast<uint16_t>(end - layer4);
  const uint32_t field = layer4 + (udp ? kUdpChecksum : kTcpChecksum);
  // A partial checksum is the sum of the pseudo-header with the length of the whole GSO packet.
  pseudo_ =
      partial ? load_u16(frame + field) + uint32_t{static_cast<uint16_t>(~whole)} : pseudo_header_sum(ip_, 0);
  frame_ = frame;
  count_ = count;
  unchecked_ = sealed && udp && tunnels_.empty() && load_u16(frame + layer4 + 2) == kUdpPort;
  congestion_once_ = facts.kind & kCongestionOnce;
  return true;
}

uint32_t Segments::next(uint8_t* frame) {
  const uint32_t payload = std::min(size_, payload_ - at_ * size_);
  const uint32_t end = headers_ + payload, layer4 = ip_at_ + ip_.payload_offset;
  std::memcpy(frame, frame_, headers_);
  std::memcpy(frame + headers_, frame_ + headers_ + at_ * size_, payload);
  write_segment_ip(frame + ip_at_, end - ip_at_, at_);
  write_layer4(frame + layer4, end - layer4);
  if (!tunnels_.empty()) {
    // Layer 4 with its checksum sums up to the complement of its pseudo-header.
    tunnels_.complete(frame, layer4, end, checksum_fold(pseudo_ + end - layer4), at_);
  }
  ++at_;
  return end;
}

void Segments::write_layer4(uint8_t* layer4, uint32_t length) const {
  const bool udp = ip_.protocol == kProtocolUdp;
  if (udp) {
    store_u16(layer4 + 4, static_cast<uint16_t>(length));
  } else {
    store_u32(layer4 + 4, load_u32(layer4 + 4) + at_ * size_);
    const bool last = at_ + 1 == count_;
    if (!last) layer4[kTcpFlags] &= static_cast<uint8_t>(~kTcpFinPsh);
    if (at_ > 0 && congestion_once_) layer4[kTcpFlags] &= static_cast<uint8_t>(~kTcpCwr);
  }
  uint8_t* const field = layer4 + (udp ? kUdpChecksum : kTcpChecksum);
  store_u16(field, 0);
  if (unchecked_) return;
  const uint16_t checksum = checksum_fold(checksum_add(layer4, length, pseudo_ + length));
  store_u16(field, checksum == 0 ? 0xffff : checksum);
}

}  // namespace psp
