// SPDX-License-Identifier: Apache-2.0
// SPIs of packets for which this gateway has no record, by outer source address: a peer may send under an SPI
// that ended here, after a restart or because it retired. Anybody can forge such packets, so what is reported
// is a random choice and bounded: once a second up to kSpis SPIs of each of up to kSources addresses. The
// table belongs to the main lcore.
#pragma once

#include <array>
#include <cstdint>

#include "engine/budget.h"
#include "engine/memory/hash_index.h"
#include "psp/address.h"

namespace psp {

struct UnknownSpi {
  Address source{};
  uint32_t spi = 0;
};

class UnknownSpis {
 public:
  static constexpr uint32_t kSources = 32, kSpis = 64;
  static constexpr uint64_t kReportEveryMs = 1000;
  // After a quiet time the first packets are reported this soon, together with those that follow.
  static constexpr uint64_t kGatherMs = 50;

  explicit UnknownSpis(uint64_t seed) : random_(seed) {}

  // A packet has an unknown SPI. The SPIs of a source have equal chances, however many packets each has.
  // Sources that share a slot have chances by their packets.
  void add(const UnknownSpi& packet, uint64_t now_ms);
  bool any() const { return gathered_ > 0 || reported_ < kSources; }

  // Reports what is due. `report` returns false when it takes no more; the rest follows later. Returns false
  // when the budget ended before.
  template <typename Report>
  bool tick(uint64_t now_ms, Budget& budget, Report&& report) {
    if (reported_ == kSources) {
      if (gathered_ == 0 || now_ms < due_ms_) return true;
      begin_report(now_ms);
    }
    for (; reported_ < kSources; ++reported_) {
      Slot& slot = reporting_[reported_];
      for (; slot.count > 0; --slot.count) {
        if (budget.spent()) return false;
        if (!report(UnknownSpi{slot.source, slot.spis[slot.count - 1]})) return true;
        budget.spend(Budget::kEvent);
      }
    }
    return true;
  }

 private:
  struct Slot {
    Address source{};
    uint32_t count = 0;   // SPIs in the slot
    uint32_t found = 0;   // SPIs that were not in the slot when they arrived
    uint32_t rivals = 0;  // packets of other sources
    std::array<uint32_t, kSpis> spis{};
  };

  void begin_report(uint64_t now_ms);
  // Uniform, from 0 to below `limit`.
  uint32_t below(uint32_t limit);

  uint64_t random_;
  const HashSeed seed_;
  uint64_t due_ms_ = 0, began_ms_ = 0;
  uint32_t gathered_ = 0;         // slots in use
  uint32_t reported_ = kSources;  // slots of the report that are done
  std::array<Slot, kSources> gathering_{}, reporting_{};
};

}  // namespace psp
