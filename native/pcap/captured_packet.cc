// SPDX-License-Identifier: Apache-2.0
// Ethernet pads the payload of a frame to 46 octets (IEEE 802.3 clause 4.2.3.3). More octets after a packet
// are data outside the packet's own length, unless they are the frame check sequence, which is then the CRC
// of the frame. In a packet of length 0, padding cannot be distinguished from data; its length is therefore
// filled in only if the frame is longer than padding makes it.
#include "pcap/captured_packet.h"

#include <algorithm>
#include <string>
#include <utility>

#include "pcap/link.h"
#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

namespace {

constexpr size_t kMinPayload = 46;
constexpr size_t kFcsLength = 4;
constexpr size_t kIpv4Total = 2, kIpv4Fragment = 6, kIpv4Protocol = 9, kIpv4Checksum = 10;
constexpr size_t kIpv6Payload = 4, kIpv6Next = 6;
constexpr uint8_t kJumboPayload = 0xc2;  // RFC 2675 section 2

[[noreturn]] void fail(const CaptureRecord& record, CaptureFaultKind kind, std::string detail) {
  throw CaptureFault(kind, record.number, std::move(detail));
}

std::string fault_detail(IpFault fault, const CaptureRecord& record) {
  switch (fault) {
    case IpFault::kChecksum:
      return "its IPv4 header checksum is wrong";
    case IpFault::kTruncated:
      return record.is_truncated() ? truncation_detail(record) : "its IP packet is longer than the frame";
    default:
      return "its IP header is malformed";
  }
}

// The CRC of IEEE 802.3 clause 3.2.9, in the order of a frame: least significant octet first.
uint32_t crc_of(std::span<const uint8_t> octets) {
  uint32_t crc = 0xffffffff;
  for (const uint8_t octet : octets) {
    crc ^= octet;
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc;
}

bool ends_in_fcs(const CaptureRecord& record) {
  if (record.interface->link_type != kEthernetLink || record.is_truncated()) return false;
  const std::span<const uint8_t> fcs = record.frame.last(kFcsLength);
  const uint32_t value = fcs[0] | fcs[1] << 8 | fcs[2] << 16 | uint32_t{fcs[3]} << 24;
  return crc_of(record.frame.first(record.frame.size() - kFcsLength)) == value;
}

// Returns the octets of the frame on the wire after its packet. Throws if they are neither padding nor a
// frame check sequence.
size_t padding_of(const CaptureRecord& record, CaptureFaultKind kind, size_t headers, size_t packet_length) {
  const size_t trailing = record.original_length - headers - packet_length;
  if (trailing == 0 || packet_length + trailing <= kMinPayload) return trailing;
  const bool may_be_fcs = trailing == kFcsLength ||
                          (trailing > kFcsLength && packet_length + trailing <= kMinPayload + kFcsLength);
  if (may_be_fcs && ends_in_fcs(record)) return trailing;
  fail(record, kind,
       std::to_string(trailing) + " octets follow its IP packet that are not link padding; if they are a " +
           "trailer, editcap -C -" + std::to_string(trailing) + " IN OUT removes it");
}

bool is_offloaded(uint8_t protocol) {
  return protocol == kProtocolTcp || protocol == kProtocolUdp;
}

// Fills in an IPv4 header checksum and, in a packet before segmentation, its total length.
bool complete_ipv4(uint8_t* octets, size_t length, bool can_fill_length) {
  if (length < kIpv4Header || octets[0] >> 4 != 4) return false;
  const size_t header = (octets[0] & 0x0f) * size_t{4};
  if (header < kIpv4Header || header > length) return false;
  const bool checksum_ok = checksum_fold(checksum_add(octets, header, 0)) == 0;
  const bool no_length = load_u16(octets + kIpv4Total) == 0;
  if (!checksum_ok && load_u16(octets + kIpv4Checksum) != 0) return false;
  if (checksum_ok && !no_length) return false;
  if (no_length) {
    const bool fragment = load_u16(octets + kIpv4Fragment) & kAnyFragment;
    if (!can_fill_length || fragment || length > UINT16_MAX || !is_offloaded(octets[kIpv4Protocol]))
      return false;
    store_u16(octets + kIpv4Total, static_cast<uint16_t>(length));
  }
  write_ipv4_checksum(octets);
  return true;
}

bool complete_ipv6(uint8_t* octets, size_t length, bool can_fill_length) {
  if (length < kIpv6Header || octets[0] >> 4 != 6 || load_u16(octets + kIpv6Payload) != 0) return false;
  if (!can_fill_length || length - kIpv6Header > UINT16_MAX || !is_offloaded(octets[kIpv6Next])) return false;
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
    if (is_jumbogram(octets, length)) fail(record, kind, "it is a jumbogram, which cannot be encapsulated");
    const bool can_fill_length = !record.is_truncated() && length > kMinPayload;
    packet.completed =
        complete_ipv4(octets, length, can_fill_length) || complete_ipv6(octets, length, can_fill_length);
    if (packet.completed) fault = read_ip(octets, length, &packet.ip);
  }
  if (fault != IpFault::kNone) fail(record, kind, fault_detail(fault, record));
  if (packet.ip.version != layers.ip_version)
    fail(record, kind, "its IP version differs from the one in its link header");
  if (!lengths_hold(layers, packet.ip.length, record.frame.data()))
    fail(record, kind, "the length field in its link header does not match its IP packet");
  packet.padding = padding_of(record, kind, layers.length, packet.ip.length);
  return packet;
}

std::string truncation_detail(const CaptureRecord& record) {
  return "only " + std::to_string(record.frame.size()) + " of its " + std::to_string(record.original_length) +
         " octets were captured; capture with a larger snap length";
}

void throw_unsupported_link(const CaptureRecord& record, CaptureFaultKind kind) {
  fail(record, kind, unsupported_link_detail(record.interface->link_type));
}

}  // namespace psp
