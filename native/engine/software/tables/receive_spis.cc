// SPDX-License-Identifier: Apache-2.0
// An SPI that is neither seen nor superseded is in the list of unseen ones; a superseded one in that of
// retiring ones.
#include "engine/software/tables/receive_spis.h"

#include <algorithm>

#include "psp/master_key.h"

namespace psp {

namespace {
constexpr uint32_t kTickBound = 256;
constexpr uint32_t kSweepBound = 2048;
}  // namespace

ReceiveSpis::ReceiveSpis(SpiRecords& records, const Limits& limits, size_t peers, KeyCache& keys,
                         Counters& counters, uint32_t worker_lcores)
    : limits_(limits),
      spis_(records),
      keys_(keys),
      counters_(counters),
      spi_index_(records.slab().capacity()),
      flow_index_(records.slab().capacity()),
      quota_(records.slab().capacity(), peers),
      unseen_(peers),
      published_(worker_lcores, records.slab().capacity()) {}

bool ReceiveSpis::grow() {
  const uint32_t used = spis_.slab().touched();
  if (used == 0) return false;
  if (spis_.slab().grow(used) || spis_.flows().grow()) return true;
  return spi_index_.grow() || flow_index_.grow() || published_.grow(used);
}

bool ReceiveSpis::has_space_for(size_t count, uint16_t peer) const {
  return peer < unseen_.size() && count <= size_t{quota_.available(peer)} + unseen_[peer].count;
}

void ReceiveSpis::withdraw(const FlowKey& inbound, uint32_t spi) {
  const uint32_t index = find_record(spi);
  if (index != 0 && spis_.flow_of(index).key == inbound) end(index);
}

uint32_t ReceiveSpis::remove(const FlowKey& inbound) {
  const uint32_t index = find_flow(inbound);
  if (index == 0) return 0;
  const uint32_t count = spis_.flows()[index].spis.count;
  // Ending the last one ends the flow's record too.
  for (uint32_t left = count; left > 0; --left) end(spis_.flows()[index].spis.head);
  return count;
}

void ReceiveSpis::end_slot(uint8_t slot) {
  generations_[slot].store(generation(slot) + 1, std::memory_order_release);
  sweep_ = 1;
  keys_.erase_tried();
}

uint32_t ReceiveSpis::find(uint32_t spi, uint8_t version, uint32_t hash) const {
  const uint32_t index = find_record(spi, hash);
  return index != 0 && spis_[index].version == version && is_live(spis_[index]) ? index : 0;
}

void ReceiveSpis::mark_seen(uint32_t index, uint64_t now_ms) {
  ReceiveSpi& spi = spis_[index];
  if (spi.seen) return;
  if (!spi.superseded) leave_wait(spi);
  spi.seen = true;
  spis_.flow_of(index).seen = true;
  for (uint32_t older = spi.in_flow.previous; older != 0; older = spis_[older].in_flow.previous) {
    if (spis_[older].superseded) continue;
    leave_wait(spis_[older]);
    spis_[older].superseded = true;
    spis_[older].superseded_ms = now_ms;
    retiring_.push_back(spis_.slab(), older);
  }
}

void ReceiveSpis::reported(uint32_t index) {
  ReceiveSpi& spi = spis_[index];
  spi.reported = true;
  const InboundFlow& flow = spis_.flow_of(index);
  OpeningSpi opening{};
  opening.flow = flow.key;
  opening.cookie = spi.cookie;
  opening.spi = spi.spi;
  opening.generation = spi.generation;
  opening.peer = flow.peer;
  opening.version = spi.version;
  opening.mode = spi.mode;
  published_.publish(index, opening);
}

Tally ReceiveSpis::tally_of(uint32_t index) const {
  return published_.tallies().sum(index, SpiRecords::key_tag(spis_[index].spi, spis_[index].version));
}

uint64_t ReceiveSpis::last_seen_ms(uint32_t index) const {
  return std::max(spis_[index].last_seen_ms, tally_of(index).last_ms);
}

Tally ReceiveSpis::counted(const InboundFlow& flow) const {
  Tally sum{flow.packets, flow.bytes, 0};
  for (uint32_t n = flow.spis.head; n != 0; n = spis_[n].in_flow.next) {
    const Tally others = tally_of(n);
    sum.packets += others.packets;
    sum.bytes += others.bytes;
  }
  return sum;
}

bool ReceiveSpis::tick(uint64_t now_ms, Budget& budget) {
  retirements_.begin(now_ms, std::min(retiring_.count, kTickBound));
  sweeps_.begin(now_ms, sweep_ != 0 ? kSweepBound : 0);
  retire(now_ms, budget);
  sweep(budget);
  return !retirements_.is_unfinished() && !sweeps_.is_unfinished();
}

void ReceiveSpis::retire(uint64_t now_ms, Budget& budget) {
  while (!retiring_.empty() && retirements_.next(budget)) {
    const uint32_t index = retiring_.head;
    ReceiveSpi& spi = spis_[index];
    const bool silent = !spi.seen || now_ms >= last_seen_ms(index) + limits_.retire_ms;
    if (silent && now_ms - spi.superseded_ms >= limits_.retire_ms) {
      end(index);
      counters_[Value::kSpisRetired].add();
      budget.spend(Budget::kSpiChange);
    } else {
      retiring_.remove(spis_.slab(), index);
      retiring_.push_back(spis_.slab(), index);
      budget.spend(1);
    }
  }
  if (retiring_.empty()) retirements_.end();
}

void ReceiveSpis::sweep(Budget& budget) {
  while (sweep_ != 0 && sweeps_.next(budget)) {
    if (spis_[sweep_].used && !is_live(spis_[sweep_])) {
      end(sweep_);
      budget.spend(Budget::kSpiChange);
    } else {
      budget.spend(1);
    }
    if (++sweep_ > spis_.slab().touched()) sweep_ = 0;
  }
  if (sweep_ == 0) sweeps_.end();
}

uint32_t ReceiveSpis::newest_live(const InboundFlow& flow, uint8_t* live) const {
  uint32_t newest = 0;
  *live = 0;
  for (uint32_t n = flow.spis.head; n != 0; n = spis_[n].in_flow.next) {
    if (!is_live(spis_[n])) continue;
    newest = n;
    ++*live;
  }
  return newest;
}

uint32_t ReceiveSpis::find_flow(const FlowKey& key) const {
  return flow_index_.find(hash_octets(seed_, &key, sizeof key),
                          [&](uint32_t n) { return spis_.flows()[n].key == key; });
}

bool ReceiveSpis::admit(const Admission& entry, uint32_t before, uint64_t now_ms) {
  // An SPI space that restarts can meet the record of a dead one.
  if (const uint32_t dead = find_record(entry.spi)) end(dead);
  if (const uint32_t known = find_flow(entry.inbound)) {
    if (spis_.flows()[known].peer == entry.peer) {
      make_space_in(spis_.flows()[known], now_ms);
    } else {
      remove(entry.inbound);
    }
  }
  if (quota_.available(entry.peer) == 0) {
    if (unseen_[entry.peer].count <= before) return false;
    end(unseen_[entry.peer].head);
    counters_[Value::kSpisEvicted].add();
  }

  // Whatever ended above may have ended the flow's record.
  uint32_t flow = find_flow(entry.inbound);
  if (flow == 0) {
    flow = spis_.flows().take();
    spis_.flows()[flow].key = entry.inbound;
    spis_.flows()[flow].peer = entry.peer;
    flow_index_.insert(hash_octets(seed_, &entry.inbound, sizeof entry.inbound), flow);
    counters_[Value::kInboundFlows].add();
    counters_.peers[entry.peer].inbound_flows.add();
  }
  quota_.take(entry.peer);
  const uint32_t index = spis_.slab().take();
  ReceiveSpi& spi = spis_[index];
  spi.spi = entry.spi;
  spi.version = entry.version;
  spi.mode = entry.mode;
  spi.cookie = entry.cookie;
  spi.flow = flow;
  spi.generation = generation(slot_of(entry.spi));
  spi_index_.insert(hash(entry.spi), index);
  spis_.flows()[flow].spis.push_back(spis_.slab(), index);
  unseen_[entry.peer].push_back(spis_.slab(), index);
  counters_[Value::kReceiveSpis].add();
  return true;
}

void ReceiveSpis::make_space_in(InboundFlow& flow, uint64_t now_ms) {
  if (flow.spis.count < limits_.per_flow) return;
  uint32_t kept = flow.spis.tail;
  while (kept != 0 && !(spis_[kept].seen && now_ms < last_seen_ms(kept) + limits_.retire_ms)) {
    kept = spis_[kept].in_flow.previous;
  }
  uint32_t oldest = flow.spis.head;
  if (oldest == kept) oldest = spis_[oldest].in_flow.next;
  if (oldest == 0) oldest = kept;
  end(oldest);
  counters_[Value::kSpisRetired].add();
}

void ReceiveSpis::end(uint32_t index) {
  ReceiveSpi& spi = spis_[index];
  const uint32_t flow = spi.flow;
  if (spi.seen && !spi.reported) counters_[Value::kEventsLost].add();
  leave_wait(spi);
  published_.withdraw(index);
  const Tally others = tally_of(index);
  spis_.flows()[flow].packets += others.packets;
  spis_.flows()[flow].bytes += others.bytes;
  spis_.flows()[flow].spis.remove(spis_.slab(), index);
  spi_index_.erase(hash(spi.spi), index);
  keys_.erase(index, SpiRecords::key_tag(spi.spi, spi.version));
  quota_.give_back(spis_.flows()[flow].peer);
  spis_.slab().give_back(index);
  counters_[Value::kReceiveSpis].subtract();
  if (!spis_.flows()[flow].spis.empty()) return;
  flow_index_.erase(hash_octets(seed_, &spis_.flows()[flow].key, sizeof(FlowKey)), flow);
  counters_[Value::kInboundFlows].subtract();
  counters_.peers[spis_.flows()[flow].peer].inbound_flows.subtract();
  spis_.flows().give_back(flow);
}

void ReceiveSpis::leave_wait(ReceiveSpi& spi) {
  const uint32_t index = spis_.slab().index_of(spi);
  if (spi.superseded) {
    retiring_.remove(spis_.slab(), index);
  } else if (!spi.seen) {
    unseen_[spis_.flows()[spi.flow].peer].remove(spis_.slab(), index);
  }
}

}  // namespace psp
