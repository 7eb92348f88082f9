// SPDX-License-Identifier: Apache-2.0
// A bounded set of expanded AES keys beside a table of records: the record's number names the key's place, a
// tag behind the key says whose it is. There are a few places, where who comes later takes the place, and
// many more for keys that were expanded again and again because the few did not suffice: so a scan, whose
// flows carry a packet or two, touches no more memory than the few. One key beside the set is for trying: a
// key that has not proved itself is expanded there and promoted afterwards, so that forged packets push
// nothing out. The memory is reserved at start. The few are touched as keys come into use; the many by
// another thread, as they are wanted, in huge pages: the kernel may look for those for milliseconds. Until
// then their keys stay among the few. All else is of the polling thread.
#pragma once

#include <atomic>
#include <cstdint>

#include "psp/aead.h"

namespace psp {

class KeyCache {
 public:
  // A kibibyte each, where an expanded key is plain memory; others cost more, and time at start, and so have
  // only the few.
  static constexpr uint32_t kFew = 2048, kMany = 1 << 20;
  // A key that was expanded so often has a place among the many.
  static constexpr uint8_t kSettlesAfter = 4;

  // For records numbered from 1 to `records`. Throws std::bad_alloc.
  KeyCache(const Aead& aead, uint32_t records);
  ~KeyCache();
  KeyCache(const KeyCache&) = delete;
  KeyCache& operator=(const KeyCache&) = delete;

  // The key of a record is expanded once more.
  void note_miss(uint32_t number, uint8_t* misses) {
    if (*misses < kSettlesAfter) ++*misses;
    if (*misses < kSettlesAfter || many_ == 0) return;
    const size_t at = (number - 1) & (many_ - 1);
    if (at >= wanted_.load(std::memory_order_relaxed)) wanted_.store(at + 1, std::memory_order_relaxed);
  }
  // Where the key of a record stands that was expanded so often.
  size_t place_of(uint32_t number, uint8_t misses) const {
    const size_t at = number - 1, among_many = at & (many_ - 1);
    const bool settled = misses >= kSettlesAfter && among_many < ready_.load(std::memory_order_relaxed);
    return settled ? few_ + among_many : at & (few_ - 1);
  }
  // Makes memory of the many appear that is wanted, so much at a time. False: there is nothing to do. Of one
  // thread, any but the polling one.
  bool grow();
  // The expanded key at a record's place under a tag (never 0), or null. Borrowed until the next add or
  // promote.
  void* find(size_t place, uint64_t tag) const { return *tag_at(place) == tag ? key_at(place) : nullptr; }
  // Asks memory for what find, and then the AEAD with so many octets, will read.
  void prefetch(size_t place, uint8_t version, size_t octets) const {
    __builtin_prefetch(tag_at(place));
    aead_.prefetch(key_at(place), version, octets);
  }
  // Expands a key that needs no proof, and that find did not know.
  void* add(size_t place, uint64_t tag, const uint8_t* key, uint8_t version);
  // Expands a key outside the set, until the next call of the same.
  void* try_out(uint64_t tag, const uint8_t* key, uint8_t version);
  // The key tried out last proved good: it takes the record's place.
  void promote(size_t place);
  // Forgets and overwrites the record's key under this tag, also where it was only tried; 0 and unknown ones
  // are nothing.
  void erase(uint32_t number, uint64_t tag);
  // Overwrites what was tried out last.
  void erase_tried();
  bool has_tried() const { return *tag_at(trial()) != 0; }
  // How many the few are.
  uint32_t few() const { return static_cast<uint32_t>(few_); }

 private:
  size_t places() const { return few_ + many_ + 1; }
  size_t trial() const { return few_ + many_; }
  void* key_at(size_t place) const { return memory_ + place * stride_; }
  uint64_t* tag_at(size_t place) const {
    return reinterpret_cast<uint64_t*>(memory_ + (place + 1) * stride_) - 1;
  }
  void erase_at(size_t place, uint64_t tag);

  const Aead& aead_;
  const size_t few_, many_;                     // powers of two; many_ may be 0
  std::atomic<size_t> wanted_ = 0, ready_ = 0;  // of the many, from the first on
  const size_t stride_;
  uint8_t* memory_;  // of all places, and behind them the one for trying
};

}  // namespace psp
