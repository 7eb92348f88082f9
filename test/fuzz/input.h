// SPDX-License-Identifier: Apache-2.0
// Shared by all fuzz targets: reads the input piece by piece, and checks conditions whose violation ends the
// process, so that libFuzzer keeps the input.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <vector>

namespace psp::fuzz {

using Octets = std::vector<uint8_t>;

inline void require(bool holds, const char* promise) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", promise);
  std::abort();
}

// The octets of one input in order. At the end, numbers are zero and pieces are empty.
class Input {
 public:
  Input(const uint8_t* octets, size_t length) : rest_(octets, length) {}

  bool empty() const { return rest_.empty(); }
  uint8_t u8() { return static_cast<uint8_t>(number(1)); }
  uint16_t u16() { return static_cast<uint16_t>(number(2)); }
  uint32_t u32() { return static_cast<uint32_t>(number(4)); }
  uint64_t u64() { return number(8); }
  // At most `length` octets.
  std::span<const uint8_t> take(size_t length) {
    const auto taken = rest_.first(std::min(length, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }
  // All remaining octets, in memory of exactly their length, so that every read beyond it is detected.
  Octets rest() {
    const auto all = take(rest_.size());
    return Octets(all.begin(), all.end());
  }

 private:
  uint64_t number(size_t octets) {
    uint64_t value = 0;
    for (size_t i = 0; i < octets; ++i) {
      value <<= 8;
      if (!rest_.empty()) value |= take(1)[0];
    }
    return value;
  }

  std::span<const uint8_t> rest_;
};

}  // namespace psp::fuzz
