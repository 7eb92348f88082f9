// SPDX-License-Identifier: Apache-2.0
// Ports of UDP tunnels are configurable, and Geneve and GUE have headers of any length, so the inner packet
// is found by what it is: an IP header that holds, whose packet ends exactly where the outer one does, and
// that leads to the layer 4 header that the kernel names.
#include "engine/ports/host_tunnel.h"

#include <algorithm>

#include "psp/header.h"
#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

namespace {

// RFC 2784 section 2.1, RFC 2890 section 2.
constexpr uint32_t kGreHeader = 4, kGreField = 4, kGreChecksum = 4;
constexpr uint16_t kGreSummed = 0x8000, kGreKeyed = 0x2000;
// Octets between UDP or GRE and the inner packet: the longest header of Geneve (RFC 8926 section 3.4),
// Ethernet and two VLAN tags.
constexpr uint32_t kShimAtMost = 8 + 252 + 14 + 8;
// VXLAN's flags (RFC 7348 section 5), and that of remote checksum offload (draft-herbert-vxlan-rco), under
// which the receiver expects an inner checksum that is not complete.
constexpr uint16_t kVxlanFlags = 0x0800, kVxlanRemoteChecksum = 0x0020;

bool is_tunnel(uint8_t protocol) {
  return protocol == kProtocolUdp || protocol == kProtocolGre || protocol == kNextHeaderIpv4 ||
         protocol == kNextHeaderIpv6;
}

// Finds the inner IP packet, which begins up to `shim` octets behind `from`.
bool find_inner(const uint8_t* frame, uint32_t from, uint32_t shim, uint32_t layer4, uint32_t end,
                uint32_t* ip_at, IpPacket* ip) {
  const uint32_t last = std::min(from + shim, layer4 - std::min<uint32_t>(layer4, kIpv4Header));
  for (uint32_t at = from; at <= last; at += 2) {
    const uint8_t version = frame[at] >> 4;
    if (version != 4 && version != 6) continue;
    IpPacket found;
    if (read_ip(frame + at, end - at, &found) != IpFault::kNone || at + found.length != end) continue;
    const uint32_t behind = at + found.payload_offset;
    if (behind != layer4 && (behind > layer4 || !is_tunnel(found.protocol))) continue;
    *ip_at = at;
    *ip = found;
    return !found.fragment;
  }
  return false;
}

}  // namespace

void write_segment_ip(uint8_t* ip, uint32_t length, uint32_t index) {
  if (ip[0] >> 4 == 6) {
    store_u16(ip + 4, static_cast<uint16_t>(length - kIpv6Header));
    return;
  }
  store_u16(ip + 2, static_cast<uint16_t>(length));
  store_u16(ip + 4, static_cast<uint16_t>(load_u16(ip + 4) + index));
  write_ipv4_checksum(ip);
}

bool HostTunnels::read(const uint8_t* frame, uint32_t layer4, uint32_t* ip_at, IpPacket* ip) {
  count_ = 0;
  const uint32_t end = *ip_at + ip->length;
  if (layer4 >= end) return false;
  for (uint32_t header = *ip_at + ip->payload_offset; header != layer4;
       header = *ip_at + ip->payload_offset) {
    if (count_ == kTunnelsAtMost || header + kIpv4Header > layer4) return false;
    Tunnel& tunnel = tunnels_[count_++];
    tunnel = {.ip_at = static_cast<uint16_t>(*ip_at), .header_at = static_cast<uint16_t>(header)};
    uint32_t inner = header, shim = kShimAtMost;
    switch (ip->protocol) {
      case kNextHeaderIpv4:
      case kNextHeaderIpv6:
        shim = 0;
        break;
      case kProtocolUdp: {
        inner += kUdpHeaderLength;
        if (header + load_u16(frame + header + kUdpLength) != end) return false;
        const uint16_t flags = load_u16(frame + inner);
        if ((flags & (kVxlanFlags | kVxlanRemoteChecksum)) == (kVxlanFlags | kVxlanRemoteChecksum))
          return false;
        tunnel.kind = Tunnel::Kind::kUdp;
        tunnel.summed = load_u16(frame + header + kUdpChecksum) != 0;
        tunnel.pseudo = pseudo_header_sum(*ip, 0);
        break;
      }
      case kProtocolGre: {
        const uint16_t flags = load_u16(frame + header);
        if ((flags & ~(kGreSummed | kGreKeyed)) != 0) return false;
        tunnel.kind = Tunnel::Kind::kGre;
        tunnel.summed = flags & kGreSummed;
        inner += kGreHeader + (tunnel.summed ? kGreField : 0) + (flags & kGreKeyed ? kGreField : 0);
        break;
      }
      default:
        return false;
    }
    if (!find_inner(frame, inner, shim, layer4, end, ip_at, ip)) return false;
  }
  return true;
}

// From the inside out, since each checksum covers the headers within. What lies from layer 4 on is not read
// again: its checksum makes its sum known, as in the kernel's local checksum offload.
void HostTunnels::complete(uint8_t* frame, uint32_t layer4, uint32_t end, uint16_t sum,
                           uint32_t index) const {
  for (size_t i = count_; i-- > 0;) {
    const Tunnel& tunnel = tunnels_[i];
    uint8_t* const header = frame + tunnel.header_at;
    const uint32_t length = end - tunnel.header_at;
    const bool udp = tunnel.kind == Tunnel::Kind::kUdp;
    if (udp) store_u16(header + kUdpLength, static_cast<uint16_t>(length));
    if (tunnel.summed) {
      uint8_t* const field = header + (udp ? kUdpChecksum : kGreChecksum);
      store_u16(field, 0);
      const uint32_t start = udp ? tunnel.pseudo + length + sum : sum;
      const uint16_t checksum = checksum_fold(checksum_add(header, layer4 - tunnel.header_at, start));
      store_u16(field, udp && checksum == 0 ? 0xffff : checksum);
    }
    write_segment_ip(frame + tunnel.ip_at, end - tunnel.ip_at, index);
  }
}

}  // namespace psp
