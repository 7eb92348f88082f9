// SPDX-License-Identifier: Apache-2.0
// State changes go through leave_state, which takes the record off its list and out of the counts. The index
// of tunnels has no key twice: a peer that gives one SPI to all its flows must not make it a list.
#include "engine/software/tables/flow_table.h"

#include <algorithm>
#include <cstring>

#include "psp/aead.h"
#include "psp/secret.h"

namespace psp {

namespace {
constexpr uint32_t kTickBound = 64;
}

FlowTable::FlowTable(uint32_t max_flows, uint32_t wants_per_peer, size_t peers, Counters& counters,
                     uint32_t worker_lcores)
    : wants_per_peer_(wants_per_peer),
      counters_(counters),
      flows_(max_flows),
      index_(max_flows),
      tunnel_index_(max_flows),
      quota_(max_flows, peers),
      key_memory_((size_t{max_flows} + 1) * kKeyBytes),
      keys_(static_cast<uint8_t*>(allocate_secret(key_memory_))),
      wants_(peers),
      drained_at_(size_t{max_flows} + 1),
      ivs_(iv_counter_) {
  if (worker_lcores == 0) return;
  published_ = std::make_unique<ZeroedArray<Seqlock<SendingFlow>>>(size_t{max_flows} + 1);
  tallies_ = std::make_unique<Tallies>(worker_lcores, max_flows);
}

FlowTable::FlowTable(uint32_t places, FlowTable& of, Counters& counters)
    : wants_per_peer_(0),
      counters_(counters),
      seed_(of.seed_),
      flows_(places),
      index_(1),
      tunnel_index_(1),
      quota_(0, 0),
      key_memory_((size_t{places} + 1) * kKeyBytes),
      keys_(static_cast<uint8_t*>(allocate_secret(key_memory_))),
      drained_at_(1),
      ivs_(of.iv_counter_) {}

FlowTable::~FlowTable() {
  free_secret(keys_, key_memory_);
}

bool FlowTable::grow() {
  const uint32_t used = flows_.touched();
  if (used == 0) return false;
  if (flows_.grow(used) || index_.grow() || tunnel_index_.grow()) return true;
  return published_ && (published_->grow(used) || tallies_->grow(used));
}

uint32_t FlowTable::find_tunnel(const Address& outer_destination, uint32_t spi) const {
  return tunnel_index_.find(tunnel_hash(outer_destination, spi), [&](uint32_t n) {
    return flows_[n].spi == spi && flows_[n].outer_destination == outer_destination;
  });
}

uint32_t FlowTable::add_wanted(const FlowKey& key, uint16_t peer, uint64_t until_ms, Drop* reason) {
  if (wants_[peer] >= wants_per_peer_) {
    *reason = Drop::kEgressWantLimit;
    return 0;
  }
  const uint32_t number = add(key, peer);
  if (number == 0) {
    *reason = Drop::kEgressTableFull;
    return 0;
  }
  ++wants_[peer];
  flows_[number].state = EgressFlow::State::kUnreported;
  flows_[number].until_ms = until_ms;
  unreported_.push_back(flows_, number);
  counters_[Value::kWanted].add();
  return number;
}

uint32_t FlowTable::install(const FlowKey& key, uint16_t peer, const EgressKey& egress_key) {
  uint32_t number = find(key);
  if (number == 0) number = add(key, peer);
  if (number == 0) return 0;
  withdraw(number);
  EgressFlow& flow = flows_[number];
  const size_t length = key_length(egress_key.version);
  const bool same = flow.state == EgressFlow::State::kKeyed && flow.spi == egress_key.spi &&
                    flow.version == egress_key.version &&
                    std::memcmp(key_bytes(number), egress_key.key.data(), length) == 0;
  if (flow.state != EgressFlow::State::kKeyed) {
    leave_state(number);
    flow.state = EgressFlow::State::kKeyed;
    counters_[Value::kKeyed].add();
    counters_.peers[flow.peer].keyed_flows.add();
  } else {
    leave_tunnel_index(number);
  }
  // What was learned of one path says nothing of another.
  if (flow.outer_destination != egress_key.outer_destination) flow.path_mtu = 0;
  flow.outer_destination = egress_key.outer_destination;
  flow.cookie = egress_key.cookie;
  flow.mode = egress_key.mode;
  flow.spi = egress_key.spi;
  flow.version = egress_key.version;
  index_tunnel(number);
  if (!same) {
    first_iv_ = std::max(first_iv_, egress_key.first_iv);
    iv_counter_.raise(first_iv_);
    ivs_.leave_below(first_iv_);
    take_tally(number);
    flow.key_tag = ++last_key_tag_;
    set_key(number, egress_key.key.data(), length);
  }
  // What is held leaves first.
  if (!flow.held.empty()) set_draining(number, true);
  publish(number);
  return number;
}

void FlowTable::told(uint32_t number) {
  unreported_.remove(flows_, number);
  flows_[number].state = EgressFlow::State::kWanted;
  wanted_.push_back(flows_, number);
}

uint32_t FlowTable::overdue(uint64_t now_ms) const {
  for (const FlowList* list : {&wanted_, &unreported_}) {
    if (!list->empty() && now_ms >= flows_[list->head].until_ms) return list->head;
  }
  return 0;
}

void FlowTable::refuse(uint32_t number, uint64_t until_ms) {
  const uint16_t peer = flows_[number].peer;
  leave_state(number);
  ++wants_[peer];
  flows_[number].state = EgressFlow::State::kRefused;
  flows_[number].until_ms = until_ms;
  refused_.push_back(flows_, number);
}

void FlowTable::want_again(uint32_t number, uint64_t until_ms) {
  const uint16_t peer = flows_[number].peer;
  leave_state(number);
  ++wants_[peer];
  flows_[number].state = EgressFlow::State::kUnreported;
  flows_[number].until_ms = until_ms;
  unreported_.push_back(flows_, number);
  counters_[Value::kWanted].add();
}

void FlowTable::set_draining(uint32_t number, bool draining) {
  if (flows_[number].draining == draining) return;
  flows_[number].draining = draining;
  flows_[number].drained = false;
  if (draining) {
    draining_.push_back(flows_, number);
  } else {
    draining_.remove(flows_, number);
  }
  publish(number);
}

void FlowTable::set_drained(uint32_t number, uint32_t position) {
  flows_[number].drained = true;
  drained_at_[number] = position;
}

void FlowTable::set_path_mtu(uint32_t number, uint16_t mtu, uint32_t until_s) {
  flows_[number].path_mtu = mtu;
  flows_[number].path_mtu_until_s = until_s;
  publish(number);
}

Tally FlowTable::counted(uint32_t number) const {
  const EgressFlow& flow = flows_[number];
  Tally sum;
  if (tallies_) sum = tallies_->sum(number, flow.key_tag);
  sum.packets += flow.packets;
  sum.bytes += flow.bytes;
  return sum;
}

uint32_t FlowTable::look_up(const FlowKey& key, uint32_t hash, SendingFlow* copy, uint64_t* sequence) const {
  const auto matches = [&](uint32_t n) { return published(n).copy(copy, sequence) && copy->key == key; };
  bool sure;
  return index_.look_up(hash, matches, &sure);
}

bool FlowTable::copy_key(uint32_t number, uint64_t sequence, uint8_t key[kKeyBytes]) const {
  load_shared(key, key_bytes(number), kKeyBytes);
  return published(number).is_current(sequence);
}

void FlowTable::put(uint32_t place, const SendingFlow& copy, const uint8_t key[kKeyBytes]) {
  EgressFlow& flow = flows_[place];
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
  ivs_.leave_below(copy.first_iv);
  std::memcpy(mutable_key(place), key, kKeyBytes);
}

void FlowTable::clear(uint32_t place) {
  flows_[place] = {};
  wipe(mutable_key(place), kKeyBytes);
}

void FlowTable::publish(uint32_t number) {
  if (!published_) return;
  const EgressFlow& flow = flows_[number];
  if (flow.state != EgressFlow::State::kKeyed || flow.draining) return withdraw(number);
  SendingFlow sending{};
  sending.key = flow.key;
  sending.outer_destination = flow.outer_destination;
  sending.cookie = flow.cookie;
  sending.key_tag = flow.key_tag;
  sending.first_iv = first_iv_;
  sending.spi = flow.spi;
  sending.path_mtu_until_s = flow.path_mtu_until_s;
  sending.path_mtu = flow.path_mtu;
  sending.peer = flow.peer;
  sending.version = flow.version;
  sending.mode = flow.mode;
  (*published_)[number].publish(sending);
}

void FlowTable::withdraw(uint32_t number) {
  if (!published_ || !(*published_)[number].withdraw()) return;
  endings_.store(endings_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

// Zeros behind its end; none: zeros.
void FlowTable::set_key(uint32_t number, const uint8_t* key, size_t length) {
  uint8_t octets[kKeyBytes] = {};
  std::copy_n(key, length, octets);
  store_shared(mutable_key(number), octets, sizeof octets);
  wipe(octets, sizeof octets);
}

// Counts under a tag that ends stay with the flow.
void FlowTable::take_tally(uint32_t number) {
  EgressFlow& flow = flows_[number];
  const Tally sum = counted(number);
  flow.packets = sum.packets;
  flow.bytes = sum.bytes;
}

void FlowTable::remove(uint32_t number) {
  EgressFlow& flow = flows_[number];
  leave_state(number);
  set_key(number, nullptr, 0);
  index_.erase(hash(flow.key), number);
  quota_.give_back(flow.peer);
  flows_.give_back(number);
}

bool FlowTable::tick(uint64_t now_ms, Budget& budget) {
  refusals_.begin(now_ms, std::min(refused_.count, kTickBound));
  // Packets that want a key again shorten the list between turns.
  while (!refused_.empty() && refusals_.next(budget)) {
    const uint32_t number = refused_.head;
    if (now_ms >= flows_[number].until_ms) {
      remove(number);
      budget.spend(Budget::kFlowChange);
    } else {
      refused_.remove(flows_, number);
      refused_.push_back(flows_, number);
      budget.spend(1);
    }
  }
  return refused_.empty() || !refusals_.is_unfinished();
}

uint32_t FlowTable::add(const FlowKey& key, uint16_t peer) {
  if (quota_.available(peer) == 0) return 0;
  quota_.take(peer);
  const uint32_t number = flows_.take();
  flows_[number].key = key;
  flows_[number].peer = peer;
  index_.insert(hash(key), number);
  return number;
}

void FlowTable::leave_state(uint32_t number) {
  EgressFlow& flow = flows_[number];
  switch (flow.state) {
    case EgressFlow::State::kFree:
      break;
    case EgressFlow::State::kUnreported:
    case EgressFlow::State::kWanted:
      (flow.state == EgressFlow::State::kUnreported ? unreported_ : wanted_).remove(flows_, number);
      counters_[Value::kWanted].subtract();
      --wants_[flow.peer];
      break;
    case EgressFlow::State::kRefused:
      refused_.remove(flows_, number);
      --wants_[flow.peer];
      break;
    case EgressFlow::State::kKeyed:
      withdraw(number);
      if (flow.draining) draining_.remove(flows_, number);
      flow.draining = flow.drained = false;
      leave_tunnel_index(number);
      counters_[Value::kKeyed].subtract();
      counters_.peers[flow.peer].keyed_flows.subtract();
      break;
  }
  flow.state = EgressFlow::State::kFree;
}

uint32_t FlowTable::tunnel_hash(const Address& outer_destination, uint32_t spi) const {
  uint8_t octets[32] = {};
  std::memcpy(octets, outer_destination.data(), outer_destination.size());
  std::memcpy(octets + 16, &spi, sizeof spi);
  return hash_octets(seed_, octets, sizeof octets);
}

void FlowTable::index_tunnel(uint32_t number) {
  const EgressFlow& flow = flows_[number];
  if (flow.mode != Mode::kTunnel || find_tunnel(flow.outer_destination, flow.spi) != 0) return;
  tunnel_index_.insert(tunnel_hash(flow.outer_destination, flow.spi), number);
}

void FlowTable::leave_tunnel_index(uint32_t number) {
  const EgressFlow& flow = flows_[number];
  if (flow.mode == Mode::kTunnel) {
    tunnel_index_.erase(tunnel_hash(flow.outer_destination, flow.spi), number);
  }
}

}  // namespace psp
