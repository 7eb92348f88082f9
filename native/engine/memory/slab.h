// SPDX-License-Identifier: Apache-2.0
// A fixed number of records, and lists through them. A record is referred to by its index; 0 means none, so
// that zeroed memory is empty memory. Pages are touched only as records come into use. A thread beside the
// polling one touches those of large tables a little earlier, because clearing a huge page takes the kernel a
// tenth of a millisecond, and milliseconds when it has to make one first. Nothing here allocates after
// construction.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <new>
#include <type_traits>

namespace psp {

// Zeroed memory whose pages appear when they are first written.
template <typename T>
class ZeroedArray {
 public:
  explicit ZeroedArray(size_t count) : octets_(count * sizeof(T)) {
    static_assert(std::is_trivially_destructible_v<T>);
    void* const pages = mmap(nullptr, octets_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) throw std::bad_alloc();
    if (octets_ >= kHugeAtLeast) madvise(pages, octets_, MADV_HUGEPAGE);
    items_ = static_cast<T*>(pages);
  }
  ~ZeroedArray() { munmap(items_, octets_); }
  ZeroedArray(const ZeroedArray&) = delete;
  ZeroedArray& operator=(const ZeroedArray&) = delete;
  T& operator[](size_t i) { return items_[i]; }
  const T& operator[](size_t i) const { return items_[i]; }

  // Maps all of it as it is, so that no reader causes a page fault. Takes no memory.
  void map_for_reading() const { madvise(items_, octets_, MADV_POPULATE_READ); }
  // Pre-faults the memory of a large array, a bounded part per call: that of the first `used` items and some
  // more. While none is used nothing is done. False: there is nothing to do. Called by one thread, any.
  bool grow(size_t used) {
    const size_t wanted = std::min(octets_, used * sizeof(T) + kAhead);
    if (octets_ < kHugeAtLeast || used == 0 || ready_ >= wanted) return false;
    const size_t length = std::min(octets_ - ready_, kGrownAtOnce);
    // Kernels before 5.14 do not know this: then pages appear when they are written.
    madvise(reinterpret_cast<uint8_t*>(items_) + ready_, length, MADV_POPULATE_WRITE);
    ready_ += length;
    return true;
  }

 private:
  // From this size on huge pages pay: in small ones random access would mostly miss the TLB.
  static constexpr size_t kHugeAtLeast = 16 << 20;
  static constexpr size_t kAhead = 4 << 20, kGrownAtOnce = 8 << 20;

  size_t octets_;
  T* items_;
  size_t ready_ = 0;  // octets that were pre-faulted
};

// T has `uint32_t next_free` and `bool used`, which belong to the slab.
template <typename T>
class Slab {
 public:
  explicit Slab(uint32_t capacity) : records_(size_t{capacity} + 1), capacity_(capacity) {}

  // Allocates a record. Returns its index, or 0 when all are in use.
  uint32_t take() {
    uint32_t index = free_;
    if (index != 0) {
      free_ = records_[index].next_free;
    } else if (touched() < capacity_) {
      index = touched() + 1;
      touched_.store(index, std::memory_order_relaxed);
    } else {
      return 0;
    }
    records_[index] = T{};
    records_[index].used = true;
    ++count_;
    return index;
  }
  void give_back(uint32_t index) {
    records_[index].used = false;
    records_[index].next_free = free_;
    free_ = index;
    --count_;
  }

  T& operator[](uint32_t index) { return records_[index]; }
  const T& operator[](uint32_t index) const { return records_[index]; }
  uint32_t index_of(const T& record) const { return static_cast<uint32_t>(&record - &records_[0]); }
  uint32_t count() const { return count_; }
  uint32_t capacity() const { return capacity_; }
  uint32_t room() const { return capacity_ - count_; }
  // Indexes beyond this were never allocated.
  uint32_t touched() const { return touched_.load(std::memory_order_relaxed); }
  // Pre-faults memory of records ahead of their use. False: there is nothing to do. Called by one thread,
  // any.
  bool grow() { return grow(touched()); }
  // The same for an owner that allocates the records by itself.
  bool grow(uint32_t used) { return records_.grow(used == 0 ? 0 : size_t{used} + 1); }

 private:
  ZeroedArray<T> records_;
  uint32_t capacity_;
  std::atomic<uint32_t> touched_ = 0;
  uint32_t free_ = 0;
  uint32_t count_ = 0;
};

struct Link {
  uint32_t previous = 0;
  uint32_t next = 0;
};

// A list through records of one slab; each record is in it at most once.
template <typename T, Link T::*kLink>
struct List {
  uint32_t head = 0;
  uint32_t tail = 0;
  uint32_t count = 0;

  bool empty() const { return head == 0; }
  void push_back(Slab<T>& slab, uint32_t index) {
    slab[index].*kLink = {tail, 0};
    (tail == 0 ? head : (slab[tail].*kLink).next) = index;
    tail = index;
    ++count;
  }
  void remove(Slab<T>& slab, uint32_t index) {
    const Link link = slab[index].*kLink;
    (link.previous == 0 ? head : (slab[link.previous].*kLink).next) = link.next;
    (link.next == 0 ? tail : (slab[link.next].*kLink).previous) = link.previous;
    slab[index].*kLink = {};
    --count;
  }
};

}  // namespace psp
