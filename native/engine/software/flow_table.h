// SPDX-License-Identifier: Apache-2.0
// Egress flows: those that want a key, those that have one, those that were refused a moment ago. Records are
// compact and never move; key bytes lie apart, in locked memory. Flows without a key take want slots, bounded
// per peer, so that a scan cannot fill the table, and the table itself is shared out between peers. Of the
// polling thread.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/counters.h"
#include "engine/engine.h"
#include "engine/hash_index.h"
#include "engine/hold.h"
#include "engine/shares.h"
#include "engine/slab.h"

namespace psp {

// Two cache lines side by side, which the processor fetches as a pair.
struct alignas(128) EgressFlow {
  enum class State : uint8_t { kFree, kUntold, kWanted, kRefused, kKeyed };

  FlowKey key;
  uint64_t key_tag;  // names this key in the cache; never used twice
  union {
    uint64_t entropy;  // AddressHash::value of the key, once there is one
    uint64_t refused_until_ms;
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
  bool used : 1;
  // The second line.
  alignas(64) Address outer_destination;
  uint64_t cookie;
  uint64_t packets, bytes;
  HeldQueue held;
  union {
    Link link;  // in the untold, the refused or the draining
    uint32_t next_free;
  };
  uint32_t path_mtu_until_s;  // when path_mtu ends
};
static_assert(sizeof(EgressFlow) == 128);

class FlowTable {
 public:
  using FlowList = List<EgressFlow, &EgressFlow::link>;

  // Throws std::bad_alloc.
  FlowTable(uint32_t max_flows, uint32_t wants_per_peer, size_t peers, Counters& counters);
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
    __builtin_prefetch(&flows_[number]);
    __builtin_prefetch(&flows_[number].outer_destination);
    return number;
  }
  uint32_t find(const FlowKey& key, uint32_t hash) const {
    return index_.find(hash, [&](uint32_t n) { return flows_[n].key == key; });
  }
  // The record of a flow with a key in tunnel mode by what its packets show outside, or 0. Where a peer gave
  // one SPI to several flows, only the first is found, and none once that one is gone.
  uint32_t find_tunnel(const Address& outer_destination, uint32_t spi) const;
  // A new record that wants a key and was not told of yet. 0, with the reason, when a bound is reached.
  uint32_t add_wanted(const FlowKey& key, uint16_t peer, Drop* reason);
  // Puts a key in place, making the record where there is none; 0 when the table is full.
  uint32_t install(const FlowKey& key, uint16_t peer, const EgressKey& egress_key);

  // One counter serves all flows, begins at the highest first_iv ever installed, and only grows: so no IV
  // occurs twice under one key, even where a peer gives one key to several flows or gives it again.
  uint64_t next_iv() { return next_iv_++; }

  void told(uint32_t number);
  void refuse(uint32_t number, uint64_t until_ms);
  // Wants a key again after a refusal.
  void want_again(uint32_t number);
  void set_draining(uint32_t number, bool draining);
  // Forgets the flow; nothing may be held any more.
  void remove(uint32_t number);
  // Forgets refusals whose time is over, for a bounded number of flows.
  void tick(uint64_t now_ms);

  EgressFlow& operator[](uint32_t number) { return flows_[number]; }
  const EgressFlow& operator[](uint32_t number) const { return flows_[number]; }
  const uint8_t* key_bytes(uint32_t number) const { return keys_ + size_t{number} * kKeyBytes; }
  uint32_t touched() const { return flows_.touched(); }
  const FlowList& untold() const { return untold_; }
  const FlowList& draining() const { return draining_; }
  bool any_refused() const { return !refused_.empty(); }
  // To the end of the line of those that drain.
  void rotate_draining() {
    const uint32_t number = draining_.head;
    draining_.remove(flows_, number);
    draining_.push_back(flows_, number);
  }

 private:
  static constexpr size_t kKeyBytes = 32;

  uint32_t add(const FlowKey& key, uint16_t peer);
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
  Shares shares_;
  size_t key_memory_;
  uint8_t* keys_;
  std::vector<uint32_t> wants_;  // by peer
  FlowList untold_, refused_, draining_;
  uint64_t next_iv_ = 0;
  uint64_t last_key_tag_ = 0;
};

}  // namespace psp
