// SPDX-License-Identifier: Apache-2.0
// A worker lcore's copies of the receive SPIs that it met, as flow_copies.h has of flows. Besides, a copy
// serves only as long as the master key slot of its SPI has the generation under which it was admitted.
#pragma once

#include <array>
#include <cstdint>

#include "engine/budget.h"
#include "engine/software/tables/copy_slots.h"
#include "engine/software/tables/key_cache.h"
#include "engine/software/tables/receive_spis.h"
#include "engine/software/tables/spi_records.h"

namespace psp {

class SpiCopies {
 public:
  // As FlowCopies.
  SpiCopies(ReceiveSpis& table, SpiRecords& records, KeyCache& keys, uint32_t lcore);

  uint32_t hash(uint32_t spi) const { return hash_number(seed_, spi); }
  // The index of the SPI's copy, or 0: there is nothing to copy now; with *sure there is no such SPI.
  uint32_t find(uint32_t spi, uint8_t version, uint32_t hash, bool* sure);
  void prefetch(uint32_t hash) const { slots_.prefetch(hash); }
  uint32_t prefetch_copy(uint32_t hash) const;
  void prefetch_rest(uint32_t index, uint8_t version, size_t length) const;
  // Reports what the burst counted.
  void end_burst();
  bool sweep(uint64_t now_ms, Budget& budget);
  bool sweeping() const { return slots_.sweeping(); }
  bool grow();
  // Master keys were replaced: copies of SPIs of the old ones are not found from now on, and are wiped by the
  // sweep that begins.
  void renew_generations();

 private:
  bool is_live(uint32_t index) const;
  uint32_t look_up(uint32_t spi, uint8_t version, uint32_t hash, OpeningSpi* copy, uint64_t* sequence,
                   bool* sure) const;
  void store(uint32_t index, const OpeningSpi& copy);
  void report(uint32_t index);
  void drop(uint32_t index);

  ReceiveSpis& table_;
  Published<OpeningSpi>& published_;
  const HashSeed seed_;
  SpiRecords& records_;
  KeyCache& keys_;
  const uint32_t lcore_;
  CopySlots slots_;
  std::array<uint32_t, 2> generations_{};
};

}  // namespace psp
