// SPDX-License-Identifier: Apache-2.0
// State changes go through leave_state, which removes the record from its list and from the counts. The index
// of tunnels has no key twice, because a peer that gives one SPI to all its flows would turn it into a list.
#include "engine/software/tables/flow_table.h"

#include <algorithm>
#include <cstring>

#include "psp/aead.h"
#include "psp/secret.h"

namespace psp {

namespace {
constexpr uint32_t kTickBound = 64;
}

FlowTable::FlowTable(FlowRecords& records, IvCounter& ivs, uint32_t wants_per_peer, size_t peers,
                     Counters& counters, uint32_t worker_lcores)
    : wants_per_peer_(wants_per_peer),
      counters_(counters),
      flows_(records),
      ivs_(ivs),
      index_(records.slab().capacity()),
      tunnel_index_(records.slab().capacity()),
      quota_(records.slab().capacity(), peers),
      wants_(peers),
      packets_before_key_(size_t{records.slab().capacity()} + 1),
      drained_at_(size_t{records.slab().capacity()} + 1),
      published_(worker_lcores, records.slab().capacity()) {}

bool FlowTable::grow() {
  const uint32_t used = touched();
  if (used == 0) return false;
  return flows_.slab().grow(used) || index_.grow() || tunnel_index_.grow() || published_.grow(used) ||
         packets_before_key_.grow(used);
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
  const uint32_t index = add(key, peer);
  if (index == 0) {
    *reason = Drop::kEgressTableFull;
    return 0;
  }
  ++wants_[peer];
  flows_[index].state = EgressFlow::State::kUnreported;
  flows_[index].until_ms = until_ms;
  unreported_.push_back(flows_.slab(), index);
  counters_[Value::kWanted].add();
  return index;
}

uint32_t FlowTable::install(const FlowKey& key, uint16_t peer, const EgressKey& egress_key) {
  uint32_t index = find(key);
  if (index == 0) index = add(key, peer);
  if (index == 0) return 0;
  withdraw(index);
  EgressFlow& flow = flows_[index];
  const size_t length = key_length(egress_key.version);
  const bool same = flow.state == EgressFlow::State::kKeyed && flow.spi == egress_key.spi &&
                    flow.version == egress_key.version &&
                    std::memcmp(flows_.key_bytes(index), egress_key.key.data(), length) == 0;
  if (flow.state != EgressFlow::State::kKeyed) {
    leave_state(index);
    flow.state = EgressFlow::State::kKeyed;
    counters_[Value::kKeyed].add();
    counters_.peers[flow.peer].keyed_flows.add();
  } else {
    leave_tunnel_index(index);
  }
  // A path MTU that was learned on one path does not apply to another.
  if (flow.outer_destination != egress_key.outer_destination) flow.path_mtu = 0;
  flow.outer_destination = egress_key.outer_destination;
  flow.cookie = egress_key.cookie;
  flow.mode = egress_key.mode;
  flow.spi = egress_key.spi;
  flow.version = egress_key.version;
  index_tunnel(index);
  if (!same) {
    first_iv_ = std::max(first_iv_, egress_key.first_iv);
    ivs_.raise(first_iv_);
    flows_.begin_ivs_at(first_iv_);
    take_tally(index);
    packets_before_key_[index] = static_cast<uint32_t>(flow.packets);
    flow.worn_reported = false;
    flow.key_tag = ++last_key_tag_;
    set_key(index, egress_key.key.data(), length);
  }
  // Held packets leave first.
  if (!flow.held.empty()) set_draining(index, true);
  publish(index);
  return index;
}

void FlowTable::reported(uint32_t index) {
  unreported_.remove(flows_.slab(), index);
  flows_[index].state = EgressFlow::State::kWanted;
  wanted_.push_back(flows_.slab(), index);
}

uint32_t FlowTable::overdue(uint64_t now_ms) const {
  for (const FlowList* list : {&wanted_, &unreported_}) {
    if (!list->empty() && now_ms >= flows_[list->head].until_ms) return list->head;
  }
  return 0;
}

void FlowTable::refuse(uint32_t index, uint64_t until_ms) {
  const uint16_t peer = flows_[index].peer;
  leave_state(index);
  ++wants_[peer];
  flows_[index].state = EgressFlow::State::kRefused;
  flows_[index].until_ms = until_ms;
  refused_.push_back(flows_.slab(), index);
}

void FlowTable::want_again(uint32_t index, uint64_t until_ms) {
  const uint16_t peer = flows_[index].peer;
  leave_state(index);
  ++wants_[peer];
  flows_[index].state = EgressFlow::State::kUnreported;
  flows_[index].until_ms = until_ms;
  unreported_.push_back(flows_.slab(), index);
  counters_[Value::kWanted].add();
}

void FlowTable::set_draining(uint32_t index, bool draining) {
  if (flows_[index].draining == draining) return;
  flows_[index].draining = draining;
  flows_[index].drained = false;
  if (draining) {
    draining_.push_back(flows_.slab(), index);
  } else {
    draining_.remove(flows_.slab(), index);
  }
  publish(index);
}

void FlowTable::set_drained(uint32_t index, uint32_t position) {
  flows_[index].drained = true;
  drained_at_[index] = position;
}

void FlowTable::set_path_mtu(uint32_t index, uint16_t mtu, uint32_t until_s) {
  flows_[index].path_mtu = mtu;
  flows_[index].path_mtu_until_s = until_s;
  publish(index);
}

Tally FlowTable::counted(uint32_t index) const {
  const EgressFlow& flow = flows_[index];
  Tally sum = published_.tallies().sum(index, flow.key_tag);
  sum.packets += flow.packets;
  sum.bytes += flow.bytes;
  return sum;
}

void FlowTable::publish(uint32_t index) {
  if (!published_.is_shared()) return;
  const EgressFlow& flow = flows_[index];
  if (flow.state != EgressFlow::State::kKeyed || flow.draining) return withdraw(index);
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
  published_.publish(index, sending);
}

void FlowTable::withdraw(uint32_t index) {
  published_.withdraw(index);
}

void FlowTable::wear_out(uint32_t index) {
  take_tally(index);
  leave_state(index);
  flows_[index].state = EgressFlow::State::kWorn;
  set_key(index, nullptr, 0);
}

// The rest of the octets is zero; without a key all of them are.
void FlowTable::set_key(uint32_t index, const uint8_t* key, size_t length) {
  uint8_t octets[FlowRecords::kKeyBytes] = {};
  std::copy_n(key, length, octets);
  store_shared(flows_.key_bytes(index), octets, sizeof octets);
  wipe(octets, sizeof octets);
}

// Keeps what worker lcores counted under a tag that ends.
void FlowTable::take_tally(uint32_t index) {
  EgressFlow& flow = flows_[index];
  const Tally sum = counted(index);
  flow.packets = sum.packets;
  flow.bytes = sum.bytes;
}

void FlowTable::remove(uint32_t index) {
  EgressFlow& flow = flows_[index];
  leave_state(index);
  set_key(index, nullptr, 0);
  index_.erase(hash(flow.key), index);
  quota_.give_back(flow.peer);
  flows_.slab().give_back(index);
}

bool FlowTable::tick(uint64_t now_ms, Budget& budget) {
  refusals_.begin(now_ms, std::min(refused_.count, kTickBound));
  // Packets that want a key again may shorten the list between turns.
  while (!refused_.empty() && refusals_.next(budget)) {
    const uint32_t index = refused_.head;
    if (now_ms >= flows_[index].until_ms) {
      remove(index);
      budget.spend(Budget::kFlowChange);
    } else {
      refused_.remove(flows_.slab(), index);
      refused_.push_back(flows_.slab(), index);
      budget.spend(1);
    }
  }
  return refused_.empty() || !refusals_.is_unfinished();
}

uint32_t FlowTable::add(const FlowKey& key, uint16_t peer) {
  if (quota_.available(peer) == 0) return 0;
  quota_.take(peer);
  const uint32_t index = flows_.slab().take();
  flows_[index].key = key;
  flows_[index].peer = peer;
  index_.insert(hash(key), index);
  return index;
}

void FlowTable::leave_state(uint32_t index) {
  EgressFlow& flow = flows_[index];
  switch (flow.state) {
    case EgressFlow::State::kFree:
    case EgressFlow::State::kWorn:
      break;
    case EgressFlow::State::kUnreported:
    case EgressFlow::State::kWanted:
      (flow.state == EgressFlow::State::kUnreported ? unreported_ : wanted_).remove(flows_.slab(), index);
      counters_[Value::kWanted].subtract();
      --wants_[flow.peer];
      break;
    case EgressFlow::State::kRefused:
      refused_.remove(flows_.slab(), index);
      --wants_[flow.peer];
      break;
    case EgressFlow::State::kKeyed:
      withdraw(index);
      if (flow.draining) draining_.remove(flows_.slab(), index);
      flow.draining = flow.drained = false;
      leave_tunnel_index(index);
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

void FlowTable::index_tunnel(uint32_t index) {
  const EgressFlow& flow = flows_[index];
  if (flow.mode != Mode::kTunnel || find_tunnel(flow.outer_destination, flow.spi) != 0) return;
  tunnel_index_.insert(tunnel_hash(flow.outer_destination, flow.spi), index);
}

void FlowTable::leave_tunnel_index(uint32_t index) {
  const EgressFlow& flow = flows_[index];
  if (flow.mode == Mode::kTunnel) {
    tunnel_index_.erase(tunnel_hash(flow.outer_destination, flow.spi), index);
  }
}

}  // namespace psp
