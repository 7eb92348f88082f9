// SPDX-License-Identifier: Apache-2.0
// The low 31 bits run through 1 to kSpisPerKey and then restart at 1; the count stops before any value
// repeats.
#include "psp/spi_allocator.h"

#include <algorithm>

namespace psp {

SpiAllocator::SpiAllocator(uint8_t slot, uint32_t start, uint32_t count)
    : slot_bit_(static_cast<uint32_t>(slot & 1) << 31),
      low_(std::max<uint32_t>(start & kSpisPerKey, 1)),
      remaining_(std::min(count, kSpisPerKey)) {}

std::optional<uint32_t> SpiAllocator::next() {
  if (remaining_ == 0) return std::nullopt;
  remaining_--;
  const uint32_t low = low_;
  low_ = low == kSpisPerKey ? 1 : low + 1;
  return slot_bit_ | low;
}

}  // namespace psp
