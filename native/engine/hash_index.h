// SPDX-License-Identifier: Apache-2.0
// From a key to a record's number: open addressing, at most half full, with linear probing; removal shifts
// back, so no tombstones gather. It holds no keys: the owner of the records compares. Hashes are seeded at
// random, so that nobody outside can choose addresses that collide.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "engine/slab.h"
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

inline uint32_t hash_number(const HashSeed& seed, uint64_t number) {
  return static_cast<uint32_t>(hash_mix(hash_mix(number ^ seed.words[0], seed.words[1]), seed.words[2]));
}

class HashIndex {
 public:
  explicit HashIndex(uint32_t capacity)
      : slots_(std::bit_ceil(size_t{capacity} * 2)), mask_(std::bit_ceil(size_t{capacity} * 2) - 1) {}

  // Asks memory for what find will read first.
  void prefetch(uint32_t hash) const { __builtin_prefetch(&slots_[hash & mask_]); }
  // The first number under `hash`, which find would look at, or 0.
  uint32_t candidate(uint32_t hash) const {
    return find(hash, [](uint32_t) { return true; });
  }
  // The number under `hash` for which matches(number), or 0.
  template <typename Matches>
  uint32_t find(uint32_t hash, Matches&& matches) const {
    for (size_t i = hash & mask_; slots_[i].number != 0; i = (i + 1) & mask_) {
      if (slots_[i].hash == hash && matches(slots_[i].number)) return slots_[i].number;
    }
    return 0;
  }

  // The caller keeps the count within the capacity and each number in at most once.
  void insert(uint32_t hash, uint32_t number) {
    size_t i = hash & mask_;
    while (slots_[i].number != 0) i = (i + 1) & mask_;
    slots_[i] = {hash, number};
  }

  void erase(uint32_t hash, uint32_t number) {
    size_t hole = hash & mask_;
    while (slots_[hole].number != number) {
      if (slots_[hole].number == 0) return;
      hole = (hole + 1) & mask_;
    }
    for (size_t i = (hole + 1) & mask_; slots_[i].number != 0; i = (i + 1) & mask_) {
      const size_t home = slots_[i].hash & mask_;
      // Moves back only what would otherwise be cut off from its home by the hole.
      if (((i - home) & mask_) >= ((i - hole) & mask_)) {
        slots_[hole] = slots_[i];
        hole = i;
      }
    }
    slots_[hole] = {};
  }

 private:
  struct Slot {
    uint32_t hash;
    uint32_t number;
  };
  ZeroedArray<Slot> slots_;
  size_t mask_;
};

}  // namespace psp
