// SPDX-License-Identifier: Apache-2.0
// The fields of a frame that are readable without a key: addresses, protocol and ports, the PSP header, and
// the MTU in an ICMP error. The dissection reports fields only; the engine decides what happens to the frame.
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
  std::optional<Header> psp;            // of UDP to port 1000; later fragments have none
  std::optional<uint16_t> too_big_mtu;  // from ICMP "fragmentation needed" or "packet too big"
};

// The inner packet of a packet from the wire, once it is opened.
struct InnerDissection {
  IpPacket ip;
  Ports ports;
};

// Reads an Ethernet frame; VLAN tags are skipped.
Dissection dissect(std::span<const uint8_t> frame);

}  // namespace psp
