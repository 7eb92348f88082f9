// SPDX-License-Identifier: Apache-2.0
// Sends frames to a neighbour whose MAC address is known, and counts what the port's queue does not take.
#pragma once

#include <rte_mbuf.h>

#include <cstring>

#include "engine/counters.h"
#include "engine/ports/tx_queue.h"
#include "psp/ip_packet.h"

namespace psp {

class NeighbourSender {
 public:
  // Why frames of this port's side are dropped.
  struct Drops {
    Drop unresolved, tx_full, port_down, handoff_full;
  };

  NeighbourSender(TxQueue& tx, Counters& counters, const Drops& drops, Value forwarded)
      : tx_(tx), counters_(counters), drops_(drops), forwarded_(forwarded) {}

  // Takes the frames, whose Ethernet destination is not written yet.
  void send(const MacAddress& mac, rte_mbuf* const* frames, uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
      std::memcpy(rte_pktmbuf_mtod(frames[i], uint8_t*), mac.data(), mac.size());
    }
    const uint32_t taken = tx_.push(frames, count);
    counters_[forwarded_].add(taken);
    if (taken != count) drop(frames + taken, count - taken, tx_.is_up() ? drops_.tx_full : drops_.port_down);
  }
  void drop(rte_mbuf* const* frames, uint32_t count, Drop reason) {
    rte_pktmbuf_free_bulk(const_cast<rte_mbuf**>(frames), count);
    counters_[reason].add(count);
  }
  const Drops& drops() const { return drops_; }

 private:
  TxQueue& tx_;
  Counters& counters_;
  const Drops drops_;
  const Value forwarded_;
};

}  // namespace psp
