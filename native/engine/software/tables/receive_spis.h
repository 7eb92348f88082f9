// SPDX-License-Identifier: Apache-2.0
// The SPIs under which we take packets, and for which flow each was made. A flow may have several: one
// retires when the first packet under a newer one and the last under it both lie retire_ms back. Beyond
// spis_per_flow the oldest goes, except the newest one seen within retire_ms. The table is shared out
// between peers; one that has no more room loses the oldest of its own that no packet ever used. A dead
// master key ends its SPIs at once by a number of its own per slot; their records, and their expanded keys,
// are cleared little by little. Of the first lcore. For the others stands published, beside the record of
// each SPI that was told of, what opening takes of it; a table of their own holds copies of that (copies.h).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/budget.h"
#include "engine/counters.h"
#include "engine/memory/hash_index.h"
#include "engine/memory/quota.h"
#include "engine/memory/seqlock.h"
#include "engine/memory/slab.h"
#include "engine/software/tables/key_cache.h"
#include "engine/software/tables/tallies.h"
#include "psp/address.h"
#include "psp/mode.h"

namespace psp {

struct alignas(64) ReceiveSpi {
  uint64_t cookie;
  uint64_t last_seen_ms;
  uint64_t superseded_ms;  // when the first packet under a newer SPI of the flow came
  uint32_t spi;
  uint32_t flow;
  uint32_t generation;  // of its master key slot
  Link in_flow;         // oldest first
  Link in_wait;         // in the unseen or the retiring
  uint32_t next_free;
  uint8_t version;
  Mode mode;
  uint8_t key_misses;  // how often its key was expanded, up to KeyCache::kSettlesAfter
  bool seen, superseded;
  bool told;
  bool used;
};
static_assert(sizeof(ReceiveSpi) == 64);

struct alignas(64) InboundFlow {
  FlowKey key;
  uint64_t packets, bytes;
  union {
    List<ReceiveSpi, &ReceiveSpi::in_flow> spis{};
    uint32_t next_free;
  };
  uint16_t peer;
  bool seen;
  bool used;
};
static_assert(sizeof(InboundFlow) == 64);

// What opening takes of an SPI.
struct OpeningSpi {
  FlowKey flow;
  uint64_t cookie;
  uint32_t spi;
  uint32_t generation;
  uint16_t peer;
  uint8_t version;
  Mode mode;
  uint8_t unused[4];
};

// An SPI to admit.
struct Admission {
  FlowKey inbound;
  uint32_t spi;
  uint8_t version;
  uint64_t cookie;
  uint16_t peer;
  Mode mode = Mode::kTunnel;
};

class ReceiveSpis {
 public:
  struct Limits {
    uint32_t max_flows, per_flow, retire_ms;
  };

  // Twice max_flows SPIs fit: after a rotation each flow has two. `keys` forgets the keys of SPIs that end.
  // For so many other lcores SPIs are published.
  ReceiveSpis(const Limits& limits, size_t peers, KeyCache& keys, Counters& counters,
              uint32_t worker_lcores = 0);
  // A table of places for copies of another's SPIs, for an lcore that is not the first.
  ReceiveSpis(uint32_t places, ReceiveSpis& of, KeyCache& keys, Counters& counters);

  // The key's name in the cache.
  static uint64_t key_tag(uint32_t spi, uint8_t version) {
    return uint64_t{1} << 40 | static_cast<uint64_t>(version) << 32 | spi;
  }

  // Whether so many SPIs of a peer would fit now, in part in place of those that no packet ever used.
  bool has_room_for(size_t count, uint16_t peer) const;
  // Admits an SPI of a batch, of which `before` were admitted already. These do not give way to it. False:
  // there is no room for it.
  bool admit(const Admission& entry, uint32_t before, uint64_t now_ms);
  void withdraw(const FlowKey& inbound, uint32_t spi);
  // Returns how many SPIs ended.
  uint32_t remove(const FlowKey& inbound);
  // The slot's master key is another one now.
  void end_slot(uint8_t slot);

  // The record of a live SPI, or 0.
  uint32_t find(uint32_t spi, uint8_t version) const { return find(spi, version, hash(spi)); }
  // The same in steps for a burst, as FlowTable's: the record's likely number, or 0.
  uint32_t hash(uint32_t spi) const { return hash_number(seed_, spi); }
  void prefetch(uint32_t hash) const { spi_index_.prefetch(hash); }
  uint32_t prefetch_record(uint32_t hash) const {
    const uint32_t number = spi_index_.candidate(hash);
    __builtin_prefetch(&spis_[number]);
    return number;
  }
  uint32_t find(uint32_t spi, uint8_t version, uint32_t hash) const;
  void prefetch_flow(uint32_t number) const { __builtin_prefetch(&flow_of(number)); }
  // Packets of the SPI passed the ACL. True until the control side was told of this SPI.
  bool seen(uint32_t number, uint32_t packets, uint64_t octets, uint64_t now_ms);
  void told(uint32_t number);
  // The SPI's place in the set of keys, and once its key was expanded once more.
  size_t key_place(uint32_t number) const { return keys_.place_of(number, spis_[number].key_misses); }
  void note_key_miss(uint32_t number) { keys_.note_miss(number, &spis_[number].key_misses); }
  // Retires and clears, for a bounded number of records each millisecond. To be called in each turn while it
  // returns false, and in the first one of each millisecond.
  bool tick(uint64_t now_ms, Budget& budget);
  bool any_due() const { return !retiring_.empty() || sweep_ != 0; }

  const ReceiveSpi& operator[](uint32_t number) const { return spis_[number]; }
  const InboundFlow& flow_of(uint32_t number) const { return flows_[spis_[number].flow]; }
  // For listing: the n-th record of flows, if in use.
  uint32_t flows_touched() const { return flows_.touched(); }
  const InboundFlow& flow(uint32_t n) const { return flows_[n]; }
  // A live SPI of the flow, the newest, or 0; *live counts all of them.
  uint32_t newest_live(const InboundFlow& flow, uint8_t* live) const;
  // Packets and octets of a flow, of all lcores.
  Tally counted(const InboundFlow& flow) const;

  // For the other lcores: a copy of what is published of an SPI, its record's number and its sequence; 0:
  // none to be had, and with *sure none lives. `generations` are those of the lcore, which it reads at a time
  // of its own.
  uint32_t look_up(uint32_t spi, uint8_t version, uint32_t hash, OpeningSpi* copy, uint64_t* sequence,
                   bool* sure) const;
  const Seqlock<OpeningSpi>& published(uint32_t number) const { return (*published_)[number]; }
  uint32_t generation(uint8_t slot) const { return generations_[slot].load(std::memory_order_relaxed); }
  Tallies& tallies() { return *tallies_; }
  // As FlowTable's.
  uint32_t endings() const { return endings_.load(std::memory_order_acquire); }
  bool grow();
  bool grow(uint32_t places) { return spis_.grow(places) || flows_.grow(places); }
  uint32_t places() const { return spis_.capacity(); }
  void prefetch_at(uint32_t place) const {
    __builtin_prefetch(&spis_[place]);
    __builtin_prefetch(&flows_[place]);
  }
  // Puts a copy in a place of a table of copies, or empties the place.
  void put(uint32_t place, const OpeningSpi& copy);
  void clear(uint32_t place);
  // What a place of copies counted since it was asked last.
  Tally take_counted(uint32_t place);

 private:
  Tally tally_of(uint32_t number) const;
  uint64_t last_seen_ms(uint32_t number) const;
  bool is_live(const ReceiveSpi& spi) const {
    return spi.generation == generation(static_cast<uint8_t>(spi.spi >> 31));
  }
  uint32_t find_record(uint32_t spi) const { return find_record(spi, hash(spi)); }
  uint32_t find_record(uint32_t spi, uint32_t hash) const {
    return spi_index_.find(hash, [&](uint32_t n) { return spis_[n].spi == spi; });
  }
  uint32_t find_flow(const FlowKey& key) const;
  void retire(uint64_t now_ms, Budget& budget);
  void sweep(Budget& budget);
  void make_room_in(InboundFlow& flow, uint64_t now_ms);
  void end(uint32_t number);
  void leave_wait(ReceiveSpi& spi);

  const Limits limits_;
  KeyCache& keys_;
  Counters& counters_;
  HashSeed seed_;
  Slab<ReceiveSpi> spis_;
  HashIndex spi_index_;
  Slab<InboundFlow> flows_;
  HashIndex flow_index_;
  Quota quota_;
  std::vector<List<ReceiveSpi, &ReceiveSpi::in_wait>> unseen_;  // by peer, oldest first, not superseded
  List<ReceiveSpi, &ReceiveSpi::in_wait> retiring_;             // superseded
  std::array<std::atomic<uint32_t>, 2> generations_{};
  TimerRound retirements_, sweeps_;
  uint32_t sweep_ = 0;  // next record to look at for dead ones, 0: nothing to clear
  // Where there are other lcores. In a cache line each: what they read with each packet, and what is written
  // now and then.
  alignas(64) std::unique_ptr<ZeroedArray<Seqlock<OpeningSpi>>> published_;
  std::unique_ptr<Tallies> tallies_;
  alignas(64) std::atomic<uint32_t> endings_{0};
};

}  // namespace psp
