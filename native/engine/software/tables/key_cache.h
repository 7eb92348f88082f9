// SPDX-License-Identifier: Apache-2.0
// A bounded cache of expanded AES keys beside a table of records. The record's index determines the key's
// slot; a tag after the key says whose key it is. The cache has two tiers. In the small first tier a newcomer
// evicts the occupant. The large second tier is for keys that were expanded repeatedly because the first one
// did not suffice: so a scan, whose flows have a packet or two, touches only the memory of the first tier.
// One more slot is for trials: a key that has not proved itself is expanded there and promoted afterwards, so
// that forged packets evict nothing. The memory is reserved at start. The first tier is touched as keys come
// into use. Another thread pre-faults the second tier on demand, in huge pages, because the kernel may search
// for those for milliseconds; until then its keys stay in the first tier. Everything else is used by the
// polling thread.
#pragma once

#include <atomic>
#include <cstdint>

#include "psp/aead.h"

namespace psp {

class KeyCache {
 public:
  // A kibibyte for each key where an expanded key is plain memory. Other AEADs need more memory, and time at
  // start, and have only the first tier.
  static constexpr uint32_t kFirstTier = 2048, kSecondTier = 1 << 20;
  // A key that was expanded so often gets a slot in the second tier.
  static constexpr uint8_t kSettlesAfter = 4;

  // For records with indexes from 1 to `records`. Throws std::bad_alloc.
  KeyCache(const Aead& aead, uint32_t records);
  ~KeyCache();
  KeyCache(const KeyCache&) = delete;
  KeyCache& operator=(const KeyCache&) = delete;

  // Counts that the key of a record is expanded once more.
  void note_miss(uint32_t index, uint8_t* misses) {
    if (*misses < kSettlesAfter) ++*misses;
    if (*misses < kSettlesAfter || second_tier_ == 0) return;
    const size_t at = (index - 1) & (second_tier_ - 1);
    if (at >= wanted_.load(std::memory_order_relaxed)) wanted_.store(at + 1, std::memory_order_relaxed);
  }
  // The slot of the key of a record that was expanded so often.
  size_t slot_for(uint32_t index, uint8_t misses) const {
    const size_t at = index - 1, in_second_tier = at & (second_tier_ - 1);
    const bool settled = misses >= kSettlesAfter && in_second_tier < ready_.load(std::memory_order_relaxed);
    return settled ? first_tier_ + in_second_tier : at & (first_tier_ - 1);
  }
  // Pre-faults second-tier memory that is wanted, a bounded amount per call. False: there is nothing to do.
  // Called by one thread, any except the polling one.
  bool grow();
  // The expanded key in a slot under a tag (never 0), or null. Borrowed until the next add or promote.
  void* find(size_t slot, uint64_t tag) const { return *tag_at(slot) == tag ? key_at(slot) : nullptr; }
  // Prefetches what find, and then the AEAD with so many octets, will read.
  void prefetch(size_t slot, uint8_t version, size_t octets) const {
    __builtin_prefetch(tag_at(slot));
    aead_.prefetch(key_at(slot), version, octets);
  }
  // Expands a key that needs no proof, and that find did not find.
  void* add(size_t slot, uint64_t tag, const uint8_t* key, uint8_t version);
  // Expands a key in the trial slot, until the next call of the same.
  void* try_out(uint64_t tag, const uint8_t* key, uint8_t version);
  // The key tried out last proved good: it moves to this slot.
  void promote(size_t slot);
  // Erases and overwrites the record's key under this tag, also in the trial slot. Does nothing for 0 or an
  // unknown tag.
  void erase(uint32_t index, uint64_t tag);
  // Overwrites the key that was tried out last.
  void erase_tried();
  bool has_tried() const { return *tag_at(trial()) != 0; }
  // Slots of the first tier.
  uint32_t first_tier() const { return static_cast<uint32_t>(first_tier_); }

 private:
  size_t slots() const { return first_tier_ + second_tier_ + 1; }
  size_t trial() const { return first_tier_ + second_tier_; }
  void* key_at(size_t slot) const { return memory_ + slot * stride_; }
  uint64_t* tag_at(size_t slot) const {
    return reinterpret_cast<uint64_t*>(memory_ + (slot + 1) * stride_) - 1;
  }
  void erase_at(size_t slot, uint64_t tag);

  const Aead& aead_;
  const size_t first_tier_, second_tier_;       // powers of two; second_tier_ may be 0
  std::atomic<size_t> wanted_ = 0, ready_ = 0;  // slots of the second tier, from the first on
  const size_t stride_;
  uint8_t* memory_;  // of all slots, and after them the trial slot
};

}  // namespace psp
