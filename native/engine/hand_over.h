// SPDX-License-Identifier: Apache-2.0
// What one lcore leaves to the first, which has all that waits, asks and learns: packets as they came, from
// hosts or from the wire, and finished frames whose neighbour it does not know. Bounded lanes; what a full
// one does not take is the giver's to drop. Packets of a flow stay in order: as long as the first lcore has
// not finished the turn in which it took the last one of a flow, the next one follows it.
#pragma once

#include <rte_mbuf.h>

#include <array>
#include <atomic>
#include <cstdint>

#include "engine/spsc_ring.h"
#include "psp/address.h"

namespace psp {

class HandOver {
 public:
  static constexpr size_t kCapacity = 512;  // of each lane
  enum Lane : uint8_t { kFromHosts, kFromWire, kToHosts, kToWire };

  struct Item {
    rte_mbuf* mbuf = nullptr;
    Address neighbour{};  // whom a finished frame is for
  };

  ~HandOver() {
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
  // What was taken has left, or waits. Where nothing was taken nothing is written, which the giver reads with
  // each packet.
  void finish() {
    for (LaneState& lane : lanes_) {
      if (lane.finished.load(std::memory_order_relaxed) == lane.taken) continue;
      lane.finished.store(lane.taken, std::memory_order_release);
    }
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
    std::atomic<uint32_t> finished{0};
  };
  std::array<LaneState, 4> lanes_;
};

}  // namespace psp
