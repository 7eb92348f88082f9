// SPDX-License-Identifier: Apache-2.0
// The slots in which a worker lcore keeps copies of the main lcore's records: which record each one copies,
// at which sequence number of its seqlock, and which of them packets of this burst use. Slots are allocated
// one after another, so an lcore touches memory only for the flows that it meets. A sweep visits all slots, a
// bounded number in each millisecond, and lets the owner drop copies that are out of date.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

#include "engine/budget.h"
#include "engine/memory/hash_index.h"
#include "engine/memory/inplace_vector.h"
#include "engine/ports/packet.h"

namespace psp {

class CopySlots {
 public:
  // Copies that a sweep reads in each millisecond.
  static constexpr uint32_t kStep = 512;
  // For so many records: a slot for each, up to a million, and always more than a burst uses.
  static uint32_t count_for(uint32_t records) { return std::clamp<uint32_t>(records, kBurst + 1, 1 << 20); }

  explicit CopySlots(uint32_t slots) : slots_(slots), index_(slots), at_(size_t{slots} + 1) {}

  struct Copy {
    uint64_t sequence;  // of the seqlock that was copied; 0: none
    uint32_t record;    // its index; where there is none, the next free slot
    uint32_t burst;     // that used it last
  };
  Copy& operator[](uint32_t slot) { return at_[slot]; }
  const Copy& operator[](uint32_t slot) const { return at_[slot]; }

  // The slot under `hash` for which matches(slot), or 0.
  template <typename Matches>
  uint32_t find(uint32_t hash, Matches&& matches) const {
    return index_.find(hash, matches);
  }
  // Prefetches in steps for a burst, as FlowTable does: the index; then the slot that is likely to be found,
  // which is returned, or 0.
  void prefetch(uint32_t hash) const { index_.prefetch(hash); }
  uint32_t prefetch_slot(uint32_t hash) const {
    const uint32_t slot = index_.candidate(hash);
    if (slot != 0) __builtin_prefetch(&at_[slot]);
    return slot;
  }

  // Allocates a slot for another copy. While full() one must be given back first.
  uint32_t allocate(uint32_t hash) {
    uint32_t slot = free_;
    if (slot != 0) {
      free_ = at_[slot].record;
    } else {
      slot = touched() + 1;
      touched_.store(slot, std::memory_order_relaxed);
      if (left_ != 0) ++left_;
    }
    index_.insert(hash, slot);
    return slot;
  }
  void give_back(uint32_t slot, uint32_t hash) {
    index_.erase(hash, slot);
    at_[slot] = {0, free_, 0};
    free_ = slot;
  }
  // Slots beyond this were never allocated.
  uint32_t touched() const { return touched_.load(std::memory_order_relaxed); }
  // Pre-faults memory ahead of its use, a bounded part per call. False: there is nothing to do. Of one
  // thread, any.
  bool grow() { return touched() != 0 && (at_.grow(size_t{touched()} + 1) || index_.grow()); }
  bool full() const { return free_ == 0 && touched() == slots_; }
  // A slot that no packet of this burst uses, chosen in turn. Only while full().
  uint32_t victim() {
    uint32_t slot = next();
    while (at_[slot].burst == burst_) slot = next();
    return slot;
  }

  void touch(uint32_t slot) {
    at_[slot].burst = burst_;
    if (used_.empty() || used_.back() != slot) used_.push_back(slot);
  }
  // Ends the burst: calls each(slot) for the slots that it used.
  template <typename Each>
  void end_burst(Each&& each) {
    for (const uint32_t slot : used_) each(slot);
    used_.clear();
    ++burst_;
  }

  // Begins a sweep, which visits each slot once.
  void begin_sweep() { left_ = touched(); }
  // The same, and the next step of this millisecond begins at once.
  void begin_sweep_now() {
    begin_sweep();
    step_ = {};
  }
  bool sweeping() const { return left_ != 0; }
  // Begins a sweep if `published` records ended since the last one began. Then calls visit(slot) for some of
  // the slots that are left. False: the budget ended before this millisecond's part of the sweep.
  template <typename Published, typename Visit>
  bool sweep(const Published& published, uint64_t now_ms, Budget& budget, Visit&& visit) {
    if (const uint32_t endings = published.endings(); endings != endings_) {
      endings_ = endings;
      begin_sweep();
    }
    step_.begin(now_ms, kStep);
    while (left_ != 0 && !budget.spent()) {
      std::array<uint32_t, 16> some;
      uint32_t count = 0;
      while (count < std::min<uint32_t>(left_, some.size()) && step_.next(budget)) {
        some[count] = next();
        __builtin_prefetch(&published[at_[some[count++]].record]);
      }
      if (count == 0) break;
      for (uint32_t i = 0; i < count; ++i) {
        if (at_[some[i]].sequence != 0) visit(some[i]);
      }
      budget.spend(count);
      left_ -= count;
    }
    return left_ == 0 || !step_.is_unfinished();
  }

 private:
  uint32_t next() { return hand_ = hand_ >= touched() ? 1 : hand_ + 1; }

  const uint32_t slots_;
  HashIndex index_;
  ZeroedArray<Copy> at_;
  std::atomic<uint32_t> touched_ = 0;
  uint32_t free_ = 0;  // the first slot that was given back
  uint32_t hand_ = 0, left_ = 0;
  uint32_t endings_ = 0;  // of the published records, when the last sweep began
  TimerRound step_;
  uint32_t burst_ = 1;
  InplaceVector<uint32_t, kBurst> used_;
};

}  // namespace psp
