// SPDX-License-Identifier: Apache-2.0
// A bounded set of expanded AES keys beside a table of records: the record's number names the key's place, a
// tag says whose key stands there. As long as there are no more records than places each keeps its own; where
// there are more, who comes later takes the place. One key beside the set is for trying: a key that has not
// proved itself is expanded there and promoted afterwards, so that forged packets push nothing out. The
// memory is reserved at start and touched as keys come into use.
#pragma once

#include <cstdint>

#include "engine/slab.h"
#include "psp/aead.h"

namespace psp {

class KeyCache {
 public:
  // A kibibyte each, where an expanded key is plain memory; others cost more, and time at start.
  static constexpr uint32_t kPlainAtMost = 2048, kOthersAtMost = 2048;

  // For records numbered from 1 to `records`. Throws std::bad_alloc.
  KeyCache(const Aead& aead, uint32_t records);
  ~KeyCache();
  KeyCache(const KeyCache&) = delete;
  KeyCache& operator=(const KeyCache&) = delete;

  // The expanded key of a record under a tag (never 0), or null. Borrowed until the next add or promote.
  void* find(uint32_t number, uint64_t tag) const {
    const size_t place = place_of(number);
    return tags_[place] == tag ? key_at(place) : nullptr;
  }
  // Asks memory for what find, and then the AEAD with so many octets, will read.
  void prefetch(uint32_t number, size_t octets) const {
    const size_t place = place_of(number);
    __builtin_prefetch(&tags_[place]);
    aead_.prefetch(key_at(place), octets);
  }
  // Expands a key that needs no proof, and that find did not know.
  void* add(uint32_t number, uint64_t tag, const uint8_t* key, uint8_t version);
  // Expands a key outside the set, until the next call of the same.
  void* try_out(uint64_t tag, const uint8_t* key, uint8_t version);
  // The key tried out last proved good: it takes the record's place.
  void promote(uint32_t number);
  // Forgets and overwrites the record's key under this tag, also where it was only tried; 0 and unknown ones
  // are nothing.
  void erase(uint32_t number, uint64_t tag);
  // Overwrites what was tried out last.
  void erase_tried();

 private:
  size_t place_of(uint32_t number) const { return (number - 1) & mask_; }
  void* key_at(size_t place) const { return memory_ + place * stride_; }
  void overwrite(void* expanded);

  const Aead& aead_;
  const size_t mask_, stride_;
  ZeroedArray<uint64_t> tags_;
  uint8_t* memory_;  // of all places, and behind them the one for trying
  void* trial_;
  uint64_t trial_tag_ = 0;
};

}  // namespace psp
