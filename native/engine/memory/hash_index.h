// SPDX-License-Identifier: Apache-2.0
// A hash table from a key to the index of a record: open addressing, at most half full, with linear probing.
// Removal shifts entries back, so no tombstones accumulate. It holds no keys: the owner of the records
// compares them. Hashes are seeded at random, so that nobody outside can choose addresses that collide. One
// thread changes it; other threads may look up meanwhile, because a slot is one atomic word. A look-up that
// finds nothing reports whether slots were being moved.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <cstring>

#include "engine/memory/slab.h"
#include "psp/secret.h"

namespace psp {

struct HashSeed {
  uint64_t words[3];
  HashSeed() { random_octets({reinterpret_cast<uint8_t*>(words), sizeof words}); }
};

inline uint64_t hash_mix(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

// Hash of `length` octets, a multiple of 16.
inline uint32_t hash_octets(const HashSeed& seed, const void* octets, size_t length) {
  const auto* at = static_cast<const uint8_t*>(octets);
  uint64_t state = seed.words[0];
  for (size_t i = 0; i < length; i += 16) {
    uint64_t a, b;
    std::memcpy(&a, at + i, 8);
    std::memcpy(&b, at + i + 8, 8);
    state = hash_mix(a ^ seed.words[1], b ^ state);
  }
  return static_cast<uint32_t>(hash_mix(state, seed.words[2]));
}

inline uint32_t hash_number(const HashSeed& seed, uint64_t index) {
  return static_cast<uint32_t>(hash_mix(hash_mix(index ^ seed.words[0], seed.words[1]), seed.words[2]));
}

class HashIndex {
 public:
  explicit HashIndex(uint32_t capacity)
      : slots_(std::bit_ceil(size_t{capacity} * 2)), mask_(std::bit_ceil(size_t{capacity} * 2) - 1) {}

  // Pre-faults the memory of all slots, because any of them may be used first, a bounded part per call.
  // False: there is nothing to do. Called by one thread, any.
  bool grow() { return slots_.grow(mask_ + 1); }
  // Prefetches what find will read first.
  void prefetch(uint32_t hash) const { __builtin_prefetch(&slots_[hash & mask_]); }
  // The first index under `hash`, which find would try, or 0.
  uint32_t candidate(uint32_t hash) const {
    return find(hash, [](uint32_t) { return true; });
  }
  // The index under `hash` for which matches(index), or 0.
  template <typename Matches>
  uint32_t find(uint32_t hash, Matches&& matches) const {
    return probe<std::memory_order_relaxed>(hash, matches);
  }
  // The same for threads that do not change it; matches() must not trust the record, which may change
  // meanwhile. 0 with *sure false: it may be there nevertheless.
  template <typename Matches>
  uint32_t look_up(uint32_t hash, Matches&& matches, bool* sure) const {
    const uint32_t before = changes_.load(std::memory_order_acquire);
    const uint32_t index = probe<std::memory_order_acquire>(hash, matches);
    *sure = index != 0 || ((before & 1) == 0 && changes_.load(std::memory_order_relaxed) == before);
    return index;
  }

  // The caller keeps the count within the capacity, and each index in at most once.
  void insert(uint32_t hash, uint32_t index) {
    size_t i = hash & mask_;
    while (at(i).index != 0) i = (i + 1) & mask_;
    set(i, {hash, index});
  }

  void erase(uint32_t hash, uint32_t index) {
    size_t hole = hash & mask_;
    while (at(hole).index != index) {
      if (at(hole).index == 0) return;
      hole = (hole + 1) & mask_;
    }
    const uint32_t changes = changes_.load(std::memory_order_relaxed);
    changes_.store(changes + 1, std::memory_order_relaxed);
    for (size_t i = (hole + 1) & mask_; at(i).index != 0; i = (i + 1) & mask_) {
      const size_t home = at(i).hash & mask_;
      // Moves back only an entry that the hole would separate from its home slot.
      if (((i - home) & mask_) >= ((i - hole) & mask_)) {
        set(hole, at(i));
        hole = i;
      }
    }
    set(hole, {});
    changes_.store(changes + 2, std::memory_order_release);
  }

 private:
  struct Slot {
    uint32_t hash;
    uint32_t index;
  };

  template <std::memory_order kOrder, typename Matches>
  uint32_t probe(uint32_t hash, Matches& matches) const {
    for (size_t i = hash & mask_;; i = (i + 1) & mask_) {
      const auto slot = std::bit_cast<Slot>(slots_[i].load(kOrder));
      if (slot.index == 0) return 0;
      if (slot.hash == hash && matches(slot.index)) return slot.index;
    }
  }
  Slot at(size_t i) const { return std::bit_cast<Slot>(slots_[i].load(std::memory_order_relaxed)); }
  void set(size_t i, Slot slot) { slots_[i].store(std::bit_cast<uint64_t>(slot), std::memory_order_release); }

  ZeroedArray<std::atomic<uint64_t>> slots_;
  size_t mask_;
  std::atomic<uint32_t> changes_{0};  // odd while slots are being moved
};

}  // namespace psp
