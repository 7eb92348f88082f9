// SPDX-License-Identifier: Apache-2.0
// The table of egress flows: those that want a key, those that have one, and those that were refused a moment
// ago. Flows without a key take want slots, bounded per peer, so that a scan cannot fill the table; the table
// itself is divided between the peers. Only the main lcore reads and writes it. Flows that have a key and
// hold no packets are published for the worker lcores (published.h), which keep copies of them
// (flow_copies.h).
#pragma once

#include <cstdint>
#include <vector>

#include "engine/budget.h"
#include "engine/commands.h"
#include "engine/counters.h"
#include "engine/memory/hash_index.h"
#include "engine/memory/quota.h"
#include "engine/memory/slab.h"
#include "engine/software/tables/flow_records.h"
#include "engine/software/tables/iv_blocks.h"
#include "engine/software/tables/published.h"
#include "engine/software/tables/tallies.h"

namespace psp {

// What sealing needs of a flow that has a key and holds no packets.
struct SendingFlow {
  FlowKey key;
  Address outer_destination;
  uint64_t cookie;
  uint64_t key_tag;
  uint64_t first_iv;  // none below it serves this key
  uint32_t spi;
  uint32_t path_mtu_until_s;
  uint16_t path_mtu;
  uint16_t peer;
  uint8_t version;
  Mode mode;
  uint8_t unused[2];
};

class FlowTable {
 public:
  using FlowList = List<EgressFlow, &EgressFlow::link>;

  // Allocates its flows among the records, which outlive it. For `worker_lcores` flows are published. Throws
  // std::bad_alloc.
  FlowTable(FlowRecords& records, IvCounter& ivs, uint32_t wants_per_peer, size_t peers, Counters& counters,
            uint32_t worker_lcores = 0);
  FlowTable(const FlowTable&) = delete;
  FlowTable& operator=(const FlowTable&) = delete;

  // The flow's record, or 0.
  uint32_t find(const FlowKey& key) const { return find(key, hash(key)); }
  // The same in steps for a burst, so that memory is read for many flows at once: the hash of each, its index
  // slot, then its record, then find. prefetch_record returns the index of the likely record, or 0.
  uint32_t hash(const FlowKey& key) const { return hash_octets(seed_, &key, sizeof key); }
  void prefetch(uint32_t hash) const { index_.prefetch(hash); }
  uint32_t prefetch_record(uint32_t hash) const {
    const uint32_t index = index_.candidate(hash);
    flows_.prefetch(index);
    return index;
  }
  uint32_t find(const FlowKey& key, uint32_t hash) const {
    return index_.find(hash, [&](uint32_t n) { return flows_[n].key == key; });
  }
  // The record of a flow with a key in tunnel mode, by the outer destination and SPI of its packets, or 0.
  // Where a peer gave one SPI to several flows, only the first is found, and none once that one is removed.
  uint32_t find_tunnel(const Address& outer_destination, uint32_t spi) const;
  // A new record that wants a key until then and was not reported yet. 0, with the reason, when a limit is
  // reached.
  uint32_t add_wanted(const FlowKey& key, uint16_t peer, uint64_t until_ms, Drop* reason);
  // Installs a key, with a new record where there is none; 0 when the table is full.
  uint32_t install(const FlowKey& key, uint16_t peer, const EgressKey& egress_key);

  // The control side received the flow's miss event.
  void reported(uint32_t index);
  void refuse(uint32_t index, uint64_t until_ms);
  // Wants a key again after a hold-down, until then.
  void want_again(uint32_t index, uint64_t until_ms);
  // A flow that has wanted its key for too long, or 0. Every flow wants for the same time, so the first of
  // each list has wanted longest.
  uint32_t overdue(uint64_t now_ms) const;
  void set_draining(uint32_t index, bool draining);
  // The packets that a draining flow held are in the transmit queue before this position (TxQueue). Draining
  // ends once the port has taken them.
  void set_drained(uint32_t index, uint32_t position);
  uint32_t drained_at(uint32_t index) const { return drained_at_[index]; }
  // The path MTU that was learned, and until when it is used.
  void set_path_mtu(uint32_t index, uint16_t mtu, uint32_t until_s);
  // Removes the flow, which may hold no packets any more.
  void remove(uint32_t index);
  // Removes refusals whose hold-down is over, for a bounded number of flows each millisecond. Called in each
  // turn while it returns false, and in the first one of each millisecond.
  bool tick(uint64_t now_ms, Budget& budget);

  uint32_t touched() const { return flows_.slab().touched(); }
  const FlowList& unreported() const { return unreported_; }
  const FlowList& draining() const { return draining_; }
  bool any_wanted() const { return !unreported_.empty() || !wanted_.empty(); }
  bool any_refused() const { return !refused_.empty(); }
  // Moves the first draining flow to the end of the list.
  void rotate_draining() {
    const uint32_t index = draining_.head;
    draining_.remove(flows_.slab(), index);
    draining_.push_back(flows_.slab(), index);
  }
  // Packets that all lcores have sealed under the key of a flow.
  uint32_t sealed_under_key(uint32_t index) const {
    return static_cast<uint32_t>(counted(index).packets) - packets_before_key_[index];
  }
  // Wipes a key that may seal no more packets. The flow, which may hold none any more, keeps its record.
  void wear_out(uint32_t index);
  // Packets and octets of a flow, of all lcores.
  Tally counted(uint32_t index) const;

  // For the worker lcores. The index may be looked up in by any thread (HashIndex::look_up).
  Published<SendingFlow>& published() { return published_; }
  const HashIndex& index() const { return index_; }
  const uint8_t* key_bytes(uint32_t index) const { return flows_.key_bytes(index); }
  const HashSeed& seed() const { return seed_; }
  // The worker lcores copy a flow anew, because what is prepared with it changed.
  void renew_copies(uint32_t index) { publish(index); }
  // Divides the table between the peers for which has_peer(index) is true.
  template <typename HasPeer>
  void share_between(HasPeer&& has_peer) {
    quota_.share_between(has_peer);
  }
  // Pre-faults memory of the records ahead of their use, a bounded part per call. False: there is nothing to
  // do. Of one thread, any.
  bool grow();

 private:
  uint32_t add(const FlowKey& key, uint16_t peer);
  void publish(uint32_t index);
  void withdraw(uint32_t index);
  void set_key(uint32_t index, const uint8_t* key, size_t length);
  void take_tally(uint32_t index);
  void leave_state(uint32_t index);
  uint32_t tunnel_hash(const Address& outer_destination, uint32_t spi) const;
  void index_tunnel(uint32_t index);
  void leave_tunnel_index(uint32_t index);

  const uint32_t wants_per_peer_;
  Counters& counters_;
  HashSeed seed_;
  FlowRecords& flows_;
  IvCounter& ivs_;
  HashIndex index_;
  HashIndex tunnel_index_;
  Quota quota_;
  std::vector<uint32_t> wants_;  // by peer
  FlowList unreported_, wanted_, refused_, draining_;
  TimerRound refusals_;
  ZeroedArray<uint32_t> packets_before_key_;  // by record, modulo 2^32: when the key was installed
  ZeroedArray<uint32_t> drained_at_;          // by record, while drained
  uint64_t last_key_tag_ = 0;
  uint64_t first_iv_ = 0;  // highest ever installed
  Published<SendingFlow> published_;
};

}  // namespace psp
