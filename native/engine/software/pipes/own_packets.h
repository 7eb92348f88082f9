// SPDX-License-Identifier: Apache-2.0
// Packets that the gateway itself sends towards peers, as frames that a host could have sent. They are
// gathered during a turn and go through the pipes of the hosts' packets at its end; empty between two turns.
#pragma once

#include <rte_debug.h>
#include <rte_mbuf.h>

#include <array>
#include <cstdint>

#include "engine/ports/packet.h"

namespace psp {

class OwnPackets {
 public:
  bool full() const { return count_ == kBurst; }
  // Takes the frame. Not while full.
  void add(rte_mbuf* frame) {
    RTE_VERIFY(!full());
    mbufs_[count_++] = frame;
  }
  bool empty() const { return count_ == 0; }
  // Makes a burst of them, oldest first.
  void move_to(Burst& burst) {
    burst.count = count_;
    for (uint16_t i = 0; i < count_; ++i) burst.packets[i].begin(mbufs_[i]);
    count_ = 0;
  }

 private:
  std::array<rte_mbuf*, kBurst> mbufs_;
  uint16_t count_ = 0;
};

}  // namespace psp
