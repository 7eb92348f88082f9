// SPDX-License-Identifier: Apache-2.0
// A promotion swaps two keys and their tags, octet by octet: expanded keys may move, whatever library they
// are of. A key that settles leaves a copy among the few until another takes the place; erasing finds both.
#include "engine/software/tables/key_cache.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "psp/secret.h"

namespace psp {

namespace {

size_t stride_of(const Aead& aead) {
  const size_t least = aead.expanded_size() + sizeof(uint64_t);
  return (least + kAeadKeyAlignment - 1) / kAeadKeyAlignment * kAeadKeyAlignment;
}

size_t many_of(const Aead& aead, uint32_t records) {
  if (!aead.is_plain_memory() || records <= KeyCache::kFew) return 0;
  return std::bit_ceil(std::min(records, KeyCache::kMany));
}

}  // namespace

KeyCache::KeyCache(const Aead& aead, uint32_t records)
    : aead_(aead),
      few_(std::bit_ceil(std::clamp<uint32_t>(records, 1, kFew))),
      many_(many_of(aead, records)),
      stride_(stride_of(aead)),
      memory_(static_cast<uint8_t*>(allocate_secret(stride_ * places()))) {
  if (aead_.is_plain_memory()) return;
  for (size_t place = 0; place < places(); ++place) aead_.construct(key_at(place));
}

KeyCache::~KeyCache() {
  if (!aead_.is_plain_memory()) {
    for (size_t place = 0; place < places(); ++place) aead_.destroy(key_at(place));
  }
  free_secret(memory_, stride_ * places());
}

void* KeyCache::add(size_t place, uint64_t tag, const uint8_t* key, uint8_t version) {
  aead_.expand(key_at(place), key, version);
  *tag_at(place) = tag;
  return key_at(place);
}

void* KeyCache::try_out(uint64_t tag, const uint8_t* key, uint8_t version) {
  return add(trial(), tag, key, version);
}

void KeyCache::promote(size_t place) {
  auto* const tried = static_cast<uint8_t*>(key_at(trial()));
  std::swap_ranges(tried, tried + stride_, static_cast<uint8_t*>(key_at(place)));
}

void KeyCache::erase(uint32_t number, uint64_t tag) {
  if (tag == 0) return;
  erase_at(trial(), tag);
  erase_at(place_of(number, 0), tag);
  erase_at(place_of(number, kSettlesAfter), tag);
}

bool KeyCache::grow() {
  constexpr size_t kAtATime = 32 << 20;
  const size_t ready = ready_.load(std::memory_order_relaxed);
  if (wanted_.load(std::memory_order_relaxed) <= ready) return false;
  const size_t next = std::min(many_, ready + kAtATime / stride_);
  populate_secret(key_at(few_ + ready), (next - ready) * stride_);
  ready_.store(next, std::memory_order_relaxed);
  return true;
}

void KeyCache::erase_tried() {
  erase_at(trial(), *tag_at(trial()));
}

void KeyCache::erase_at(size_t place, uint64_t tag) {
  if (*tag_at(place) != tag) return;
  void* const expanded = key_at(place);
  if (aead_.is_plain_memory()) return wipe(expanded, stride_);
  static constexpr uint8_t kZero[32] = {};
  for (const uint8_t version : {0, 1}) aead_.expand(expanded, kZero, version);
  *tag_at(place) = 0;
}

}  // namespace psp
