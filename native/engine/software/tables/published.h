// SPDX-License-Identifier: Apache-2.0
// What the main lcore publishes of the records of one of its tables, for the worker lcores: beside each
// record a sequence lock with the fields that the worker lcores need, and what they count of it. The memory
// is never freed or moved, so a reader may see an old value but never a freed one. Where there are no worker
// lcores nothing is published, and no memory is used.
#pragma once

#include <atomic>
#include <cstdint>

#include "engine/memory/seqlock.h"
#include "engine/memory/slab.h"
#include "engine/software/tables/tallies.h"

namespace psp {

template <typename T>
class Published {
 public:
  // Throws std::bad_alloc.
  Published(uint32_t worker_lcores, uint32_t records)
      : shared_(worker_lcores != 0),
        values_(shared_ ? size_t{records} + 1 : 1),
        tallies_(worker_lcores, records) {}

  // Main lcore. Whether there are worker lcores to publish for.
  bool is_shared() const { return shared_; }
  void publish(uint32_t index, const T& value) {
    if (shared_) values_[index].publish(value);
  }
  // Main lcore: readers no longer find the value, and know that their copies of it are out of date.
  void withdraw(uint32_t index) {
    if (!shared_ || !values_[index].withdraw()) return;
    endings_.store(endings_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }

  // Worker lcores.
  const Seqlock<T>& operator[](uint32_t index) const { return values_[index]; }
  // How many values ended of which there may be copies; wraps. A reader that sees the number sees that they
  // ended.
  uint32_t endings() const { return endings_.load(std::memory_order_acquire); }
  Tallies& tallies() { return tallies_; }
  const Tallies& tallies() const { return tallies_; }

  // Pre-faults memory ahead of its use, a bounded part per call: for so many records. False: there is nothing
  // to do. Of one thread, any.
  bool grow(uint32_t records) { return shared_ && (values_.grow(records) || tallies_.grow(records)); }

 private:
  // Read with each packet by the worker lcores, so that nothing that is written often shares a cache line
  // with it.
  alignas(64) const bool shared_;
  ZeroedArray<Seqlock<T>> values_;
  Tallies tallies_;
  alignas(64) std::atomic<uint32_t> endings_{0};
};

}  // namespace psp
