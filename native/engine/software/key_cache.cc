// SPDX-License-Identifier: Apache-2.0
// Expanded keys never move: a promotion swaps two pointers.
#include "engine/software/key_cache.h"

#include <bit>
#include <utility>

#include "psp/secret.h"

namespace psp {

KeyCache::KeyCache(const Aead& aead, uint32_t sets)
    : aead_(aead), set_mask_(std::bit_ceil(sets) - 1), ways_(std::bit_ceil(sets) * size_t{kWays}) {
  stride_ = (aead.expanded_size() + kAeadKeyAlignment - 1) / kAeadKeyAlignment * kAeadKeyAlignment;
  memory_ = allocate_secret(stride_ * (ways_.size() + 1));
  auto* at = static_cast<uint8_t*>(memory_);
  for (Way& way : ways_) {
    way.expanded = at;
    aead_.construct(at);
    at += stride_;
  }
  trial_ = at;
  aead_.construct(trial_);
}

KeyCache::~KeyCache() {
  for (Way& way : ways_) aead_.destroy(way.expanded);
  aead_.destroy(trial_);
  free_secret(memory_, stride_ * (ways_.size() + 1));
}

void* KeyCache::find(uint64_t tag) {
  Way* set = set_of(tag);
  for (uint32_t i = 0; i < kWays; ++i) {
    if (set[i].tag != tag) continue;
    set[i].used = ++clock_;
    return set[i].expanded;
  }
  return nullptr;
}

void* KeyCache::add(uint64_t tag, const uint8_t* key, uint8_t version) {
  Way& way = victim(tag);
  aead_.expand(way.expanded, key, version);
  way.tag = tag;
  way.used = ++clock_;
  return way.expanded;
}

void* KeyCache::try_out(const uint8_t* key, uint8_t version) {
  aead_.expand(trial_, key, version);
  return trial_;
}

void KeyCache::promote(uint64_t tag) {
  Way& way = victim(tag);
  std::swap(way.expanded, trial_);
  way.tag = tag;
  way.used = ++clock_;
}

void KeyCache::erase(uint64_t tag) {
  if (tag == 0) return;
  Way* set = set_of(tag);
  for (uint32_t i = 0; i < kWays; ++i) {
    if (set[i].tag == tag) end(set[i]);
  }
  overwrite(trial_);
}

KeyCache::Way& KeyCache::victim(uint64_t tag) {
  Way* set = set_of(tag);
  Way* oldest = set;
  for (uint32_t i = 1; i < kWays; ++i) {
    if (set[i].used < oldest->used) oldest = &set[i];
  }
  return *oldest;
}

void KeyCache::overwrite(void* expanded) {
  static constexpr uint8_t kZero[32] = {};
  for (const uint8_t version : {0, 1}) aead_.expand(expanded, kZero, version);
}

void KeyCache::end(Way& way) {
  overwrite(way.expanded);
  way.tag = 0;
  way.used = 0;
}

}  // namespace psp
