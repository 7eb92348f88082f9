// SPDX-License-Identifier: Apache-2.0
// When the records of a table are looked at for their age. A round visits every record once, a bounded number
// in each millisecond, and rounds follow one another an eighth of the shortest time apart after which a
// record ends. So ageing costs nothing per packet, and a record ends at most a quarter of that time, and two
// rounds, late.
#pragma once

#include <algorithm>
#include <cstdint>

namespace psp {

class AgeingRounds {
 public:
  // Begins a round when it is due. `shortest_ms`: after which a record ends; 0: none does.
  void begin_when_due(uint64_t now_ms, uint32_t shortest_ms) {
    if (in_round() || shortest_ms == 0 || now_ms < due_ms(shortest_ms)) return;
    began_ms_ = now_ms;
    next_ = 1;
  }
  bool in_round() const { return next_ != 0; }
  // The next record of the round, up to `last`; 0 when the round is over.
  uint32_t next(uint32_t last) {
    const uint32_t index = next_;
    next_ = index < last ? index + 1 : 0;
    return index <= last ? index : 0;
  }
  // How long the lcore may sleep before the next round.
  uint32_t due_in_ms(uint64_t now_ms, uint32_t shortest_ms) const {
    if (shortest_ms == 0) return UINT32_MAX;
    const uint64_t due = due_ms(shortest_ms);
    return in_round() || due <= now_ms ? 1
                                       : static_cast<uint32_t>(std::min<uint64_t>(due - now_ms, UINT32_MAX));
  }

 private:
  uint64_t due_ms(uint32_t shortest_ms) const { return began_ms_ + std::max(shortest_ms / 8, 1u); }

  uint64_t began_ms_ = 0;
  uint32_t next_ = 0;
};

}  // namespace psp
