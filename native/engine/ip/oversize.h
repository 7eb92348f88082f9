// SPDX-License-Identifier: Apache-2.0
// What happens to a packet that is longer than its way out takes. Pure rules over lengths. From a host, once
// the packet is sealed:
//
//                          fits      does not fit
//   IPv4, DF               whole     told: fragmentation needed
//   IPv4, no DF            whole     tunnel: cut, then sealed; transport: sealed, then cut
//   IPv6 of at most 1280   whole     sealed, then cut: IPv6 needs 1280 (RFC 8200 section 5)
//   IPv6 of more           whole     told: packet too big, 1280 at least
//   put together by us     whole     sealed, then cut, as it came in pieces; IPv6 in transport mode that is
//                                    longer than the MTU of its host's link is so even where it fits
//   in the clear (bypass)  whole     as tunnel, but IPv6 is told always
//   super-frame            whole     dropped, nothing told: its host would cut it only behind us. Kernel
//   ports
//                                    have cut theirs; only a port of DPDK's may hand one up
//
// From the wire, once the packet is opened, at the MTU of the hosts' port. In transport mode the peer
// reassembles what its host fragments. A tunnel packet that arrived in fragments shows it; of any other IPv6
// packet nobody can tell: it is fragmented again on behalf of that host, which also receives the error, so
// that it adapts where it can.
//
//                          tunnel    transport            in the clear (bypass)
//   IPv4, DF               error     error                error
//   IPv4, no DF            cut       cut                  cut
//   IPv6                   error     cut, and an error    error
//   reassembled here       as above  cut                  cut
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

enum class Fit : uint8_t {
  kWhole,
  kCut,        // the packet is cut before it is sealed
  kCutSealed,  // the sealed packet is cut
  kTooBig,     // dropped; its sender is told `mtu`
};

struct Fitting {
  Fit fit = Fit::kWhole;
  uint16_t mtu = 0;   // kCut: of the pieces; kTooBig: to be told, 0: nothing
  uint16_t told = 0;  // kCut: to be told all the same, 0: nothing
};

struct ToFit {
  uint32_t length = 0;
  bool ipv6 = false;
  bool dont_fragment = false;  // IPv4
  bool reassembled = false;
  bool gso = false;  // longer than the MTU that the port it came by had at start
};

// Octets of a packet that a path takes, where sealing adds so many: none, where not even they fit.
inline constexpr uint32_t room_beside(uint32_t mtu, size_t added) {
  return mtu > added ? mtu - static_cast<uint32_t>(added) : 0;
}

// `room`: octets of a packet that the path takes.

inline constexpr Fitting fit_sealed(const ToFit& packet, uint32_t room, Mode mode) {
  if (packet.length <= room) return {};
  const auto mtu = static_cast<uint16_t>(room);
  if (packet.reassembled) return {Fit::kCutSealed, mtu};
  if (packet.gso) return {Fit::kTooBig, 0};
  if (packet.ipv6) {
    if (packet.length <= kLeastMtuIpv6) return {Fit::kCutSealed, mtu};
    return {Fit::kTooBig, std::max(mtu, kLeastMtuIpv6)};
  }
  if (packet.dont_fragment) return {Fit::kTooBig, mtu};
  return {mode == Mode::kTunnel ? Fit::kCut : Fit::kCutSealed, mtu};
}

inline constexpr Fitting fit_clear(const ToFit& packet, uint32_t room) {
  if (packet.length <= room) return {};
  const auto mtu = static_cast<uint16_t>(room);
  if (packet.gso) return {Fit::kTooBig, 0};
  if (packet.ipv6) return {Fit::kTooBig, std::max(mtu, kLeastMtuIpv6)};
  return {packet.dont_fragment ? Fit::kTooBig : Fit::kCut, mtu};
}

// `reassembled`: the packet itself arrived in fragments, not the tunnel packet around it.
inline constexpr Fitting fit_opened(const ToFit& packet, uint32_t room, Mode mode) {
  if (packet.length <= room) return {};
  const auto mtu = static_cast<uint16_t>(room);
  if (packet.reassembled) return {Fit::kCut, mtu};
  if (!packet.ipv6) return {packet.dont_fragment ? Fit::kTooBig : Fit::kCut, mtu};
  const uint16_t told = std::max(mtu, kLeastMtuIpv6);
  return mode == Mode::kTransport ? Fitting{Fit::kCut, mtu, told} : Fitting{Fit::kTooBig, told};
}

}  // namespace psp
