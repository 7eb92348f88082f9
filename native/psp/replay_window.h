// SPDX-License-Identifier: Apache-2.0
// Which counters of one sender were seen: the highest and the 1023 below it. What is older counts as seen.
#pragma once

#include <bitset>
#include <cstdint>

namespace psp {

class ReplayWindow {
 public:
  static constexpr uint64_t kWidth = 1024;

  // True, once, for each counter that the window can tell is new.
  bool admit(uint64_t counter) {
    if (counter > highest_) {
      const uint64_t ahead = counter - highest_;
      seen_ = ahead < kWidth ? seen_ << ahead : std::bitset<kWidth>();
      highest_ = counter;
    }
    const uint64_t behind = highest_ - counter;
    if (behind >= kWidth || seen_[behind]) return false;
    seen_[behind] = true;
    return true;
  }

 private:
  uint64_t highest_ = 0;
  std::bitset<kWidth> seen_;  // bit i: highest - i
};

}  // namespace psp
