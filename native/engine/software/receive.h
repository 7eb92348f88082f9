// SPDX-License-Identifier: Apache-2.0
// The steps that the turns of both kinds of lcore begin with.
#pragma once

#include "engine/software/lcore/lcore.h"

namespace psp {

// Notes the time of the turn. True in the first turn of a millisecond.
inline bool begin_turn(Lcore& lcore, uint64_t now_ns) {
  const uint64_t before_ms = lcore.now_ms;
  lcore.now_ns = now_ns;
  lcore.now_ms = now_ns / 1'000'000;
  return lcore.now_ms != before_ms;
}

// Fills the burst: first with the `taken` frames that are in the array already, which were counted elsewhere,
// then from the port. False: there are none.
inline bool receive(Side& side, std::array<rte_mbuf*, kBurst>& frames, uint16_t taken, Burst& burst) {
  const uint16_t received = side.port.rx_burst(&frames[taken], kBurst - taken);
  burst.count = taken + received;
  // All arrays that a burst fills have space for so many packets.
  RTE_VERIFY(burst.count <= kBurst);
  uint64_t octets = 0;
  for (uint16_t i = 0; i < burst.count; ++i) {
    Packet& packet = burst.packets[i];
    packet.begin(frames[i]);
    rte_prefetch0(packet.frame());
    if (i >= taken) octets += frames[i]->pkt_len;
  }
  if (received == 0) return taken != 0;
  side.counters.rx_packets.add(received);
  side.counters.rx_bytes.add(octets);
  return true;
}

}  // namespace psp
