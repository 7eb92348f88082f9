// SPDX-License-Identifier: Apache-2.0
// The main lcore's table is read only where there is no copy, or one that is out of date. What packets count
// stays in the copy until the burst ends, or until the slot gets another flow. An expanded key in the cache
// belongs to the copy in its slot: it ends with the copy, or when the copy gets another key.
#include "engine/software/tables/flow_copies.h"

#include <cstring>

#include "psp/secret.h"

namespace psp {

FlowCopies::FlowCopies(FlowTable& table, FlowRecords& records, KeyCache& keys, uint32_t lcore)
    : table_(table),
      published_(table.published()),
      seed_(table.seed()),
      records_(records),
      keys_(keys),
      lcore_(lcore),
      slots_(records.slab().capacity()) {}

uint32_t FlowCopies::find(const FlowKey& key, uint32_t hash, bool* renewed) {
  uint32_t index = slots_.find(hash, [&](uint32_t at) { return records_[at].key == key; });
  *renewed = index == 0 || !published_[slots_[index].record].is_current(slots_[index].sequence);
  if (*renewed) {
    index = renew(key, hash, index);
    *renewed = index != 0;
  }
  if (index != 0) slots_.touch(index);
  return index;
}

uint32_t FlowCopies::look_up(const FlowKey& key, uint32_t hash, SendingFlow* copy, uint64_t* sequence) const {
  const auto matches = [&](uint32_t n) { return published_[n].copy(copy, sequence) && copy->key == key; };
  bool sure;
  return table_.index().look_up(hash, matches, &sure);
}

// `index`: of a copy that is out of date, or 0.
uint32_t FlowCopies::renew(const FlowKey& key, uint32_t hash, uint32_t index) {
  SendingFlow copy;
  uint64_t sequence;
  const uint32_t record = look_up(key, hash, &copy, &sequence);
  if (record == 0) return 0;
  uint8_t octets[FlowRecords::kKeyBytes];
  load_shared(octets, table_.key_bytes(record), sizeof octets);
  const bool whole = published_[record].is_current(sequence);
  if (whole) {
    if (index == 0) {
      if (slots_.full()) drop(slots_.victim());
      index = slots_.allocate(hash);
    } else {
      report(index);
      const uint64_t tag = records_[index].key_tag;
      if (tag != copy.key_tag) replaced_.push_back({index, tag});
    }
    store(index, copy, octets);
    slots_[index].record = record;
    slots_[index].sequence = sequence;
  }
  wipe(octets, sizeof octets);
  return whole ? index : 0;
}

void FlowCopies::store(uint32_t index, const SendingFlow& copy, const uint8_t key[FlowRecords::kKeyBytes]) {
  EgressFlow& flow = records_[index];
  const uint8_t key_misses = flow.key == copy.key ? flow.key_misses : 0;
  flow = {};
  flow.key = copy.key;
  flow.key_misses = key_misses;
  flow.outer_destination = copy.outer_destination;
  flow.cookie = copy.cookie;
  flow.key_tag = copy.key_tag;
  flow.spi = copy.spi;
  flow.path_mtu_until_s = copy.path_mtu_until_s;
  flow.path_mtu = copy.path_mtu;
  flow.peer = copy.peer;
  flow.version = copy.version;
  flow.mode = copy.mode;
  flow.state = EgressFlow::State::kKeyed;
  records_.begin_ivs_at(copy.first_iv);
  std::memcpy(records_.key_bytes(index), key, FlowRecords::kKeyBytes);
}

uint32_t FlowCopies::prefetch_copy(uint32_t hash) const {
  const uint32_t index = slots_.prefetch_slot(hash);
  if (index == 0) {
    table_.prefetch(hash);
  } else {
    records_.prefetch(index);
  }
  return index;
}

void FlowCopies::prefetch_rest(uint32_t index, size_t length) const {
  const uint32_t record = slots_[index].record;
  __builtin_prefetch(&published_[record]);
  published_.tallies().prefetch(lcore_, record);
  const EgressFlow& flow = records_[index];
  keys_.prefetch(keys_.slot_for(index, flow.key_misses), flow.version, length);
}

void FlowCopies::end_burst() {
  slots_.end_burst([&](uint32_t index) { report(index); });
  for (const Replaced& one : replaced_) keys_.erase(one.index, one.key_tag);
  replaced_.clear();
}

void FlowCopies::report(uint32_t index) {
  EgressFlow& flow = records_[index];
  if (flow.packets == 0) return;
  published_.tallies().add(lcore_, slots_[index].record, flow.key_tag, {flow.packets, flow.bytes, 0});
  flow.packets = flow.bytes = 0;
}

void FlowCopies::drop(uint32_t index) {
  report(index);
  keys_.erase(index, records_[index].key_tag);
  slots_.give_back(index, hash(records_[index].key));
  records_[index] = {};
  wipe(records_.key_bytes(index), FlowRecords::kKeyBytes);
}

bool FlowCopies::sweep(uint64_t now_ms, Budget& budget) {
  return slots_.sweep(published_, now_ms, budget, [&](uint32_t index) {
    const auto& copy = slots_[index];
    if (published_[copy.record].is_current(copy.sequence)) return;
    drop(index);
    budget.spend(Budget::kCopyChange);
  });
}

}  // namespace psp
