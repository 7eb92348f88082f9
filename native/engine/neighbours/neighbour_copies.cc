// SPDX-License-Identifier: Apache-2.0
// A copy serves as long as its sequence number is current and its time is not over.
#include "engine/neighbours/neighbour_copies.h"

namespace psp {

const KnownNeighbour* NeighbourCopies::find(const Address& address, uint64_t now_ms) {
  if (last_index_ == 0 || !is_same(last_.address, address) ||
      !published_[last_index_].is_current(last_sequence_)) {
    const auto matches = [&](uint32_t n) {
      return published_[n].copy(&last_, &last_sequence_) && is_same(last_.address, address);
    };
    bool sure;
    last_index_ = index_.look_up(hash(address), matches, &sure);
  }
  return last_index_ != 0 && now_ms < last_.until_ms ? &last_ : nullptr;
}

void NeighbourCopies::send(const Address& address, rte_mbuf* const* frames, uint32_t count, uint64_t now_ms) {
  const uint32_t order = hash(address);
  const KnownNeighbour* const known = handoff_.is_behind(queue_, order) ? nullptr : find(address, now_ms);
  if (known != nullptr) return sender_.send(known->mac, frames, count);
  for (uint32_t i = 0; i < count; ++i) {
    if (handoff_.push(queue_, order, {frames[i], address})) {
      counters_[Value::kHandedOff].add();
    } else {
      sender_.drop(&frames[i], 1, sender_.drops().handoff_full);
    }
  }
}

}  // namespace psp
