// SPDX-License-Identifier: Apache-2.0
// The SPIs of one master key, each given once: sequential from a start, round to where they began. The top
// bit is the key's slot, the low 31 bits are never zero (PSP specification, "SPI"). One thread; a new key
// gets a new allocator.
#pragma once

#include <cstdint>
#include <optional>

namespace psp {

class SpiAllocator {
 public:
  static constexpr uint32_t kSpisPerKey = 0x7fffffff;

  // `start`: any number, its low 31 bits count; random in production. `count`: how many SPIs to give in all.
  SpiAllocator(uint8_t slot, uint32_t start, uint32_t count = kSpisPerKey);

  // The next SPI; nothing when all were given and the master key must be rotated.
  std::optional<uint32_t> next();
  uint32_t remaining() const { return remaining_; }

 private:
  uint32_t slot_bit_;
  uint32_t low_;
  uint32_t remaining_;
};

}  // namespace psp
