// SPDX-License-Identifier: Apache-2.0
// A value that one thread writes and others copy without a lock. Each writing makes a new sequence; the
// number of an sequence is even, and odd while there is nothing to copy: the value is being written, or was
// withdrawn. A copy counts only if the sequence was the same before and behind it. Every word is atomic and
// stored with release, loaded with acquire: who sees a word of a later sequence sees the change of the number
// in front of it too. So nothing needs a fence, and on x86-64 nothing costs more than plain moves.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace psp {

// Octets that readers copy beside a Seqlock, and check by its sequence: at `to`, aligned to 8.
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

// Zeroed memory is one that nothing was published in.
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
  // Writer. What it changes behind this that readers copy too must be stored with store_shared. True: an
  // sequence ended.
  bool withdraw() {
    const uint64_t sequence = sequence_.load(std::memory_order_relaxed);
    sequence_.store(sequence | 1, std::memory_order_relaxed);
    return sequence != 0 && (sequence & 1) == 0;
  }

  // Reader. Whether the sequence that was copied is still the one that stands.
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
