// SPDX-License-Identifier: Apache-2.0
// Records in numbers fixed at start, and lists through them. A record is named by its number; 0 is none, so
// that zeroed memory is empty memory. The pages are touched only as records come into use, and those of large
// tables a little earlier, by a thread beside the polling one: clearing a huge page takes the kernel a tenth
// of a millisecond, and milliseconds when it has to make one first. Nothing here allocates after
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

  // Pre-faults the memory of a large array, a bounded part of it per call: that of the first `used` items,
  // and some ahead. None used: nothing. False: there is nothing to do. Of one thread, any.
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
  // What is as large is worth pages of 2 MiB: random access would mostly miss the TLB.
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

  // A fresh record's number, or 0 when all are taken.
  uint32_t take() {
    uint32_t number = free_;
    if (number != 0) {
      free_ = records_[number].next_free;
    } else if (touched() < capacity_) {
      number = touched() + 1;
      touched_.store(number, std::memory_order_relaxed);
    } else {
      return 0;
    }
    records_[number] = T{};
    records_[number].used = true;
    ++count_;
    return number;
  }
  void give_back(uint32_t number) {
    records_[number].used = false;
    records_[number].next_free = free_;
    free_ = number;
    --count_;
  }

  T& operator[](uint32_t number) { return records_[number]; }
  const T& operator[](uint32_t number) const { return records_[number]; }
  uint32_t number_of(const T& record) const { return static_cast<uint32_t>(&record - &records_[0]); }
  uint32_t count() const { return count_; }
  uint32_t capacity() const { return capacity_; }
  uint32_t room() const { return capacity_ - count_; }
  // Numbers beyond this were never taken.
  uint32_t touched() const { return touched_.load(std::memory_order_relaxed); }
  // Pre-faults memory of records ahead of their use. False: there is nothing to do. Of one thread, any.
  bool grow() { return grow(touched()); }
  // The same where the owner counts for itself which records are used.
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
  void push_back(Slab<T>& slab, uint32_t number) {
    slab[number].*kLink = {tail, 0};
    (tail == 0 ? head : (slab[tail].*kLink).next) = number;
    tail = number;
    ++count;
  }
  void remove(Slab<T>& slab, uint32_t number) {
    const Link link = slab[number].*kLink;
    (link.previous == 0 ? head : (slab[link.previous].*kLink).next) = link.next;
    (link.next == 0 ? tail : (slab[link.next].*kLink).previous) = link.previous;
    slab[number].*kLink = {};
    --count;
  }
};

}  // namespace psp
