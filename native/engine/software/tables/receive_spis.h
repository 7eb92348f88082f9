// SPDX-License-Identifier: Apache-2.0
// The table of receive SPIs, and of the flow that each was offered for. A flow may have several: one retires
// when the first packet under a newer one and the last packet under it both lie retire_ms back. Beyond
// spis_per_flow the oldest retires, except the newest one seen within retire_ms. The table is divided between
// the peers; a peer that has no space left loses the oldest of its own SPIs that no packet ever used. A dead
// master key ends its SPIs at once by a generation number per slot; their records, and their expanded keys,
// are cleared within the budget of each turn. Only the main lcore reads and writes it. An SPI is published
// for the worker lcores (published.h) once the control side received the event of its first packet; they keep
// copies of it (spi_copies.h).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "engine/budget.h"
#include "engine/counters.h"
#include "engine/memory/hash_index.h"
#include "engine/memory/quota.h"
#include "engine/memory/slab.h"
#include "engine/software/tables/key_cache.h"
#include "engine/software/tables/published.h"
#include "engine/software/tables/spi_records.h"
#include "engine/software/tables/tallies.h"
#include "psp/address.h"
#include "psp/mode.h"

namespace psp {

// What opening needs of an SPI that the control side received the first event of.
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
    uint32_t per_flow, retire_ms;
  };

  // Records that a table for so many flows needs: after a rotation each flow has two SPIs.
  static uint32_t records_for(uint32_t max_flows) { return max_flows * 2; }

  // Allocates its SPIs among the records, which outlive it. `keys` erases the keys of SPIs that end. For
  // `worker_lcores` SPIs are published.
  ReceiveSpis(SpiRecords& records, const Limits& limits, size_t peers, KeyCache& keys, Counters& counters,
              uint32_t worker_lcores = 0);

  // Whether so many SPIs of a peer would fit now, where those that no packet ever used may be evicted.
  bool has_space_for(size_t count, uint16_t peer) const;
  // Admits an SPI of a batch, of which `before` were admitted already; those are not evicted for it. False:
  // there is no space for it.
  bool admit(const Admission& entry, uint32_t before, uint64_t now_ms);
  void withdraw(const FlowKey& inbound, uint32_t spi);
  // Returns how many SPIs ended.
  uint32_t remove(const FlowKey& inbound);
  // The slot has a new master key.
  void end_slot(uint8_t slot);

  // The record of a live SPI, or 0.
  uint32_t find(uint32_t spi, uint8_t version) const { return find(spi, version, hash(spi)); }
  // The same in steps for a burst, as FlowTable's; prefetch_record returns the index of the likely record, or
  // 0.
  uint32_t hash(uint32_t spi) const { return hash_number(seed_, spi); }
  void prefetch(uint32_t hash) const { spi_index_.prefetch(hash); }
  uint32_t prefetch_record(uint32_t hash) const {
    const uint32_t index = spi_index_.candidate(hash);
    spis_.prefetch(index);
    return index;
  }
  uint32_t find(uint32_t spi, uint8_t version, uint32_t hash) const;
  // A packet of the SPI passed the ACL: older SPIs of its flow are superseded.
  void mark_seen(uint32_t index, uint64_t now_ms);
  // The control side received the event of the SPI's first packet.
  void reported(uint32_t index);
  // Retires and clears, for a bounded number of records each millisecond. Called in each turn while it
  // returns false, and in the first one of each millisecond.
  bool tick(uint64_t now_ms, Budget& budget);
  bool any_due() const { return !retiring_.empty() || sweep_ != 0; }

  // For listing: the n-th record of flows, if in use.
  uint32_t flows_touched() const { return spis_.flows().touched(); }
  const InboundFlow& flow(uint32_t n) const { return spis_.flows()[n]; }
  // A live SPI of the flow, the newest, or 0; *live counts all of them.
  uint32_t newest_live(const InboundFlow& flow, uint8_t* live) const;
  // Packets and octets of a flow, of all lcores.
  Tally counted(const InboundFlow& flow) const;

  // Divides the table between the peers for which has_peer(index) is true.
  template <typename HasPeer>
  void share_between(HasPeer&& has_peer) {
    quota_.share_between(has_peer);
  }

  // For the worker lcores, as FlowTable's.
  Published<OpeningSpi>& published() { return published_; }
  const HashIndex& index() const { return spi_index_; }
  const HashSeed& seed() const { return seed_; }
  uint32_t generation(uint8_t slot) const { return generations_[slot].load(std::memory_order_relaxed); }
  bool grow();

 private:
  Tally tally_of(uint32_t index) const;
  uint64_t last_seen_ms(uint32_t index) const;
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
  void make_space_in(InboundFlow& flow, uint64_t now_ms);
  void end(uint32_t index);
  void leave_wait(ReceiveSpi& spi);

  const Limits limits_;
  SpiRecords& spis_;
  KeyCache& keys_;
  Counters& counters_;
  HashSeed seed_;
  HashIndex spi_index_;
  HashIndex flow_index_;
  Quota quota_;
  std::vector<List<ReceiveSpi, &ReceiveSpi::in_wait>> unseen_;  // by peer, oldest first, not superseded
  List<ReceiveSpi, &ReceiveSpi::in_wait> retiring_;             // superseded
  std::array<std::atomic<uint32_t>, 2> generations_{};
  TimerRound retirements_, sweeps_;
  uint32_t sweep_ = 0;  // next record to check, 0: nothing to clear
  Published<OpeningSpi> published_;
};

}  // namespace psp
