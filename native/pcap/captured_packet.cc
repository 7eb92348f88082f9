// SPDX-License-Identifier: Apache-2.0
// A frame of Ethernet is padded to 46 octets behind its header (IEEE 802.3 clause 4.2.3.3). More than that
// behind a packet is data that the packet's own length denies, unless it is the frame check sequence, which
// is then the frame's CRC. The padding of a packet of length 0 could not be told from its data, so that such
// a packet is completed only where it is longer than padding goes.
#include "pcap/captured_packet.h"

#include <algorithm>
#include <string>
#include <utility>

#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

namespace {

constexpr size_t kPaddedTo = 46;
constexpr size_t kFcs = 4;
constexpr size_t kIpv4Total = 2, kIpv4Fragment = 6, kIpv4Protocol = 9, kIpv4Checksum = 10;
constexpr size_t kIpv6Payload = 4, kIpv6Next = 6;
constexpr uint8_t kJumboPayload = 0xc2;  // RFC 2675 section 2

[[noreturn]] void refuse(const CaptureRecord& record, CaptureFaultKind kind, std::string detail) {
  throw CaptureFault(kind, record.number, std::move(detail));
}

std::string cut_of(const CaptureRecord& record) {
  return "only " + std::to_string(record.frame.size()) + " of its " + std::to_string(record.original_length) +
         " octets were captured; capture with a larger snap length";
}

std::string detail_of(IpFault fault, const CaptureRecord& record) {
  switch (fault) {
    case IpFault::kChecksum:
      return "its IPv4 header checksum is wrong";
    case IpFault::kTruncated:
      return record.is_cut() ? cut_of(record) : "its IP packet is longer than the frame";
    default:
      return "its IP header is malformed";
  }
}

// The CRC of IEEE 802.3 clause 3.2.9, as it lies in a frame: least significant octet first.
uint32_t crc_of(std::span<const uint8_t> octets) {
  uint32_t crc = 0xffffffff;
  for (const uint8_t octet : octets) {
    crc ^= octet;
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc;
}

bool ends_in_fcs(const CaptureRecord& record) {
  if (record.interface->link_type != kEthernetLink || record.is_cut()) return false;
  const std::span<const uint8_t> fcs = record.frame.last(kFcs);
  const uint32_t value = fcs[0] | fcs[1] << 8 | fcs[2] << 16 | uint32_t{fcs[3]} << 24;
  return crc_of(record.frame.first(record.frame.size() - kFcs)) == value;
}

// Octets of the frame on the wire behind its packet; refuses them where they are data.
size_t padding_of(const CaptureRecord& record, CaptureFaultKind kind, size_t front, size_t packet_length) {
  const size_t behind = record.original_length - front - packet_length;
  if (behind == 0 || packet_length + behind <= kPaddedTo) return behind;
  const bool fcs_may_be = behind == kFcs || (behind > kFcs && packet_length + behind <= kPaddedTo + kFcs);
  if (fcs_may_be && ends_in_fcs(record)) return behind;
  refuse(record, kind,
         std::to_string(behind) +
             " octets lie behind its IP packet, which are no link padding; if they are a " +
             "trailer, editcap -C -" + std::to_string(behind) + " IN OUT removes it");
}

bool offloads(uint8_t protocol) {
  return protocol == kProtocolTcp || protocol == kProtocolUdp;
}

// An IPv4 header without its checksum, and before segmentation without its length.
bool complete_ipv4(uint8_t* octets, size_t length, bool whole) {
  if (length < kIpv4Header || octets[0] >> 4 != 4) return false;
  const size_t header = (octets[0] & 0x0f) * size_t{4};
  if (header < kIpv4Header || header > length) return false;
  const bool holds = checksum_fold(checksum_add(octets, header, 0)) == 0;
  const bool no_length = load_u16(octets + kIpv4Total) == 0;
  if (!holds && load_u16(octets + kIpv4Checksum) != 0) return false;
  if (holds && !no_length) return false;
  if (no_length) {
    const bool fragment = load_u16(octets + kIpv4Fragment) & kAnyFragment;
    if (!whole || fragment || length > UINT16_MAX || !offloads(octets[kIpv4Protocol])) return false;
    store_u16(octets + kIpv4Total, static_cast<uint16_t>(length));
  }
  write_ipv4_checksum(octets);
  return true;
}

bool complete_ipv6(uint8_t* octets, size_t length, bool whole) {
  if (length < kIpv6Header || octets[0] >> 4 != 6 || load_u16(octets + kIpv6Payload) != 0) return false;
  if (!whole || length - kIpv6Header > UINT16_MAX || !offloads(octets[kIpv6Next])) return false;
  store_u16(octets + kIpv6Payload, static_cast<uint16_t>(length - kIpv6Header));
  return true;
}

bool is_jumbogram(const uint8_t* octets, size_t length) {
  return length >= kIpv6Header + size_t{8} && octets[0] >> 4 == 6 && load_u16(octets + kIpv6Payload) == 0 &&
         octets[kIpv6Next] == kProtocolHopByHop && octets[kIpv6Header + 2] == kJumboPayload;
}

}  // namespace

CapturedPacket read_captured(const CaptureRecord& record, CaptureFaultKind kind, const Layers& layers,
                             uint8_t* octets) {
  CapturedPacket packet;
  const size_t length = record.frame.size() - layers.length;
  IpFault fault = read_ip(octets, length, &packet.ip);
  if (fault != IpFault::kNone || packet.ip.length < length) {
    if (is_jumbogram(octets, length)) refuse(record, kind, "it is a jumbogram, which no IP packet can carry");
    const bool whole = !record.is_cut() && length > kPaddedTo;
    packet.completed = complete_ipv4(octets, length, whole) || complete_ipv6(octets, length, whole);
    if (packet.completed) fault = read_ip(octets, length, &packet.ip);
  }
  if (fault != IpFault::kNone) refuse(record, kind, detail_of(fault, record));
  if (packet.ip.version != layers.ip_version)
    refuse(record, kind, "its IP version is not the one its link names");
  if (!lengths_hold(layers, packet.ip.length, record.frame.data()))
    refuse(record, kind, "the length field of its link does not end where its IP packet does");
  packet.padding = padding_of(record, kind, layers.length, packet.ip.length);
  return packet;
}

void refuse_link(const CaptureRecord& record, CaptureFaultKind kind) {
  refuse(record, kind,
         "its link type " + std::to_string(record.interface->link_type) +
             " is none of Ethernet, Linux cooked and raw IP");
}

}  // namespace psp
