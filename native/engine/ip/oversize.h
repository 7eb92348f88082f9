// SPDX-License-Identifier: Apache-2.0
// What happens to a packet that is longer than its path takes. Pure rules over lengths. From a host, once the
// packet is sealed:
//
//                          fits      does not fit
//   IPv4, DF               whole     dropped, ICMP error: fragmentation needed
//   IPv4, no DF            whole     tunnel: fragmented, then sealed; transport: sealed, then fragmented
//   IPv6 of at most 1280   whole     sealed, then fragmented: IPv6 needs 1280 (RFC 8200 section 5)
//   IPv6 of more           whole     dropped, ICMP error: packet too big, 1280 at least
//   reassembled here       whole     sealed, then fragmented, as it came in fragments; IPv6 in transport mode
//   that
//                                    is longer than the MTU of its host's link is so even where it fits
//   in the clear (bypass)  whole     as tunnel, but IPv6 is dropped always, with an ICMP error
//   GSO packet             whole     dropped, no error: its host would segment it only after us. Kernel ports
//   have
//                                    segmented theirs; only a DPDK port may hand one up
//
// From the wire, once the packet is opened, at the MTU of the hosts' port. In transport mode the peer
// reassembles what its host fragments. A tunnel packet that arrived in fragments shows it; of any other IPv6
// packet nobody can tell: it is fragmented again on behalf of that host, which also receives the error, so
// that it adapts where it can.
//
//                          tunnel       transport               in the clear (bypass)
//   IPv4, DF               error        error                   error
//   IPv4, no DF            fragmented   fragmented              fragmented
//   IPv6                   error        fragmented, and error   error
//   reassembled here       as above     fragmented              fragmented
#pragma once

#include <algorithm>
#include <cstdint>

#include "psp/ip_packet.h"
#include "psp/mode.h"

namespace psp {

inline constexpr uint16_t kLeastMtuIpv4 = 576;   // path MTU of IPv4 below which we never go
inline constexpr uint16_t kLeastMtuIpv6 = 1280;  // RFC 8200 section 5

inline constexpr uint16_t least_mtu(bool ipv6) {
  return ipv6 ? kLeastMtuIpv6 : kLeastMtuIpv4;
}

enum class OversizeAction : uint8_t {
  kFits,
  kFragment,          // before it is sealed
  kSealThenFragment,  // the sealed packet is fragmented
  kDrop,
};

struct Oversize {
  OversizeAction action = OversizeAction::kFits;
  uint16_t mtu = 0;        // kFragment: of the fragments
  uint16_t error_mtu = 0;  // of the ICMP error that the source receives; 0: none
};

// What the rules need to know of a packet.
struct PacketLength {
  uint32_t length = 0;
  bool ipv6 = false;
  bool dont_fragment = false;  // IPv4
  bool reassembled = false;
  bool gso = false;  // longer than the MTU that the port it came by had at start
};

// The longest packet that a path takes when so many octets are added to it; 0 where not even they fit.
inline constexpr uint32_t length_within(uint32_t mtu, size_t added) {
  return mtu > added ? mtu - static_cast<uint32_t>(added) : 0;
}

// `longest`: the longest packet that the path takes.

inline constexpr Oversize oversize_sealed(const PacketLength& packet, uint32_t longest, Mode mode) {
  if (packet.length <= longest) return {};
  const auto mtu = static_cast<uint16_t>(longest);
  if (packet.reassembled) return {OversizeAction::kSealThenFragment};
  if (packet.gso) return {OversizeAction::kDrop};
  if (packet.ipv6) {
    if (packet.length <= kLeastMtuIpv6) return {OversizeAction::kSealThenFragment};
    return {OversizeAction::kDrop, 0, std::max(mtu, kLeastMtuIpv6)};
  }
  if (packet.dont_fragment) return {OversizeAction::kDrop, 0, mtu};
  if (mode == Mode::kTransport) return {OversizeAction::kSealThenFragment};
  return {OversizeAction::kFragment, mtu};
}

inline constexpr Oversize oversize_clear(const PacketLength& packet, uint32_t longest) {
  if (packet.length <= longest) return {};
  const auto mtu = static_cast<uint16_t>(longest);
  if (packet.gso) return {OversizeAction::kDrop};
  if (packet.ipv6) return {OversizeAction::kDrop, 0, std::max(mtu, kLeastMtuIpv6)};
  if (packet.dont_fragment) return {OversizeAction::kDrop, 0, mtu};
  return {OversizeAction::kFragment, mtu};
}

// `reassembled`: the packet itself arrived in fragments, not the tunnel packet around it.
inline constexpr Oversize oversize_opened(const PacketLength& packet, uint32_t longest, Mode mode) {
  if (packet.length <= longest) return {};
  const auto mtu = static_cast<uint16_t>(longest);
  if (packet.reassembled) return {OversizeAction::kFragment, mtu};
  if (!packet.ipv6) {
    if (packet.dont_fragment) return {OversizeAction::kDrop, 0, mtu};
    return {OversizeAction::kFragment, mtu};
  }
  const uint16_t error_mtu = std::max(mtu, kLeastMtuIpv6);
  if (mode == Mode::kTransport) return {OversizeAction::kFragment, mtu, error_mtu};
  return {OversizeAction::kDrop, 0, error_mtu};
}

}  // namespace psp
