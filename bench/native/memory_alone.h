// SPDX-License-Identifier: Apache-2.0
// The time of memory access alone for the cache lines that a packet needs of one flow among so many that no
// cache holds them. It proceeds burst by burst in the same dependent steps as an engine: the slot of the
// index, the record, the expanded key. All lines of a step are prefetched before any of them is read.
#pragma once

#include "engine/memory/slab.h"
#include "engine/ports/packet.h"
#include "measure.h"
#include "mill.h"

namespace psp {

class MemoryAlone {
 public:
  explicit MemoryAlone(uint32_t flows) : flows_(flows) {}

  // Nanoseconds per packet whose AEAD reads this many lines of its key, over `count` packets.
  double ns(uint32_t key_lines, uint64_t count) {
    Shuffle shuffle(flows_);
    return ns_per(count, [&] {
      std::array<uint32_t, kBurst> numbers;
      for (uint64_t done = 0; done < count; done += kBurst) {
        for (uint32_t& number : numbers) number = shuffle.next();
        index_.read(numbers, 1);
        records_.read(numbers, 2);
        keys_.read(numbers, key_lines);
      }
    });
  }

 private:
  // Lines per flow: eight slots of an index that is a quarter full share one; a record, or those of an SPI
  // and its flow, has two; a key sixteen.
  class Table {
   public:
    Table(uint32_t flows, double lines_each)
        : apart_(lines_each), lines_(static_cast<size_t>(flows * lines_each) + 1) {
      // Memory that was never written maps to one page of zeros.
      for (size_t i = 0; i <= static_cast<size_t>(flows * lines_each); ++i) lines_[i].word = i;
    }
    // The first lines of each number's record.
    void read(const std::array<uint32_t, kBurst>& numbers, uint32_t needed) {
      for (const uint32_t number : numbers) {
        for (uint32_t i = 0; i < needed; ++i) __builtin_prefetch(line_of(number) + i);
      }
      for (const uint32_t number : numbers) {
        for (uint32_t i = 0; i < needed; ++i)
          static_cast<void>(*const_cast<volatile uint64_t*>(&line_of(number)[i].word));
      }
    }

   private:
    struct alignas(64) Line {
      uint64_t word;
    };
    const Line* line_of(uint32_t number) const { return &lines_[static_cast<size_t>(number * apart_)]; }

    const double apart_;
    ZeroedArray<Line> lines_;
  };

  const uint32_t flows_;
  Table index_{flows_, 0.5}, records_{flows_, 2}, keys_{flows_, 16};
};

}  // namespace psp
