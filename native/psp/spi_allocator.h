// SPDX-License-Identifier: Apache-2.0
// Allocates the SPIs of one master key, each once: sequentially from a start value, with wrap-around. The top
// bit is the slot of the key; the low 31 bits are never zero (PSP specification, "SPI"). Single-threaded; a
// new key gets a new allocator.
#pragma once

#include <cstdint>
#include <optional>

namespace psp {

class SpiAllocator {
 public:
  static constexpr uint32_t kSpisPerKey = 0x7fffffff;

  // `start`: only its low 31 bits are used; random in production. `count`: how many SPIs to allocate at most.
  SpiAllocator(uint8_t slot, uint32_t start, uint32_t count = kSpisPerKey);

  // The next SPI; nothing after all are allocated, when the master key must be rotated.
  std::optional<uint32_t> next();
  uint32_t remaining() const { return remaining_; }

 private:
  uint32_t slot_bit_;
  uint32_t low_;
  uint32_t remaining_;
};

}  // namespace psp
