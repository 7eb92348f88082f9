// SPDX-License-Identifier: Apache-2.0
// Super-frames: one frame of up to 64 KiB that stands for many packets of one flow, as hosts hand them to an
// interface that cuts by itself (TSO, GSO, USO), also inside tunnels of the host's own. Works on octets;
// knows no ports.
#pragma once

#include <cstdint>

#include "engine/ports/host_tunnel.h"
#include "psp/ip_packet.h"

namespace psp {

// What the kernel says of a frame beside its octets, as it lies in front of them: struct virtio_net_hdr
// (virtio 1.2 section 5.1.6.2), integers in the machine's order. For a GSO packet
// inside a tunnel it gives the kind and the checksum offset of the inner packets.
struct FrameFacts {
  uint8_t flags = 0;
  uint8_t kind = 0;
  uint16_t headers = 0;          // octets of them, for a super-frame
  uint16_t size = 0;             // octets of payload in each packet of a super-frame but the last
  uint16_t checksum_start = 0;   // where the octets begin that a partial checksum covers, up to the end
  uint16_t checksum_offset = 0;  // of the field, from there
};
static_assert(sizeof(FrameFacts) == 10);

inline constexpr uint8_t kPartialChecksum = 1;  // in flags
// Kinds of frames. Datagrams since Linux 6.2.
inline constexpr uint8_t kOnePacket = 0, kTcpIpv4Packets = 1, kTcpIpv6Packets = 4, kUdpPackets = 5;
inline constexpr uint8_t kCongestionOnce = 0x80;  // beside the kind: CWR is for the first packet alone

// Packets that one super-frame may stand for: more would be an attempt to keep us busy with one frame.
inline constexpr uint32_t kSegmentsAtMost = 1024;

inline bool is_gso_packet(const FrameFacts& facts) {
  return facts.kind != kOnePacket;
}

// Completes the checksum of a frame whose sender left it to its interface: the Internet checksum, or the
// CRC32c of SCTP (RFC 9260 section 6.8). False when it lies outside the frame.
bool complete_checksum(const FrameFacts& facts, uint8_t* frame, uint32_t length);

// The packets of one super-frame, one after the other, each whole: lengths, IPv4 identification, sequence
// number, flags and checksums are its own. FIN and PSH stay in the last one, and CWR in the first where the
// kernel says so (RFC 3168).
class Segments {
 public:
  // Reads the headers of a super-frame, which stays where it is until done(). `sealed`: datagrams to UDP port
  // 1000 get no checksum, since their ICV says more. False: it cannot be cut, and then done() holds: no TCP
  // or UDP behind its IP headers and tunnels (host_tunnel.h), a fragment, not whole, or too many packets.
  bool begin(const FrameFacts& facts, const uint8_t* frame, uint32_t length, bool sealed);

  bool done() const { return at_ == count_; }
  uint32_t count() const { return count_; }
  // Octets of the longest frame that next() writes.
  uint32_t longest() const { return headers_ + size_; }
  // Writes the next packet with its Ethernet header. Returns its length. Only while not done().
  uint32_t next(uint8_t* frame);

 private:
  void write_layer4(uint8_t* layer4, uint32_t length) const;

  const uint8_t* frame_ = nullptr;
  HostTunnels tunnels_;
  IpPacket ip_;           // the innermost
  uint32_t ip_at_ = 0;    // where it begins
  uint32_t headers_ = 0;  // octets in front of the payload, Ethernet's too
  uint32_t payload_ = 0;  // octets in all
  uint32_t size_ = 0;     // octets of payload in each packet but the last
  uint32_t pseudo_ = 0;   // sum of the pseudo-header without the length
  uint32_t count_ = 0, at_ = 0;
  bool congestion_once_ = false;
  bool unchecked_ = false;
};

}  // namespace psp
