// SPDX-License-Identifier: Apache-2.0
// Where IVs come from. One counter serves all flows of all lcores, begins at the highest first IV ever
// installed, and only grows; each lcore takes blocks of it. So no IV occurs twice under one key, even where a
// peer gives one key to several flows or gives it again.
#pragma once

#include <atomic>
#include <cstdint>

namespace psp {

// Of all lcores.
class IvCounter {
 public:
  // All that is taken from now on lies at or above `first`.
  void raise(uint64_t first) {
    uint64_t next = next_.load(std::memory_order_relaxed);
    while (next < first && !next_.compare_exchange_weak(next, first, std::memory_order_relaxed)) {
    }
  }
  // The first of so many.
  uint64_t take(uint64_t count) { return next_.fetch_add(count, std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> next_{0};
};

// Of one lcore.
class IvBlock {
 public:
  static constexpr uint64_t kBlock = 1024;

  explicit IvBlock(IvCounter& counter) : counter_(counter) {}

  uint64_t next() {
    if (next_ == end_) {
      next_ = counter_.take(kBlock);
      end_ = next_ + kBlock;
    }
    return next_++;
  }
  // Forgets a block that was taken before the counter was raised to this first IV of a key: what lies below
  // it may have been used under that key by an earlier life of ours.
  void leave_below(uint64_t first) {
    if (next_ < first) next_ = end_;
  }

 private:
  IvCounter& counter_;
  uint64_t next_ = 0, end_ = 0;
};

}  // namespace psp
