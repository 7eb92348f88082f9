// SPDX-License-Identifier: Apache-2.0
// A vector inside its owner, with a fixed capacity, as std::inplace_vector of C++26. It is for the arrays
// that a burst of packets fills. The bound is checked in every build: an element too many ends the process
// instead of overwriting the memory after the array.
#pragma once

#include <rte_debug.h>

#include <array>
#include <cstddef>

namespace psp {

template <typename T, size_t kCapacity>
class InplaceVector {
 public:
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  bool full() const { return size_ == kCapacity; }
  T* data() { return items_.data(); }
  T* begin() { return items_.data(); }
  T* end() { return items_.data() + size_; }
  const T* begin() const { return items_.data(); }
  const T* end() const { return items_.data() + size_; }
  T& back() { return items_[size_ - 1]; }

  // Appends an element, whose value the caller sets.
  T& append() {
    RTE_VERIFY(size_ < kCapacity);
    return items_[size_++];
  }
  void push_back(const T& item) { append() = item; }
  // Only while it is not empty.
  void pop_back() { --size_; }
  void clear() { size_ = 0; }

 private:
  std::array<T, kCapacity> items_;
  size_t size_ = 0;
};

}  // namespace psp
