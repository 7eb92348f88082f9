// SPDX-License-Identifier: Apache-2.0
// A bounded set of expanded AES keys, named by tags, four ways to a set, the longest unused of a set giving
// way. One key beside the set is for trying: a key that has not proved itself is expanded there and promoted
// afterwards, so that forged packets push nothing out. All memory is made, locked, at start.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/hash_index.h"
#include "psp/aead.h"

namespace psp {

class KeyCache {
 public:
  static constexpr uint32_t kWays = 4;

  // `sets` is rounded up to a power of two. Throws std::bad_alloc.
  KeyCache(const Aead& aead, uint32_t sets);
  ~KeyCache();
  KeyCache(const KeyCache&) = delete;
  KeyCache& operator=(const KeyCache&) = delete;

  // The expanded key under a tag (never 0), or null. Borrowed until the next call.
  void* find(uint64_t tag);
  // Expands a key that needs no proof under a tag that find did not know.
  void* add(uint64_t tag, const uint8_t* key, uint8_t version);
  // Expands a key outside the set, until the next call of the same.
  void* try_out(const uint8_t* key, uint8_t version);
  // The key tried out last proved good: it takes its place under the tag.
  void promote(uint64_t tag);
  // Forgets the keys whose tag fits and overwrites them.
  template <typename Fits>
  void erase_if(Fits&& fits) {
    for (Way& way : ways_) {
      if (way.tag != 0 && fits(way.tag)) end(way);
    }
    overwrite(trial_);
  }
  // The same for one tag; 0 and unknown ones are nothing.
  void erase(uint64_t tag);

 private:
  struct Way {
    uint64_t tag;
    uint64_t used;
    void* expanded;
  };

  Way* set_of(uint64_t tag) { return &ways_[(hash_number(seed_, tag) & set_mask_) * size_t{kWays}]; }
  Way& victim(uint64_t tag);
  void end(Way& way);
  void overwrite(void* expanded);

  const Aead& aead_;
  HashSeed seed_;
  uint32_t set_mask_;
  std::vector<Way> ways_;
  void* memory_;
  size_t stride_;
  void* trial_;
  uint64_t clock_ = 0;
};

}  // namespace psp
