// SPDX-License-Identifier: Apache-2.0
// The records of egress flows that one lcore seals for, their key bytes, and the lcore's IVs. The main
// lcore's records are those of its table (flow_table.h), a worker lcore's are copies of them (flow_copies.h);
// the pipes read both in the same way. Records are compact and never move; key bytes lie apart, in locked
// memory.
#pragma once

#include <cstdint>

#include "engine/memory/slab.h"
#include "engine/software/tables/hold.h"
#include "engine/software/tables/iv_blocks.h"
#include "psp/mode.h"

namespace psp {

// Two cache lines side by side, which the processor fetches as a pair.
struct alignas(128) EgressFlow {
  // kWorn: the key was wiped, because it has sealed as much as it may; a newer one is awaited.
  enum class State : uint8_t { kFree, kUnreported, kWanted, kRefused, kKeyed, kWorn };

  FlowKey key;
  uint64_t key_tag;  // names this key in the cache; never used twice
  union {
    uint64_t entropy;   // AddressHash::value of the key, once there is one
    uint64_t until_ms;  // without a key: when the flow is given up, or its hold-down ends
  };
  uint32_t spi;
  uint16_t plain_length;  // the longest packet that the common path of the seal takes; 0: none
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
  bool worn_reported : 1;  // that the key must be replaced
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

class FlowRecords {
 public:
  static constexpr size_t kKeyBytes = 32;

  // The counter is that of all lcores, and outlives the records. Throws std::bad_alloc.
  FlowRecords(uint32_t count, IvCounter& ivs);
  ~FlowRecords();
  FlowRecords(const FlowRecords&) = delete;
  FlowRecords& operator=(const FlowRecords&) = delete;

  EgressFlow& operator[](uint32_t index) { return flows_[index]; }
  const EgressFlow& operator[](uint32_t index) const { return flows_[index]; }
  // For lists through the records, and whoever allocates them.
  Slab<EgressFlow>& slab() { return flows_; }
  const Slab<EgressFlow>& slab() const { return flows_; }
  void prefetch(uint32_t index) const {
    __builtin_prefetch(&flows_[index]);
    __builtin_prefetch(&flows_[index].outer_destination);
  }

  uint8_t* key_bytes(uint32_t index) { return keys_ + size_t{index} * kKeyBytes; }
  const uint8_t* key_bytes(uint32_t index) const { return keys_ + size_t{index} * kKeyBytes; }

  uint64_t next_iv() { return ivs_.next(); }
  // A key was installed, or copied, that no IV below `first` may serve.
  void begin_ivs_at(uint64_t first) { ivs_.leave_below(first); }

 private:
  Slab<EgressFlow> flows_;
  const size_t key_memory_;
  uint8_t* const keys_;
  // Written with each packet, while worker lcores read the fields above.
  alignas(64) IvBlock ivs_;
};

}  // namespace psp
