// SPDX-License-Identifier: Apache-2.0
// What the worker lcores count of the main lcore's records: packets, octets and the time of the last packet.
// Each lcore counts in memory of its own, under the tag that the record had; counts of an older tag are
// ignored. A record whose tag ends during a burst loses only the counts of that burst.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/memory/slab.h"

namespace psp {

struct Tally {
  uint64_t packets = 0, bytes = 0, last_ms = 0;
};

class Tallies {
 public:
  Tallies(uint32_t lcores, uint32_t records) {
    for (uint32_t i = 0; i < lcores; ++i) {
      rows_.push_back(std::make_unique<ZeroedArray<Row>>(size_t{records} + 1));
    }
  }

  // Called by that worker lcore, counted from 0.
  void add(uint32_t lcore, uint32_t index, uint64_t tag, const Tally& more) {
    Row& row = (*rows_[lcore])[index];
    if (row.tag.load(std::memory_order_relaxed) != tag) {
      for (auto* word : {&row.packets, &row.bytes, &row.last_ms}) word->store(0, std::memory_order_relaxed);
      row.tag.store(tag, std::memory_order_release);
    }
    const auto raise = [](std::atomic<uint64_t>& word, uint64_t n) {
      word.store(word.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
    };
    raise(row.packets, more.packets);
    raise(row.bytes, more.bytes);
    row.last_ms.store(more.last_ms, std::memory_order_relaxed);
  }
  // Pre-faults the rows of the first `records` and some ahead, as ZeroedArray does.
  bool grow(uint32_t records) {
    bool grew = false;
    for (const auto& rows : rows_) grew |= rows->grow(records);
    return grew;
  }
  void prefetch(uint32_t lcore, uint32_t index) const { __builtin_prefetch(&(*rows_[lcore])[index], 1); }
  // Any thread: the sum of all worker lcores.
  Tally sum(uint32_t index, uint64_t tag) const {
    Tally sum;
    for (const auto& rows : rows_) {
      const Row& row = (*rows)[index];
      if (row.tag.load(std::memory_order_acquire) != tag) continue;
      sum.packets += row.packets.load(std::memory_order_relaxed);
      sum.bytes += row.bytes.load(std::memory_order_relaxed);
      sum.last_ms = std::max(sum.last_ms, row.last_ms.load(std::memory_order_relaxed));
    }
    return sum;
  }

 private:
  struct alignas(32) Row {
    std::atomic<uint64_t> tag, packets, bytes, last_ms;
  };
  std::vector<std::unique_ptr<ZeroedArray<Row>>> rows_;
};

}  // namespace psp
