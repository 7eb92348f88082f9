// SPDX-License-Identifier: Apache-2.0
// The source of IVs. One counter serves all flows of all lcores. It begins at the highest first IV ever
// installed and only grows; each lcore allocates blocks of it. So no IV occurs twice under one key, even when
// a peer gives one key to several flows, or gives a key again.
#pragma once

#include <atomic>
#include <cstdint>

namespace psp {

// Shared by all lcores.
class IvCounter {
 public:
  // From now on only IVs of at least `first` are allocated.
  void raise(uint64_t first) {
    uint64_t next = next_.load(std::memory_order_relaxed);
    while (next < first && !next_.compare_exchange_weak(next, first, std::memory_order_relaxed)) {
    }
  }
  // Allocates `count` IVs in a row, and returns the first.
  uint64_t allocate(uint64_t count) { return next_.fetch_add(count, std::memory_order_relaxed); }

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
      next_ = counter_.allocate(kBlock);
      end_ = next_ + kBlock;
    }
    return next_++;
  }
  // Drops a block that was allocated before the counter was raised to this first IV of a key: an earlier
  // start of this gateway may have used lower IVs under that key.
  void leave_below(uint64_t first) {
    if (next_ < first) next_ = end_;
  }

 private:
  IvCounter& counter_;
  uint64_t next_ = 0, end_ = 0;
};

}  // namespace psp
