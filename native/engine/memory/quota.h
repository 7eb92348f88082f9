// SPDX-License-Identifier: Apache-2.0
// Divides a table between peers: half of it is guaranteed to them in equal parts, the other half is allocated
// first come, first served. When peers come or go, the parts change. So no peer, and no host that scans a
// peer, can fill the table at the expense of the others.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace psp {

class Quota {
 public:
  // All of these peers have a part, until others are named.
  Quota(uint32_t capacity, size_t peers) : capacity_(capacity), free_(capacity), peers_(peers) {
    share_between([](size_t) { return true; });
  }

  // Gives equal parts to the peers for which has_part(index) is true, and none to the others. What they took
  // stays theirs, so that parts may be owed that are not free; those become free as records are given back.
  template <typename HasPart>
  void share_between(HasPart&& has_part) {
    size_t count = 0;
    for (size_t i = 0; i < peers_.size(); ++i) count += peers_[i].has_part = has_part(i);
    guaranteed_ = count == 0 ? 0 : static_cast<uint32_t>(capacity_ / 2 / count);
    owed_ = 0;
    for (uint16_t i = 0; i < peers_.size(); ++i) owed_ += owed_to(i);
  }

  // Records that the peer may still take.
  uint32_t available(uint16_t peer) const {
    const uint64_t others = owed_ - owed_to(peer);
    return std::max(others < free_ ? static_cast<uint32_t>(free_ - others) : 0,
                    std::min(free_, owed_to(peer)));
  }

  void take(uint16_t peer) {
    if (owed_to(peer) > 0) --owed_;
    ++peers_[peer].taken;
    --free_;
  }
  void give_back(uint16_t peer) {
    --peers_[peer].taken;
    ++free_;
    if (owed_to(peer) > 0) ++owed_;
  }

 private:
  struct Peer {
    uint32_t taken = 0;
    bool has_part = false;
  };
  uint32_t owed_to(uint16_t peer) const {
    const Peer& one = peers_[peer];
    return one.has_part && one.taken < guaranteed_ ? guaranteed_ - one.taken : 0;
  }

  const uint32_t capacity_;
  uint32_t guaranteed_ = 0;
  uint32_t free_;
  uint64_t owed_ = 0;  // guaranteed and not taken, of all peers
  std::vector<Peer> peers_;
};

}  // namespace psp
