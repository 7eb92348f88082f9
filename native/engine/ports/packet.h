// SPDX-License-Identifier: Apache-2.0
// A packet between pipes: the mbuf and what has been read of it so far. A burst is what one turn took from
// one port; each pipe keeps in it, in order, those packets that go on to the next.
#pragma once

#include <rte_ether.h>
#include <rte_mbuf.h>

#include <array>
#include <cstdint>

#include "psp/ip_packet.h"
#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

inline constexpr uint16_t kBurst = 32;

struct Packet {
  rte_mbuf* mbuf = nullptr;  // starts at the Ethernet header; one segment
  IpPacket ip;               // the IP header behind it; after ingress_decrypt the inner one
  uint8_t* inner = nullptr;  // ingress: the packet for the host inside mbuf
  uint32_t receive_spi = 0;  // ingress: record of the SPI
  uint64_t cookie = 0;       // ingress, when has_cookie
  bool has_cookie = false;
  uint8_t outer_ecn = 0;     // ingress; in transport mode its own
  uint16_t peer = 0;         // egress
  bool as_before = false;    // egress: its flow is that of the packet before it in the burst
  bool reassembled = false;  // it came in fragments
  bool sampled = false;      // egress: drawn; ingress: carries S
  bool marked_drop = false;  // ingress: carries D
  Ports ports;               // of the inner packet, once it is to be copied

  // A packet of which nothing is read yet: what else stands here is from another.
  void begin(rte_mbuf* received) {
    mbuf = received;
    receive_spi = 0;
    reassembled = sampled = false;
  }

  uint8_t* frame() const { return rte_pktmbuf_mtod(mbuf, uint8_t*); }
  uint8_t* layer3() const { return frame() + kEthernetLength; }
  uint32_t layer3_length() const { return mbuf->data_len - kEthernetLength; }
};

struct Burst {
  std::array<Packet, kBurst> packets;
  uint16_t count = 0;

  Packet* begin() { return packets.data(); }
  Packet* end() { return packets.data() + count; }
  // Moves a packet of the burst up to where packets are kept, in order. Returns where the next one is.
  static Packet* keep(Packet* place, const Packet& packet) {
    if (place != &packet) *place = packet;
    return place + 1;
  }
  // The kept ones end there. Returns how many they are.
  uint16_t end_at(const Packet* end) { return count = static_cast<uint16_t>(end - begin()); }
};

// An Ethernet address of ours, as it stands in frames.
class EthernetAddress {
 public:
  explicit EthernetAddress(const MacAddress& mac) {
    std::memcpy(&first_, mac.data(), sizeof first_);
    std::memcpy(&last_, mac.data() + sizeof first_, sizeof last_);
    for (const bool ipv6 : {false, true}) {
      auto* const octets = reinterpret_cast<uint8_t*>(&sources_[ipv6]);
      std::memcpy(octets, mac.data(), mac.size());
      store_u16(octets + mac.size(), ipv6 ? kEtherTypeIpv6 : kEtherTypeIpv4);
    }
  }

  bool is_destination_of(const uint8_t* frame) const {
    uint32_t first;
    uint16_t last;
    std::memcpy(&first, frame, sizeof first);
    std::memcpy(&last, frame + sizeof first, sizeof last);
    return first == first_ && last == last_;
  }
  // Writes the header's last two fields; the destination is set when the neighbour is known.
  void write_source(uint8_t* frame, bool ipv6) const {
    std::memcpy(frame + 6, &sources_[ipv6], sizeof sources_[0]);
  }

 private:
  uint32_t first_;
  uint16_t last_;
  std::array<uint64_t, 2> sources_;  // by family
};

}  // namespace psp
