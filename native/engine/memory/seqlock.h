// SPDX-License-Identifier: Apache-2.0
// A value that one thread writes and others copy without a lock. Each write gives it a new sequence number.
// The number is even; it is odd while there is nothing to copy, because the value is being written or was
// withdrawn. A copy is valid only if the number was the same before and after it. Every word is atomic,
// stored with release and loaded with acquire: a reader that sees a word of a later write also sees the
// change of the number that preceded it. So no fence is needed, and on x86-64 everything compiles to plain
// moves.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace psp {

// Octets that readers copy beside a Seqlock, and validate by its sequence number. Their address is a multiple
// of 8.
inline void store_shared(void* to, const void* from, size_t octets) {
  for (size_t i = 0; i < octets; i += 8) {
    uint64_t word;
    std::memcpy(&word, static_cast<const uint8_t*>(from) + i, 8);
    std::atomic_ref(*reinterpret_cast<uint64_t*>(static_cast<uint8_t*>(to) + i))
        .store(word, std::memory_order_release);
  }
}
inline void load_shared(void* to, const void* from, size_t octets) {
  for (size_t i = 0; i < octets; i += 8) {
    auto* const at = reinterpret_cast<uint64_t*>(const_cast<uint8_t*>(static_cast<const uint8_t*>(from)) + i);
    const uint64_t word = std::atomic_ref(*at).load(std::memory_order_acquire);
    std::memcpy(static_cast<uint8_t*>(to) + i, &word, 8);
  }
}

// Zeroed memory is a Seqlock in which nothing was published yet.
template <typename T>
class Seqlock {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) % 8 == 0);

 public:
  // Writer.
  void publish(const T& value) {
    const uint64_t odd = sequence_.load(std::memory_order_relaxed) | 1;
    sequence_.store(odd, std::memory_order_relaxed);
    store_shared(words_, &value, sizeof value);
    sequence_.store(odd + 1, std::memory_order_release);
  }
  // Writer. Octets beside it that readers copy too, and that change after this, must be stored with
  // store_shared. True: there was a value to withdraw.
  bool withdraw() {
    const uint64_t sequence = sequence_.load(std::memory_order_relaxed);
    sequence_.store(sequence | 1, std::memory_order_relaxed);
    return sequence != 0 && (sequence & 1) == 0;
  }

  // Reader. Whether the value still has the sequence number that was copied.
  bool is_current(uint64_t sequence) const { return sequence_.load(std::memory_order_acquire) == sequence; }
  // Reader. False: there is nothing to copy at this moment.
  bool copy(T* value, uint64_t* sequence) const {
    *sequence = sequence_.load(std::memory_order_acquire);
    if (*sequence == 0 || (*sequence & 1) != 0) return false;
    load_shared(value, words_, sizeof *value);
    return sequence_.load(std::memory_order_relaxed) == *sequence;
  }

 private:
  std::atomic<uint64_t> sequence_;
  uint64_t words_[sizeof(T) / 8];
};

}  // namespace psp
