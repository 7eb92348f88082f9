// SPDX-License-Identifier: Apache-2.0
// Runs the timers of an lcore in the first turn of each millisecond, and goes on in the next turn where the
// budget ended. Timers get half of a turn's budget at most, so they never keep commands waiting. When the
// budget ends, the next turn begins with the timer after the one that spent it.
#pragma once

#include <cstdint>
#include <span>

#include "engine/budget.h"

namespace psp {

template <typename Lcore>
class Timers {
 public:
  // Returns false when the budget ended before its work of this millisecond.
  using Timer = bool (*)(Lcore&, Budget&);

  // Spends what the timers used from the turn's budget.
  void run(Lcore& lcore, std::span<const Timer> timers, Budget& turn) {
    Budget half(Budget::kTurn / 2);
    const size_t first = first_;
    unfinished_ = false;
    for (size_t i = 0; i < timers.size(); ++i) {
      const size_t at = (first + i) % timers.size();
      if (timers[at](lcore, half)) continue;
      if (!unfinished_) first_ = at + 1;
      unfinished_ = true;
    }
    turn.spend(half.used());
  }
  // Whether timers have more to do in this millisecond.
  bool unfinished() const { return unfinished_; }
  // They have: run them in this turn, whether or not a millisecond begins.
  void begin() { unfinished_ = true; }

 private:
  bool unfinished_ = false;
  size_t first_ = 0;
};

}  // namespace psp
