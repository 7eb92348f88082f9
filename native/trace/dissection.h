// SPDX-License-Identifier: Apache-2.0
// What a frame shows to somebody who has no key: addresses, protocol and ports, the PSP header, and the MTU
// that an ICMP error tells. It judges nothing; that is the engine's.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "psp/header.h"
#include "psp/ip_packet.h"

namespace psp {

struct Dissection {
  uint16_t ether_type = 0;
  std::optional<IpPacket> ip;  // of a packet that read_ip accepts
  Ports ports;
  std::optional<Header> psp;            // of UDP/1000, not of later fragments
  std::optional<uint16_t> too_big_mtu;  // told by ICMP
};

// What a packet from the wire carries, once it is open.
struct InnerDissection {
  IpPacket ip;
  Ports ports;
};

// Looks at an Ethernet frame; tags are stepped over.
Dissection dissect(std::span<const uint8_t> frame);

}  // namespace psp
