// SPDX-License-Identifier: Apache-2.0
// Limits the work that a turn of a polling lcore does beside its bursts, so that no receive queue overflows
// meanwhile. The work is counted, not timed: a test can then prove the limit. A unit is one record that is
// read in a row with others, or about a tenth of a microsecond; the costs below were measured among a million
// flows, whose records no cache holds. Work that does not fit goes on in the next turn.
#pragma once

#include <algorithm>
#include <cstdint>

namespace psp {

class Budget {
 public:
  // Of one turn. Timers get half of it at most, commands the rest.
  static constexpr uint32_t kTurn = 384;

  // What work costs that does more than read one record.
  static constexpr uint32_t kFlowChange = 16;      // a flow is installed, refused or removed
  static constexpr uint32_t kSpiChange = 12;       // a receive SPI is admitted or ends
  static constexpr uint32_t kCopyChange = 8;       // a worker lcore forgets a copy
  static constexpr uint32_t kNeighbourChange = 4;  // a neighbour is solicited or given up
  static constexpr uint32_t kRow = 4;              // a flow is listed
  static constexpr uint32_t kCommand = 1;          // a command itself
  static constexpr uint32_t kEvent = 1;            // an event is reported

  explicit Budget(uint32_t units) : left_(units) {}
  // For callers that have no turn to keep short.
  static Budget unlimited() { return Budget(UINT32_MAX); }

  bool spent() const { return left_ == 0; }
  // Called when a piece of work is done. The last piece may cost more than is left.
  void spend(uint64_t units) {
    left_ -= static_cast<uint32_t>(std::min<uint64_t>(units, left_));
    used_ += units;
  }
  uint64_t used() const { return used_; }

 private:
  uint32_t left_;
  uint64_t used_ = 0;
};

// The pieces of work that a timer does in each millisecond, over as many turns as the budget asks for.
class TimerRound {
 public:
  // Begins a round of `pieces`, unless one began in this millisecond already. The rest of an older one
  // lapses.
  void begin(uint64_t now_ms, uint32_t pieces) {
    if (now_ms == began_ms_) return;
    began_ms_ = now_ms;
    left_ = pieces;
  }
  // True when another piece is to be done now.
  bool next(const Budget& budget) {
    if (left_ == 0 || budget.spent()) return false;
    --left_;
    return true;
  }
  void end() { left_ = 0; }
  bool is_unfinished() const { return left_ != 0; }

 private:
  uint64_t began_ms_ = UINT64_MAX;
  uint32_t left_ = 0;
};

}  // namespace psp
