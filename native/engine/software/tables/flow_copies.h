// SPDX-License-Identifier: Apache-2.0
// A worker lcore's copies of the flows that it met, looked up by an index of its own. Each packet checks that
// its copy is up to date, so a flow that was rekeyed, removed or must wait is never sealed with an old copy.
// Keys of copies that are out of date are wiped by a sweep, which begins when the main lcore ended a flow.
#pragma once

#include <cstdint>

#include "engine/budget.h"
#include "engine/memory/inplace_vector.h"
#include "engine/ports/packet.h"
#include "engine/software/tables/copy_slots.h"
#include "engine/software/tables/flow_records.h"
#include "engine/software/tables/flow_table.h"
#include "engine/software/tables/key_cache.h"

namespace psp {

class FlowCopies {
 public:
  // Copies flows of the main lcore's table into the records, and erases their keys from the cache. `lcore`:
  // index among the worker lcores.
  FlowCopies(FlowTable& table, FlowRecords& records, KeyCache& keys, uint32_t lcore);

  uint32_t hash(const FlowKey& key) const { return hash_octets(seed_, &key, sizeof key); }
  // The index of the flow's copy, or 0: there is nothing to copy now. *renewed: the copy was made just now,
  // and must be prepared as after an install. At most kBurst times in a burst.
  uint32_t find(const FlowKey& key, uint32_t hash, bool* renewed);
  // Prefetches in steps what find will read, and then what sealing a packet of this length will: the index;
  // then the likely copy, whose index is returned, or 0; then what that copy names.
  void prefetch(uint32_t hash) const { slots_.prefetch(hash); }
  uint32_t prefetch_copy(uint32_t hash) const;
  void prefetch_rest(uint32_t index, size_t length) const;
  // Reports what the burst counted, and wipes keys that were replaced meanwhile. No packets may wait to be
  // sealed with them any more.
  void end_burst();
  // Drops some of the copies that are out of date, and wipes their keys. Called in each turn while it returns
  // false, and in the first one of each millisecond. `sweeping`: there are more to visit.
  bool sweep(uint64_t now_ms, Budget& budget);
  bool sweeping() const { return slots_.sweeping(); }
  // Pre-faults memory ahead of its use, a bounded part per call. False: there is nothing to do. Of one
  // thread, any.
  bool grow() { return slots_.grow() || records_.slab().grow(slots_.touched()); }

 private:
  uint32_t look_up(const FlowKey& key, uint32_t hash, SendingFlow* copy, uint64_t* sequence) const;
  uint32_t renew(const FlowKey& key, uint32_t hash, uint32_t index);
  void store(uint32_t index, const SendingFlow& copy, const uint8_t key[FlowRecords::kKeyBytes]);
  void report(uint32_t index);
  void drop(uint32_t index);

  struct Replaced {
    uint32_t index;
    uint64_t key_tag;
  };

  FlowTable& table_;
  Published<SendingFlow>& published_;
  const HashSeed seed_;
  FlowRecords& records_;
  KeyCache& keys_;
  const uint32_t lcore_;
  CopySlots slots_;
  InplaceVector<Replaced, kBurst> replaced_;  // in this burst; packets may wait to be sealed with them
};

}  // namespace psp
