// SPDX-License-Identifier: Apache-2.0
// Packets that the gateway itself sends towards peers, as frames that a host could have sent. They are
// gathered while packets from the wire are handled, and go through the egress pipes in the same turn, in
// front of packets from hosts.
#pragma once

#include <rte_debug.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

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
  // Moves them to the front of an array of kBurst frames, oldest first. Returns how many they are.
  uint16_t take(rte_mbuf** frames) {
    std::copy_n(mbufs_.begin(), count_, frames);
    return std::exchange(count_, 0);
  }

 private:
  std::array<rte_mbuf*, kBurst> mbufs_;
  uint16_t count_ = 0;
};

}  // namespace psp
