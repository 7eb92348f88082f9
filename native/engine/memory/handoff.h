// SPDX-License-Identifier: Apache-2.0
// What one lcore leaves to the first, which has all that waits, asks and learns: packets as they came, from
// hosts or from the wire, and finished frames whose neighbour it does not know. Bounded lanes; what a full
// one does not take is the giver's to drop. Packets of a flow stay in order: until the port of the first
// lcore has taken the last packet of a flow that was given, the next one follows it. A port may take part of
// a turn's packets only; the rest waits in the first lcore's queue, where the giver's own packets would
// overtake it.
#pragma once

#include <rte_mbuf.h>

#include <array>
#include <atomic>
#include <cstdint>

#include "engine/memory/spsc_ring.h"
#include "engine/ports/tx_queue.h"
#include "psp/address.h"

namespace psp {

class Handoff {
 public:
  static constexpr size_t kCapacity = 512;  // of each lane
  enum Lane : uint8_t { kFromHosts, kFromWire, kToHosts, kToWire };

  struct Item {
    rte_mbuf* mbuf = nullptr;
    Address neighbour{};  // whom a finished frame is for
  };

  ~Handoff() {
    Item item;
    for (LaneState& lane : lanes_) {
      while (lane.ring.pop(&item)) rte_pktmbuf_free(item.mbuf);
    }
  }

  // The giver. `hash` names what keeps its order. False when full: the packet stays the caller's.
  bool give(Lane at, uint32_t hash, Item item) {
    LaneState& lane = lanes_[at];
    if (!lane.ring.push(item)) return false;
    lane.last[hash % kRemembered] = ++lane.given;
    return true;
  }
  // The giver. Whether one that was given under this hash is still on its way.
  bool is_behind(Lane at, uint32_t hash) const {
    const LaneState& lane = lanes_[at];
    const uint32_t last = lane.last[hash % kRemembered];
    return static_cast<int32_t>(last - lane.finished.load(std::memory_order_acquire)) > 0;
  }

  // The first lcore.
  bool take(Lane at, Item* item) {
    LaneState& lane = lanes_[at];
    if (!lane.ring.pop(item)) return false;
    ++lane.taken;
    return true;
  }
  // Behind the flush of both queues in each turn: publishes how many of the taken packets the ports have
  // taken too. A packet that waits for something else (a key, a neighbour) counts as finished, because what
  // it waits for keeps the giver from sending past it.
  void finish(const TxQueue& hosts, const TxQueue& wire) {
    finish(lanes_[kFromHosts], wire);
    finish(lanes_[kFromWire], hosts);
    finish(lanes_[kToHosts], hosts);
    finish(lanes_[kToWire], wire);
  }
  // Any thread; true a moment ago.
  bool empty() const {
    for (const LaneState& lane : lanes_) {
      if (!lane.ring.empty()) return false;
    }
    return true;
  }

 private:
  // So many more than a lane takes that a full one draws few packets of other flows behind it: else it would
  // stay full.
  static constexpr uint32_t kRemembered = 16 * kCapacity;

  struct LaneState {
    SpscRing<Item> ring{kCapacity};
    // The giver's.
    std::array<uint32_t, kRemembered> last{};
    uint32_t given = 0;
    // The first lcore's.
    alignas(64) uint32_t taken = 0;
    uint32_t marked = 0;    // so many were taken when the mark was set, unless as many are finished
    uint32_t position = 0;  // of the mark in the queue
    std::atomic<uint32_t> finished{0};
  };

  // One mark at a time is enough: it passes with the queue, and the next one covers all that was taken since.
  // Where nothing changes nothing is written, because the giver reads the line with each packet.
  static void finish(LaneState& lane, const TxQueue& queue) {
    if (lane.finished.load(std::memory_order_relaxed) == lane.marked) {
      if (lane.taken == lane.marked) return;
      lane.marked = lane.taken;
      lane.position = queue.position();
    }
    if (queue.has_passed(lane.position)) lane.finished.store(lane.marked, std::memory_order_release);
  }
  std::array<LaneState, 4> lanes_;
};

}  // namespace psp
