// SPDX-License-Identifier: Apache-2.0
// A promotion swaps two keys, octet by octet: expanded keys may move, whatever library they are of.
#include "engine/software/key_cache.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "psp/secret.h"

namespace psp {

namespace {

size_t stride_of(const Aead& aead) {
  return (aead.expanded_size() + kAeadKeyAlignment - 1) / kAeadKeyAlignment * kAeadKeyAlignment;
}

uint32_t places_for(const Aead& aead, uint32_t records) {
  const uint32_t most = aead.is_plain_memory() ? KeyCache::kPlainAtMost : KeyCache::kOthersAtMost;
  return std::bit_ceil(std::clamp<uint32_t>(records, 1, most));
}

}  // namespace

KeyCache::KeyCache(const Aead& aead, uint32_t records)
    : aead_(aead), mask_(places_for(aead, records) - size_t{1}), stride_(stride_of(aead)), tags_(mask_ + 1) {
  memory_ = static_cast<uint8_t*>(allocate_secret(stride_ * (mask_ + 2)));
  trial_ = key_at(mask_ + 1);
  if (aead_.is_plain_memory()) return;
  for (size_t place = 0; place <= mask_ + 1; ++place) aead_.construct(key_at(place));
}

KeyCache::~KeyCache() {
  if (!aead_.is_plain_memory()) {
    for (size_t place = 0; place <= mask_ + 1; ++place) aead_.destroy(key_at(place));
  }
  free_secret(memory_, stride_ * (mask_ + 2));
}

void* KeyCache::add(uint32_t number, uint64_t tag, const uint8_t* key, uint8_t version) {
  const size_t place = place_of(number);
  aead_.expand(key_at(place), key, version);
  tags_[place] = tag;
  return key_at(place);
}

void* KeyCache::try_out(uint64_t tag, const uint8_t* key, uint8_t version) {
  aead_.expand(trial_, key, version);
  trial_tag_ = tag;
  return trial_;
}

void KeyCache::promote(uint32_t number) {
  const size_t place = place_of(number);
  auto* const tried = static_cast<uint8_t*>(trial_);
  std::swap_ranges(tried, tried + stride_, static_cast<uint8_t*>(key_at(place)));
  std::swap(tags_[place], trial_tag_);
}

void KeyCache::erase(uint32_t number, uint64_t tag) {
  if (tag == 0) return;
  if (trial_tag_ == tag) erase_tried();
  const size_t place = place_of(number);
  if (tags_[place] != tag) return;
  overwrite(key_at(place));
  tags_[place] = 0;
}

void KeyCache::erase_tried() {
  overwrite(trial_);
  trial_tag_ = 0;
}

void KeyCache::overwrite(void* expanded) {
  if (aead_.is_plain_memory()) return wipe(expanded, stride_);
  static constexpr uint8_t kZero[32] = {};
  for (const uint8_t version : {0, 1}) aead_.expand(expanded, kZero, version);
}

}  // namespace psp
