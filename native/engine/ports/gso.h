// SPDX-License-Identifier: Apache-2.0
// GSO packets: one frame of up to 64 KiB that stands for many packets of one flow, as hosts pass them to an
// interface that segments by itself (TSO, GSO, USO), also inside tunnels of the host's own. Works on octets;
// knows no ports.
#pragma once

#include <cstdint>

#include "engine/ports/host_tunnel.h"
#include "psp/ip_packet.h"

namespace psp {

// The kernel's metadata of a frame, which precedes its octets: struct virtio_net_hdr (virtio 1.2
// section 5.1.6.2), integers in the machine's byte order. For a GSO packet inside a tunnel it has the kind
// and the checksum offset of the inner packets.
struct FrameFacts {
  uint8_t flags = 0;
  uint8_t kind = 0;
  uint16_t headers = 0;          // octets of them, for a GSO packet
  uint16_t size = 0;             // octets of payload in each segment but the last
  uint16_t checksum_start = 0;   // offset of the octets that a partial checksum covers, up to the end
  uint16_t checksum_offset = 0;  // of the field, from there
};
static_assert(sizeof(FrameFacts) == 10);

inline constexpr uint8_t kPartialChecksum = 1;  // in flags
// Kinds of frames. Datagrams since Linux 6.2.
inline constexpr uint8_t kNoGso = 0, kTcpIpv4Packets = 1, kTcpIpv6Packets = 4, kUdpPackets = 5;
inline constexpr uint8_t kCongestionOnce = 0x80;  // beside the kind: CWR is for the first packet alone

// Segments of one GSO packet; a frame with more is an attempt to exhaust the lcore.
inline constexpr uint32_t kSegmentsAtMost = 1024;

inline bool is_gso_packet(const FrameFacts& facts) {
  return facts.kind != kNoGso;
}

// Completes the checksum of a frame whose sender left it to its interface: the Internet checksum, or the
// CRC32c of SCTP (RFC 9260 section 6.8). False when the field lies outside the frame.
bool complete_checksum(const FrameFacts& facts, uint8_t* frame, uint32_t length);

// The segments of one GSO packet, one after another, each a whole packet with its own lengths, IPv4
// identification, sequence number, flags and checksums. FIN and PSH are set in the last one only, and CWR in
// the first one only where the kernel says so (RFC 3168).
class Segments {
 public:
  // Reads the headers of a GSO packet, which must stay where it is until done(). `sealed`: datagrams to UDP
  // port 1000 get no checksum, because their ICV is stronger. False, and done(), when it cannot be segmented:
  // no TCP or UDP after its IP headers and tunnels (host_tunnel.h), a fragment, a truncated packet, or too
  // many segments.
  bool begin(const FrameFacts& facts, const uint8_t* frame, uint32_t length, bool sealed);

  bool done() const { return at_ == count_; }
  uint32_t count() const { return count_; }
  // Length of the longest frame that next() writes.
  uint32_t longest() const { return headers_ + size_; }
  // Writes the next segment with its Ethernet header. Returns its length. Only while not done().
  uint32_t next(uint8_t* frame);

 private:
  void write_layer4(uint8_t* layer4, uint32_t length) const;

  const uint8_t* frame_ = nullptr;
  HostTunnels tunnels_;
  IpPacket ip_;           // the innermost
  uint32_t ip_at_ = 0;    // where it begins
  uint32_t headers_ = 0;  // octets in front of the payload, Ethernet's too
  uint32_t payload_ = 0;  // octets in all
  uint32_t size_ = 0;     // octets of payload in each segment but the last
  uint32_t pseudo_ = 0;   // sum of the pseudo-header without the length
  uint32_t count_ = 0, at_ = 0;
  bool congestion_once_ = false;
  bool unchecked_ = false;
};

}  // namespace psp
