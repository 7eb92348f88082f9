// SPDX-License-Identifier: Apache-2.0
// A promotion swaps two keys and their tags, octet by octet, because expanded keys of all libraries may be
// moved. A key that moves to the second tier leaves a copy in the first one until another key takes the slot;
// erasing finds both.
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

size_t second_tier_of(const Aead& aead, uint32_t records) {
  if (!aead.is_plain_memory() || records <= KeyCache::kFirstTier) return 0;
  return std::bit_ceil(std::min(records, KeyCache::kSecondTier));
}

}  // namespace

KeyCache::KeyCache(const Aead& aead, uint32_t records)
    : aead_(aead),
      first_tier_(std::bit_ceil(std::clamp<uint32_t>(records, 1, kFirstTier))),
      second_tier_(second_tier_of(aead, records)),
      stride_(stride_of(aead)),
      memory_(static_cast<uint8_t*>(allocate_secret(stride_ * slots()))) {
  if (aead_.is_plain_memory()) return;
  for (size_t slot = 0; slot < slots(); ++slot) aead_.construct(key_at(slot));
}

KeyCache::~KeyCache() {
  if (!aead_.is_plain_memory()) {
    for (size_t slot = 0; slot < slots(); ++slot) aead_.destroy(key_at(slot));
  }
  free_secret(memory_, stride_ * slots());
}

void* KeyCache::add(size_t slot, uint64_t tag, const uint8_t* key, uint8_t version) {
  aead_.expand(key_at(slot), key, version);
  *tag_at(slot) = tag;
  return key_at(slot);
}

void* KeyCache::try_out(uint64_t tag, const uint8_t* key, uint8_t version) {
  return add(trial(), tag, key, version);
}

void KeyCache::promote(size_t slot) {
  auto* const tried = static_cast<uint8_t*>(key_at(trial()));
  std::swap_ranges(tried, tried + stride_, static_cast<uint8_t*>(key_at(slot)));
}

void KeyCache::erase(uint32_t index, uint64_t tag) {
  if (tag == 0) return;
  erase_at(trial(), tag);
  erase_at(slot_for(index, 0), tag);
  erase_at(slot_for(index, kSettlesAfter), tag);
}

bool KeyCache::grow() {
  constexpr size_t kAtATime = 32 << 20;
  const size_t ready = ready_.load(std::memory_order_relaxed);
  if (wanted_.load(std::memory_order_relaxed) <= ready) return false;
  const size_t next = std::min(second_tier_, ready + kAtATime / stride_);
  populate_secret(key_at(first_tier_ + ready), (next - ready) * stride_);
  ready_.store(next, std::memory_order_relaxed);
  return true;
}

void KeyCache::erase_tried() {
  erase_at(trial(), *tag_at(trial()));
}

void KeyCache::erase_at(size_t slot, uint64_t tag) {
  if (*tag_at(slot) != tag) return;
  void* const expanded = key_at(slot);
  if (aead_.is_plain_memory()) return wipe(expanded, stride_);
  static constexpr uint8_t kZero[32] = {};
  for (const uint8_t version : {0, 1}) aead_.expand(expanded, kZero, version);
  *tag_at(slot) = 0;
}

}  // namespace psp
