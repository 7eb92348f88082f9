// SPDX-License-Identifier: Apache-2.0
// Divides a table between peers: half of it is guaranteed to them in equal parts, the other half is allocated
// first come, first served. So no peer, and no host that scans a peer, can fill the table at the expense of
// the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace psp {

class Quota {
 public:
  Quota(uint32_t capacity, size_t peers)
      : guaranteed_(peers == 0 ? 0 : static_cast<uint32_t>(capacity / 2 / peers)),
        free_(capacity),
        owed_(static_cast<uint32_t>(guaranteed_ * peers)),
        taken_(peers) {}

  // Records that the peer may still take.
  uint32_t available(uint16_t peer) const { return free_ - (owed_ - owed_to(peer)); }

  void take(uint16_t peer) {
    if (owed_to(peer) > 0) --owed_;
    ++taken_[peer];
    --free_;
  }
  void give_back(uint16_t peer) {
    --taken_[peer];
    ++free_;
    if (owed_to(peer) > 0) ++owed_;
  }

 private:
  uint32_t owed_to(uint16_t peer) const {
    return taken_[peer] < guaranteed_ ? guaranteed_ - taken_[peer] : 0;
  }

  uint32_t guaranteed_;
  uint32_t free_;
  uint32_t owed_;  // guaranteed and not taken, of all peers; never more than free_
  std::vector<uint32_t> taken_;
};

}  // namespace psp
