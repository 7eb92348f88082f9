// SPDX-License-Identifier: Apache-2.0
// A packet between pipes: the mbuf and what has been read of it so far. A burst is what one turn took from
// one port; each pipe keeps in it, in order, those packets that go on to the next.
#pragma once

#include <rte_ether.h>
#include <rte_mbuf.h>

#include <array>
#include <cstdint>

#include "psp/ip_packet.h"

namespace psp {

inline constexpr uint16_t kBurst = 32;
inline constexpr uint16_t kEthernetLength = 14;

struct Packet {
  rte_mbuf* mbuf = nullptr;  // starts at the Ethernet header; one segment
  IpPacket ip;               // the IP header behind it; after ingress_decrypt the inner one
  uint8_t* inner = nullptr;  // ingress: the packet for the host inside mbuf
  uint32_t receive_spi = 0;  // ingress: record of the SPI
  uint64_t cookie = 0;       // ingress, when has_cookie
  bool has_cookie = false;
  uint8_t outer_ecn = 0;     // ingress; in transport mode its own
  uint16_t peer = 0;         // egress
  bool reassembled = false;  // it came in fragments
  bool sampled = false;      // egress: drawn; ingress: carries S
  bool marked_drop = false;  // ingress: carries D
  Ports ports;               // of the inner packet, once it is to be copied

  // A packet of which nothing is read yet; `ip` is whatever stood there.
  void begin(rte_mbuf* received) {
    mbuf = received;
    inner = nullptr;
    receive_spi = 0;
    cookie = 0;
    has_cookie = reassembled = sampled = marked_drop = false;
    outer_ecn = 0;
    peer = 0;
    ports = {};
  }

  uint8_t* frame() const { return rte_pktmbuf_mtod(mbuf, uint8_t*); }
  uint8_t* layer3() const { return frame() + kEthernetLength; }
  uint32_t layer3_length() const { return mbuf->data_len - kEthernetLength; }
};

struct Burst {
  std::array<Packet, kBurst> packets;
  uint16_t count = 0;

  // Moves a packet up to where packets are kept, in order.
  void keep(uint16_t place, uint16_t from) {
    if (place != from) packets[place] = packets[from];
  }
};

// Writes an Ethernet header's last two fields; the destination is set when the neighbour is known.
inline void write_ethernet(uint8_t* frame, const MacAddress& source, bool ipv6) {
  std::memcpy(frame + 6, source.data(), source.size());
  frame[12] = ipv6 ? 0x86 : 0x08;
  frame[13] = ipv6 ? 0xdd : 0x00;
}

}  // namespace psp
