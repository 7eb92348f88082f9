// SPDX-License-Identifier: Apache-2.0
// The queues by which a worker lcore hands packets off to the main lcore, which has all slow-path state:
// packets as they came, from hosts or from the wire, and finished frames whose neighbour is not known. The
// queues are bounded; a packet that does not fit stays with the worker lcore. Packets of a flow stay in
// order: until the main lcore's port has taken the last packet of a flow that was handed off, the next one is
// handed off too. A port may take part of a turn's packets only; the rest waits in the main lcore's transmit
// queue, where packets that the worker lcore sends by itself would overtake it.
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
  static constexpr size_t kCapacity = 512;  // of each queue
  enum Queue : uint8_t { kFromHosts, kFromWire, kToHosts, kToWire };

  struct Item {
    rte_mbuf* mbuf = nullptr;
    Address neighbour{};  // of a finished frame
  };

  ~Handoff() {
    Item item;
    for (State& state : queues_) {
      while (state.ring.pop(&item)) rte_pktmbuf_free(item.mbuf);
    }
  }

  // Worker lcore. Packets with the same hash keep their order. False when full: the packet stays the
  // caller's.
  bool push(Queue at, uint32_t hash, Item item) {
    State& state = queues_[at];
    if (!state.ring.push(item)) return false;
    state.last[hash % kHashes] = ++state.pushed;
    return true;
  }
  // Worker lcore. Whether a packet with this hash was handed off and not sent yet.
  bool is_behind(Queue at, uint32_t hash) const {
    const State& state = queues_[at];
    const uint32_t last = state.last[hash % kHashes];
    return static_cast<int32_t>(last - state.finished.load(std::memory_order_acquire)) > 0;
  }

  // Main lcore.
  bool pop(Queue at, Item* item) {
    State& state = queues_[at];
    if (!state.ring.pop(item)) return false;
    ++state.popped;
    return true;
  }
  // Main lcore, after both transmit queues were flushed in a turn: publishes how many packets the ports have
  // taken. A packet that waits for a key or a neighbour counts as finished, because until that is there the
  // worker lcore cannot send past it.
  void finish(const TxQueue& hosts, const TxQueue& wire) {
    finish(queues_[kFromHosts], wire);
    finish(queues_[kFromWire], hosts);
    finish(queues_[kToHosts], hosts);
    finish(queues_[kToWire], wire);
  }
  // Any thread; true a moment ago.
  bool empty() const {
    for (const State& state : queues_) {
      if (!state.ring.empty()) return false;
    }
    return true;
  }

 private:
  // Many more than a queue takes, so that the flows of a full queue share their hash with few other flows,
  // whose packets would be handed off too and keep it full.
  static constexpr uint32_t kHashes = 16 * kCapacity;

  struct State {
    SpscRing<Item> ring{kCapacity};
    // The worker lcore's.
    std::array<uint32_t, kHashes> last{};
    uint32_t pushed = 0;
    // The main lcore's.
    alignas(64) uint32_t popped = 0;
    uint32_t marked = 0;    // so many were popped when the mark was set, unless as many are finished
    uint32_t position = 0;  // of the mark in the transmit queue
    std::atomic<uint32_t> finished{0};
  };

  // One mark at a time is enough: the transmit queue passes it, and the next one covers all that was popped
  // since. While nothing changes nothing is written, because the worker lcore reads the line with each
  // packet.
  static void finish(State& state, const TxQueue& tx) {
    if (state.finished.load(std::memory_order_relaxed) == state.marked) {
      if (state.popped == state.marked) return;
      state.marked = state.popped;
      state.position = tx.position();
    }
    if (tx.has_passed(state.position)) state.finished.store(state.marked, std::memory_order_release);
  }
  std::array<State, 4> queues_;
};

}  // namespace psp
