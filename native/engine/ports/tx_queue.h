// SPDX-License-Identifier: Apache-2.0
// The transmit queue of one port. Packets that the port does not take at once stay, in order, for the next
// turn; when the queue is full its user drops. While the port's link is down it takes nothing, because the
// kernel would keep the frames and send them at any later time. Used by the polling thread. Another lcore may
// send for the same flow only when the port has taken the packets that were pushed before: see position().
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "engine/counters.h"
#include "engine/ports/port.h"

namespace psp {

class TxQueue {
 public:
  static constexpr uint32_t kCapacity = 256;

  TxQueue(Port& port, PortCounters& counters) : port_(port), counters_(counters) {}
  ~TxQueue();
  TxQueue(const TxQueue&) = delete;
  TxQueue& operator=(const TxQueue&) = delete;

  bool full() const { return room() == 0; }
  // Packets that it still has space for.
  uint32_t room() const { return kCapacity - (tail_ - head_); }
  bool empty() const { return tail_ == head_; }
  // Whether packets wait for the port to take them.
  bool waits() const { return up_ && !empty(); }
  bool is_up() const { return up_; }
  void set_up(bool up) { up_ = up; }
  // Takes the packet. False when full or down: then it stays the caller's.
  bool push(rte_mbuf* packet) { return push(&packet, 1) == 1; }
  // Takes as many of these as fit, from the first on, and returns how many.
  uint32_t push(rte_mbuf* const* packets, uint32_t count) {
    const uint32_t taken = up_ ? std::min(count, room()) : 0;
    const uint32_t at = tail_ % kCapacity, before_end = std::min(taken, kCapacity - at);
    std::copy_n(packets, before_end, packets_.begin() + at);
    std::copy_n(packets + before_end, taken - before_end, packets_.begin());
    tail_ += taken;
    return taken;
  }
  // Sends as much as the port takes.
  void flush();

  // The position after the last packet that was pushed, and whether the port has taken all packets before a
  // position. Positions wrap; one is valid as long as fewer than 2^31 packets were pushed since.
  uint32_t position() const { return tail_; }
  bool has_passed(uint32_t position) const { return static_cast<int32_t>(head_ - position) >= 0; }

 private:
  Port& port_;
  PortCounters& counters_;
  std::array<rte_mbuf*, kCapacity> packets_{};
  uint32_t head_ = 0;
  uint32_t tail_ = 0;
  bool up_ = true;
};

}  // namespace psp
