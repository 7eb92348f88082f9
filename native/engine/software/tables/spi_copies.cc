// SPDX-License-Identifier: Apache-2.0
// As flow_copies.cc. Each copy of an SPI has a flow record of its own, at the same index.
#include "engine/software/tables/spi_copies.h"

#include "psp/master_key.h"

namespace psp {

SpiCopies::SpiCopies(ReceiveSpis& table, SpiRecords& records, KeyCache& keys, uint32_t lcore)
    : table_(table),
      published_(table.published()),
      seed_(table.seed()),
      records_(records),
      keys_(keys),
      lcore_(lcore),
      slots_(records.slab().capacity()) {
  renew_generations();
}

bool SpiCopies::is_live(uint32_t index) const {
  const ReceiveSpi& spi = records_[index];
  return spi.generation == generations_[slot_of(spi.spi)] &&
         published_[slots_[index].record].is_current(slots_[index].sequence);
}

uint32_t SpiCopies::find(uint32_t spi, uint8_t version, uint32_t hash, bool* sure) {
  *sure = false;
  uint32_t index = slots_.find(
      hash, [&](uint32_t at) { return records_[at].spi == spi && records_[at].version == version; });
  if (index == 0 || !is_live(index)) {
    OpeningSpi copy;
    uint64_t sequence;
    const uint32_t record = look_up(spi, version, hash, &copy, &sequence, sure);
    if (record == 0) return 0;
    *sure = true;
    if (copy.generation != generations_[slot_of(spi)]) return 0;
    if (index == 0) {
      if (slots_.full()) drop(slots_.victim());
      index = slots_.allocate(hash);
    } else {
      report(index);
      // The key of the older generation has the same tag. No packet of this burst was opened with it.
      if (records_[index].generation != copy.generation)
        keys_.erase(index, SpiRecords::key_tag(spi, version));
    }
    store(index, copy);
    slots_[index].record = record;
    slots_[index].sequence = sequence;
  }
  slots_.touch(index);
  return index;
}

// *sure: the SPI was found, or is not in the table. An SPI that is being published may be missed.
uint32_t SpiCopies::look_up(uint32_t spi, uint8_t version, uint32_t hash, OpeningSpi* copy,
                            uint64_t* sequence, bool* sure) const {
  bool unpublished = false;
  const auto matches = [&](uint32_t n) {
    if (!published_[n].copy(copy, sequence)) {
      unpublished = true;
      return false;
    }
    return copy->spi == spi && copy->version == version;
  };
  const uint32_t record = table_.index().look_up(hash, matches, sure);
  *sure = *sure && !unpublished;
  return record;
}

void SpiCopies::store(uint32_t index, const OpeningSpi& copy) {
  ReceiveSpi& spi = records_[index];
  spi = {};
  spi.cookie = copy.cookie;
  spi.spi = copy.spi;
  spi.generation = copy.generation;
  spi.flow = index;
  spi.version = copy.version;
  spi.mode = copy.mode;
  spi.seen = spi.reported = true;
  InboundFlow& flow = records_.flows()[index];
  flow = {};
  flow.key = copy.flow;
  flow.peer = copy.peer;
}

uint32_t SpiCopies::prefetch_copy(uint32_t hash) const {
  const uint32_t index = slots_.prefetch_slot(hash);
  if (index == 0) {
    table_.prefetch(hash);
  } else {
    records_.prefetch(index);
    __builtin_prefetch(&records_.flows()[index]);
  }
  return index;
}

void SpiCopies::prefetch_rest(uint32_t index, uint8_t version, size_t length) const {
  const uint32_t record = slots_[index].record;
  __builtin_prefetch(&published_[record]);
  published_.tallies().prefetch(lcore_, record);
  keys_.prefetch(keys_.slot_for(index, records_[index].key_misses), version, length);
}

void SpiCopies::end_burst() {
  slots_.end_burst([&](uint32_t index) { report(index); });
}

void SpiCopies::report(uint32_t index) {
  InboundFlow& flow = records_.flows()[index];
  if (flow.packets == 0) return;
  const ReceiveSpi& spi = records_[index];
  const Tally counted{flow.packets, flow.bytes, spi.last_seen_ms};
  published_.tallies().add(lcore_, slots_[index].record, SpiRecords::key_tag(spi.spi, spi.version), counted);
  flow.packets = flow.bytes = 0;
}

void SpiCopies::drop(uint32_t index) {
  report(index);
  const ReceiveSpi& spi = records_[index];
  keys_.erase(index, SpiRecords::key_tag(spi.spi, spi.version));
  slots_.give_back(index, hash(spi.spi));
  records_[index] = {};
  records_.flows()[index] = {};
}

bool SpiCopies::sweep(uint64_t now_ms, Budget& budget) {
  if (keys_.has_tried()) keys_.erase_tried();
  return slots_.sweep(published_, now_ms, budget, [&](uint32_t index) {
    if (is_live(index)) return;
    drop(index);
    budget.spend(Budget::kCopyChange);
  });
}

bool SpiCopies::grow() {
  return slots_.grow() || records_.slab().grow(slots_.touched()) || records_.flows().grow(slots_.touched());
}

void SpiCopies::renew_generations() {
  const std::array<uint32_t, 2> generations = {table_.generation(0), table_.generation(1)};
  if (generations == generations_) return;
  generations_ = generations;
  keys_.erase_tried();
  slots_.begin_sweep_now();
}

}  // namespace psp
