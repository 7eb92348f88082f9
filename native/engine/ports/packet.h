// SPDX-License-Identifier: Apache-2.0
// A packet between pipes: the mbuf, what was read of it so far, and what was found for it. A burst is what a
// turn received from one port. Each pipe keeps in it, in order, the packets that go on to the next.
#pragma once

#include <rte_debug.h>
#include <rte_ether.h>
#include <rte_mbuf.h>

#include <array>
#include <cstdint>

#include "engine/memory/inplace_vector.h"
#include "psp/encapsulation.h"
#include "psp/header.h"
#include "psp/ip_packet.h"
#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

inline constexpr uint16_t kBurst = 32;

// The first cache line is read by all pipes, the second is what they note, the third is for ingress alone.
struct alignas(64) Packet {
  rte_mbuf* mbuf = nullptr;  // starts at the Ethernet header; one segment
  IpPacket ip;               // the IP header behind it; after open() the inner one
  uint8_t* inner = nullptr;  // ingress: the packet for the host inside mbuf
  uint32_t hash = 0;         // of what its record is looked up by; not set where as_before
  uint32_t flow = 0;         // egress: index of the flow's record
  uint32_t receive_spi = 0;  // ingress: index of the SPI's record; 0: it came in the clear
  uint32_t bypass_rule = 0;  // of a packet that passes in the clear
  uint16_t peer = 0;         // egress
  bool as_before = false;    // its flow or SPI is that of the packet before it in the burst
  bool reassembled = false;  // it came in fragments
  bool sampled = false;      // egress: is sampled; ingress: carries S
  bool to_us = false;        // ingress: the outer destination is our secured address
  uint8_t outer_ecn = 0;     // ingress; in transport mode its own
  Ports ports;               // of the inner packet, once it is to be copied
  // Ingress: the PSP packet.
  alignas(64) Header header;
  uint8_t* psp = nullptr;  // starts at its header
  size_t psp_length = 0;
  OpenFault open_fault = OpenFault::kNone;

  // A packet of which nothing is read yet: all other fields are still those of an earlier one.
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
  uint16_t count = 0;
  bool has_fragments = false;  // some may be IP fragments
  std::array<Packet, kBurst> packets;
  // The packets that are not as_before. The pipe that compares packets fills it for the pipe that looks up
  // their records; later pipes may move the packets.
  InplaceVector<Packet*, kBurst> firsts;

  bool empty() const { return count == 0; }
  Packet* begin() { return packets.data(); }
  Packet* end() { return packets.data() + count; }
  // Appends a packet. A burst never gets more packets than the one that they come from.
  void add(const Packet& packet) {
    RTE_VERIFY(count < kBurst);
    packets[count++] = packet;
  }
  // Moves a packet of the burst up to where packets are kept, in order. Returns where the next one is.
  static Packet* keep(Packet* place, const Packet& packet) {
    if (place != &packet) *place = packet;
    return place + 1;
  }
  // The kept packets end there. Returns how many they are.
  uint16_t end_at(const Packet* end) { return count = static_cast<uint16_t>(end - begin()); }
};

// An Ethernet address of ours, in the form in which frames are compared and written.
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
