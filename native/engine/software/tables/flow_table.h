// SPDX-License-Identifier: Apache-2.0
// Egress flows: those that want a key, those that have one, those that were refused a moment ago. Records are
// compact and never move; key bytes lie apart, in locked memory. Flows without a key take want slots, bounded
// per peer, so that a scan cannot fill the table, and the table itself is shared out between peers. Of the
// first lcore. For the others stands published, beside each record, what sending takes of it; a table of
// their own holds copies of that (copies.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/budget.h"
#include "engine/commands.h"
#include "engine/counters.h"
#include "engine/memory/hash_index.h"
#include "engine/memory/quota.h"
#include "engine/memory/seqlock.h"
#include "engine/memory/slab.h"
#include "engine/software/hold.h"
#include "engine/software/tables/iv_blocks.h"
#include "engine/software/tables/tallies.h"

namespace psp {

// Two cache lines side by side, which the processor fetches as a pair.
struct alignas(128) EgressFlow {
  enum class State : uint8_t { kFree, kUnreported, kWanted, kRefused, kKeyed };

  FlowKey key;
  uint64_t key_tag;  // names this key in the cache; never used twice
  union {
    uint64_t entropy;   // AddressHash::value of the key, once there is one
    uint64_t until_ms;  // without a key: when the flow is given up, or its hold-down ends
  };
  uint32_t spi;
  uint16_t plain_room;  // octets of a packet that may be sealed without a further question; 0: none
  uint16_t peer;
  uint16_t path_mtu;   // learned from the wire; 0: nothing
  uint8_t key_misses;  // how often the key was expanded, up to KeyCache::kSettlesAfter
  State state;
  uint8_t version;
  Mode mode;
  bool entropy_swapped : 1;  // AddressHash::swapped
  bool off_link : 1;         // packets go to the gateway of the secured side
  bool draining : 1;
  bool drained : 1;  // while draining: nothing is held any more, but the last packets may still wait for the
                     // port
  bool used : 1;
  // The second line.
  alignas(64) Address outer_destination;
  uint64_t cookie;
  uint64_t packets, bytes;
  HeldQueue held;
  union {
    Link link;  // in the unreported, the wanted, the refused or the draining
    uint32_t next_free;
  };
  uint32_t path_mtu_until_s;  // when path_mtu ends
};
static_assert(sizeof(EgressFlow) == 128);

// What sending takes of a flow that has a key and holds nothing.
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
  static constexpr size_t kKeyBytes = 32;

  // For so many other lcores flows are published. Throws std::bad_alloc.
  FlowTable(uint32_t max_flows, uint32_t wants_per_peer, size_t peers, Counters& counters,
            uint32_t worker_lcores = 0);
  // A table of places for copies of another's flows, for an lcore that is not the first. Its IVs are of the
  // same counter.
  FlowTable(uint32_t places, FlowTable& of, Counters& counters);
  ~FlowTable();
  FlowTable(const FlowTable&) = delete;
  FlowTable& operator=(const FlowTable&) = delete;

  // The flow's record, or 0.
  uint32_t find(const FlowKey& key) const { return find(key, hash(key)); }
  // The same in steps for a burst, so that memory answers for many flows at once: the hash of each, the place
  // of its number, then its record, then find. The record's likely number, or 0.
  uint32_t hash(const FlowKey& key) const { return hash_octets(seed_, &key, sizeof key); }
  void prefetch(uint32_t hash) const { index_.prefetch(hash); }
  uint32_t prefetch_record(uint32_t hash) const {
    const uint32_t number = index_.candidate(hash);
    prefetch_at(number);
    return number;
  }
  uint32_t find(const FlowKey& key, uint32_t hash) const {
    return index_.find(hash, [&](uint32_t n) { return flows_[n].key == key; });
  }
  // The record of a flow with a key in tunnel mode by what its packets show outside, or 0. Where a peer gave
  // one SPI to several flows, only the first is found, and none once that one is gone.
  uint32_t find_tunnel(const Address& outer_destination, uint32_t spi) const;
  // A new record that wants a key until then and was not reported yet. 0, with the reason, when a bound is
  // reached.
  uint32_t add_wanted(const FlowKey& key, uint16_t peer, uint64_t until_ms, Drop* reason);
  // Puts a key in place, making the record where there is none; 0 when the table is full.
  uint32_t install(const FlowKey& key, uint16_t peer, const EgressKey& egress_key);

  uint64_t next_iv() { return ivs_.next(); }

  void told(uint32_t number);
  void refuse(uint32_t number, uint64_t until_ms);
  // Wants a key again after a hold-down, until then.
  void want_again(uint32_t number, uint64_t until_ms);
  // A flow that has wanted its key for too long, or 0. Every flow wants for the same time, so the first of
  // each list has wanted longest.
  uint32_t overdue(uint64_t now_ms) const;
  void set_draining(uint32_t number, bool draining);
  // What a draining flow held is in the queue in front of this position (TxQueue). Once the port has taken
  // it, draining ends.
  void set_drained(uint32_t number, uint32_t position);
  uint32_t drained_at(uint32_t number) const { return drained_at_[number]; }
  // The path took no more than this, and is asked again then.
  void set_path_mtu(uint32_t number, uint16_t mtu, uint32_t until_s);
  // Forgets the flow; nothing may be held any more.
  void remove(uint32_t number);
  // Forgets refusals whose time is over, for a bounded number of flows each millisecond. To be called in each
  // turn while it returns false, and in the first one of each millisecond.
  bool tick(uint64_t now_ms, Budget& budget);

  EgressFlow& operator[](uint32_t number) { return flows_[number]; }
  const EgressFlow& operator[](uint32_t number) const { return flows_[number]; }
  const uint8_t* key_bytes(uint32_t number) const { return keys_ + size_t{number} * kKeyBytes; }
  uint32_t touched() const { return flows_.touched(); }
  const FlowList& unreported() const { return unreported_; }
  const FlowList& draining() const { return draining_; }
  bool any_wanted() const { return !unreported_.empty() || !wanted_.empty(); }
  bool any_refused() const { return !refused_.empty(); }
  // To the end of the line of those that drain.
  void rotate_draining() {
    const uint32_t number = draining_.head;
    draining_.remove(flows_, number);
    draining_.push_back(flows_, number);
  }
  // Packets and octets of a flow, of all lcores.
  Tally counted(uint32_t number) const;

  // For the other lcores: a copy of what is published of a flow, its record's number and its sequence; 0:
  // none to be had at this moment.
  uint32_t look_up(const FlowKey& key, uint32_t hash, SendingFlow* copy, uint64_t* sequence) const;
  const Seqlock<SendingFlow>& published(uint32_t number) const { return (*published_)[number]; }
  // The octets of the key of a copy; false: the sequence is over.
  bool copy_key(uint32_t number, uint64_t sequence, uint8_t key[kKeyBytes]) const;
  Tallies& tallies() { return *tallies_; }
  // How many editions ended that others may have copies of; wraps. Who sees the number sees that they ended.
  uint32_t endings() const { return endings_.load(std::memory_order_acquire); }
  // Pre-faults memory ahead of its use, a part per call: for the records that are used, or for so many places
  // of copies. False: there is nothing to do. Of one thread, any.
  bool grow();
  bool grow(uint32_t places) { return flows_.grow(places); }
  // How many places a table of copies has.
  uint32_t places() const { return flows_.capacity(); }
  void prefetch_at(uint32_t place) const {
    __builtin_prefetch(&flows_[place]);
    __builtin_prefetch(&flows_[place].outer_destination);
  }
  // Puts a copy and its key in a place of a table of copies, or empties the place.
  void put(uint32_t place, const SendingFlow& copy, const uint8_t key[kKeyBytes]);
  void clear(uint32_t place);

 private:
  uint32_t add(const FlowKey& key, uint16_t peer);
  void publish(uint32_t number);
  void withdraw(uint32_t number);
  void set_key(uint32_t number, const uint8_t* key, size_t length);
  void take_tally(uint32_t number);
  void leave_state(uint32_t number);
  uint32_t tunnel_hash(const Address& outer_destination, uint32_t spi) const;
  void index_tunnel(uint32_t number);
  void leave_tunnel_index(uint32_t number);
  uint8_t* mutable_key(uint32_t number) { return keys_ + size_t{number} * kKeyBytes; }

  const uint32_t wants_per_peer_;
  Counters& counters_;
  HashSeed seed_;
  Slab<EgressFlow> flows_;
  HashIndex index_;
  HashIndex tunnel_index_;
  Quota quota_;
  size_t key_memory_;
  uint8_t* keys_;
  std::vector<uint32_t> wants_;  // by peer
  FlowList unreported_, wanted_, refused_, draining_;
  TimerRound refusals_;
  ZeroedArray<uint32_t> drained_at_;  // by record, while drained
  uint64_t last_key_tag_ = 0;
  uint64_t first_iv_ = 0;  // highest ever installed
  // Where there are other lcores. In a cache line each: what they read with each packet, what all write now
  // and then, and what this lcore writes with each packet.
  alignas(64) std::unique_ptr<ZeroedArray<Seqlock<SendingFlow>>> published_;
  std::unique_ptr<Tallies> tallies_;
  alignas(64) std::atomic<uint32_t> endings_{0};
  IvCounter iv_counter_;
  alignas(64) IvBlock ivs_;
};

}  // namespace psp
