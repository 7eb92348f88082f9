// SPDX-License-Identifier: Apache-2.0
// Reservoir sampling (Vitter's algorithm R) over the SPIs of a source, and over the sources of a slot.
#include "engine/software/tables/unknown_spis.h"

#include <algorithm>

namespace psp {

void UnknownSpis::add(const UnknownSpi& packet, uint64_t now_ms) {
  Slot& slot = gathering_[hash_octets(seed_, packet.source.data(), packet.source.size()) % kSources];
  if (slot.count == 0) {
    if (gathered_++ == 0) due_ms_ = std::max(now_ms + kGatherMs, began_ms_ + kReportEveryMs);
    slot.source = packet.source;
  } else if (!is_same(slot.source, packet.source)) {
    if (below(++slot.rivals + 1) != 0) return;
    slot.source = packet.source;
    slot.count = slot.found = 0;
  }
  const auto end = slot.spis.begin() + slot.count;
  if (std::find(slot.spis.begin(), end, packet.spi) != end) return;
  ++slot.found;
  if (slot.count < kSpis) {
    slot.spis[slot.count++] = packet.spi;
  } else if (const uint32_t at = below(slot.found); at < kSpis) {
    slot.spis[at] = packet.spi;
  }
}

void UnknownSpis::begin_report(uint64_t now_ms) {
  began_ms_ = now_ms;
  reporting_ = gathering_;
  for (Slot& slot : gathering_) slot.count = slot.found = slot.rivals = 0;
  gathered_ = 0;
  reported_ = 0;
}

uint32_t UnknownSpis::below(uint32_t limit) {
  // Odd, so that the counter passes every number before one repeats.
  random_ += 0x9e3779b97f4a7c15;
  const uint64_t number = hash_mix(random_, random_ ^ 0xd1b54a32d192ed03) & UINT32_MAX;
  return static_cast<uint32_t>(number * limit >> 32);
}

}  // namespace psp
