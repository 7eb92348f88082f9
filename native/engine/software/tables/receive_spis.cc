// SPDX-License-Identifier: Apache-2.0
// An SPI that is neither seen nor superseded stands in the unseen; a superseded one in the retiring.
#include "engine/software/tables/receive_spis.h"

#include <algorithm>

#include "psp/master_key.h"

namespace psp {

namespace {
constexpr uint32_t kTickBound = 256;
constexpr uint32_t kSweepBound = 2048;
}  // namespace

ReceiveSpis::ReceiveSpis(const Limits& limits, size_t peers, KeyCache& keys, Counters& counters,
                         uint32_t worker_lcores)
    : limits_(limits),
      keys_(keys),
      counters_(counters),
      spis_(limits.max_flows * 2),
      spi_index_(limits.max_flows * 2),
      flows_(limits.max_flows * 2),
      flow_index_(limits.max_flows * 2),
      quota_(limits.max_flows * 2, peers),
      unseen_(peers) {
  if (worker_lcores == 0) return;
  published_ = std::make_unique<ZeroedArray<Seqlock<OpeningSpi>>>(size_t{limits.max_flows} * 2 + 1);
  tallies_ = std::make_unique<Tallies>(worker_lcores, limits.max_flows * 2);
}

ReceiveSpis::ReceiveSpis(uint32_t places, ReceiveSpis& of, KeyCache& keys, Counters& counters)
    : limits_(of.limits_),
      keys_(keys),
      counters_(counters),
      seed_(of.seed_),
      spis_(places),
      spi_index_(1),
      flows_(places),
      flow_index_(1),
      quota_(0, 0) {}

bool ReceiveSpis::grow() {
  const uint32_t used = spis_.touched();
  if (used == 0) return false;
  if (spis_.grow(used) || flows_.grow() || spi_index_.grow() || flow_index_.grow()) return true;
  return published_ && (published_->grow(used) || tallies_->grow(used));
}

bool ReceiveSpis::has_room_for(size_t count, uint16_t peer) const {
  return peer < unseen_.size() && count <= size_t{quota_.available(peer)} + unseen_[peer].count;
}

void ReceiveSpis::withdraw(const FlowKey& inbound, uint32_t spi) {
  const uint32_t number = find_record(spi);
  if (number != 0 && flow_of(number).key == inbound) end(number);
}

uint32_t ReceiveSpis::remove(const FlowKey& inbound) {
  const uint32_t number = find_flow(inbound);
  if (number == 0) return 0;
  const uint32_t count = flows_[number].spis.count;
  // Ending the last one ends the flow's record too.
  for (uint32_t left = count; left > 0; --left) end(flows_[number].spis.head);
  return count;
}

void ReceiveSpis::end_slot(uint8_t slot) {
  generations_[slot].store(generation(slot) + 1, std::memory_order_release);
  sweep_ = 1;
  keys_.erase_tried();
}

uint32_t ReceiveSpis::find(uint32_t spi, uint8_t version, uint32_t hash) const {
  const uint32_t number = find_record(spi, hash);
  return number != 0 && spis_[number].version == version && is_live(spis_[number]) ? number : 0;
}

bool ReceiveSpis::seen(uint32_t number, uint32_t packets, uint64_t octets, uint64_t now_ms) {
  ReceiveSpi& spi = spis_[number];
  InboundFlow& flow = flows_[spi.flow];
  flow.packets += packets;
  flow.bytes += octets;
  flow.seen = true;
  spi.last_seen_ms = now_ms;
  if (!spi.seen) {
    if (!spi.superseded) leave_wait(spi);
    spi.seen = true;
    for (uint32_t older = spi.in_flow.previous; older != 0; older = spis_[older].in_flow.previous) {
      if (spis_[older].superseded) continue;
      leave_wait(spis_[older]);
      spis_[older].superseded = true;
      spis_[older].superseded_ms = now_ms;
      retiring_.push_back(spis_, older);
    }
  }
  return !spi.told;
}

void ReceiveSpis::told(uint32_t number) {
  ReceiveSpi& spi = spis_[number];
  spi.told = true;
  if (!published_) return;
  OpeningSpi opening{};
  opening.flow = flow_of(number).key;
  opening.cookie = spi.cookie;
  opening.spi = spi.spi;
  opening.generation = spi.generation;
  opening.peer = flow_of(number).peer;
  opening.version = spi.version;
  opening.mode = spi.mode;
  (*published_)[number].publish(opening);
}

uint32_t ReceiveSpis::look_up(uint32_t spi, uint8_t version, uint32_t hash, OpeningSpi* copy,
                              uint64_t* sequence, bool* sure) const {
  bool unsure = false;
  const auto matches = [&](uint32_t n) {
    if (!published(n).copy(copy, sequence)) {
      unsure = true;
      return false;
    }
    return copy->spi == spi && copy->version == version;
  };
  const uint32_t number = spi_index_.look_up(hash, matches, sure);
  *sure = *sure && !unsure;
  return number;
}

void ReceiveSpis::put(uint32_t place, const OpeningSpi& copy) {
  ReceiveSpi& spi = spis_[place];
  spi = {};
  spi.cookie = copy.cookie;
  spi.spi = copy.spi;
  spi.generation = copy.generation;
  spi.flow = place;
  spi.version = copy.version;
  spi.mode = copy.mode;
  spi.seen = spi.told = true;
  flows_[place] = {};
  flows_[place].key = copy.flow;
  flows_[place].peer = copy.peer;
}

void ReceiveSpis::clear(uint32_t place) {
  spis_[place] = {};
  flows_[place] = {};
}

Tally ReceiveSpis::take_counted(uint32_t place) {
  InboundFlow& flow = flows_[place];
  const Tally counted{flow.packets, flow.bytes, spis_[place].last_seen_ms};
  flow.packets = flow.bytes = 0;
  return counted;
}

Tally ReceiveSpis::tally_of(uint32_t number) const {
  return tallies_ ? tallies_->sum(number, key_tag(spis_[number].spi, spis_[number].version)) : Tally{};
}

uint64_t ReceiveSpis::last_seen_ms(uint32_t number) const {
  return std::max(spis_[number].last_seen_ms, tally_of(number).last_ms);
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
    const uint32_t number = retiring_.head;
    ReceiveSpi& spi = spis_[number];
    const bool silent = !spi.seen || now_ms >= last_seen_ms(number) + limits_.retire_ms;
    if (silent && now_ms - spi.superseded_ms >= limits_.retire_ms) {
      end(number);
      counters_[Value::kSpisRetired].add();
      budget.spend(Budget::kSpiChange);
    } else {
      retiring_.remove(spis_, number);
      retiring_.push_back(spis_, number);
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
    if (++sweep_ > spis_.touched()) sweep_ = 0;
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
                          [&](uint32_t n) { return flows_[n].key == key; });
}

bool ReceiveSpis::admit(const Admission& entry, uint32_t before, uint64_t now_ms) {
  // An SPI space that restarts can meet the record of a dead one.
  if (const uint32_t dead = find_record(entry.spi)) end(dead);
  if (const uint32_t known = find_flow(entry.inbound)) {
    if (flows_[known].peer == entry.peer) {
      make_room_in(flows_[known], now_ms);
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
    flow = flows_.take();
    flows_[flow].key = entry.inbound;
    flows_[flow].peer = entry.peer;
    flow_index_.insert(hash_octets(seed_, &entry.inbound, sizeof entry.inbound), flow);
    counters_[Value::kInboundFlows].add();
    counters_.peers[entry.peer].inbound_flows.add();
  }
  quota_.take(entry.peer);
  const uint32_t number = spis_.take();
  ReceiveSpi& spi = spis_[number];
  spi.spi = entry.spi;
  spi.version = entry.version;
  spi.mode = entry.mode;
  spi.cookie = entry.cookie;
  spi.flow = flow;
  spi.generation = generation(slot_of(entry.spi));
  spi_index_.insert(hash(entry.spi), number);
  flows_[flow].spis.push_back(spis_, number);
  unseen_[entry.peer].push_back(spis_, number);
  counters_[Value::kReceiveSpis].add();
  return true;
}

void ReceiveSpis::make_room_in(InboundFlow& flow, uint64_t now_ms) {
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

void ReceiveSpis::end(uint32_t number) {
  ReceiveSpi& spi = spis_[number];
  const uint32_t flow = spi.flow;
  if (spi.seen && !spi.told) counters_[Value::kEventsLost].add();
  leave_wait(spi);
  if (published_ && (*published_)[number].withdraw()) {
    endings_.store(endings_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
  const Tally others = tally_of(number);
  flows_[flow].packets += others.packets;
  flows_[flow].bytes += others.bytes;
  flows_[flow].spis.remove(spis_, number);
  spi_index_.erase(hash(spi.spi), number);
  keys_.erase(number, key_tag(spi.spi, spi.version));
  quota_.give_back(flows_[flow].peer);
  spis_.give_back(number);
  counters_[Value::kReceiveSpis].subtract();
  if (!flows_[flow].spis.empty()) return;
  flow_index_.erase(hash_octets(seed_, &flows_[flow].key, sizeof(FlowKey)), flow);
  counters_[Value::kInboundFlows].subtract();
  counters_.peers[flows_[flow].peer].inbound_flows.subtract();
  flows_.give_back(flow);
}

void ReceiveSpis::leave_wait(ReceiveSpi& spi) {
  const uint32_t number = spis_.number_of(spi);
  if (spi.superseded) {
    retiring_.remove(spis_, number);
  } else if (!spi.seen) {
    unseen_[flows_[spi.flow].peer].remove(spis_, number);
  }
}

}  // namespace psp
