// SPDX-License-Identifier: Apache-2.0
// An anti-replay window over the counters of one sender: the highest counter and the 1023 below it. Older
// counters are rejected as replays.
#pragma once

#include <bitset>
#include <cstdint>

namespace psp {

class ReplayWindow {
 public:
  static constexpr uint64_t kWidth = 1024;

  // Returns true once for each counter inside the window.
  bool admit(uint64_t counter) {
    if (counter > highest_) {
      const uint64_t advance = counter - highest_;
      seen_ = advance < kWidth ? seen_ << advance : std::bitset<kWidth>();
      highest_ = counter;
    }
    const uint64_t age = highest_ - counter;
    if (age >= kWidth || seen_[age]) return false;
    seen_[age] = true;
    return true;
  }

 private:
  uint64_t highest_ = 0;
  std::bitset<kWidth> seen_;  // bit i: highest - i
};

}  // namespace psp
