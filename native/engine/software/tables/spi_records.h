// SPDX-License-Identifier: Apache-2.0
// The records of receive SPIs that one lcore opens with, and of the inbound flows that they were offered for.
// The main lcore's records are those of its table (receive_spis.h), a worker lcore's are copies of them
// (spi_copies.h), each with a flow record of its own; the pipes read both in the same way.
#pragma once

#include <cstdint>

#include "engine/memory/slab.h"
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
  bool reported;  // the control side received the event of its first packet
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

class SpiRecords {
 public:
  explicit SpiRecords(uint32_t count) : spis_(count), flows_(count) {}

  ReceiveSpi& operator[](uint32_t index) { return spis_[index]; }
  const ReceiveSpi& operator[](uint32_t index) const { return spis_[index]; }
  InboundFlow& flow_of(uint32_t index) { return flows_[spis_[index].flow]; }
  const InboundFlow& flow_of(uint32_t index) const { return flows_[spis_[index].flow]; }
  // For lists through the records, and whoever allocates them.
  Slab<ReceiveSpi>& slab() { return spis_; }
  const Slab<ReceiveSpi>& slab() const { return spis_; }
  Slab<InboundFlow>& flows() { return flows_; }
  const Slab<InboundFlow>& flows() const { return flows_; }
  void prefetch(uint32_t index) const { __builtin_prefetch(&spis_[index]); }
  void prefetch_flow(uint32_t index) const { __builtin_prefetch(&flow_of(index)); }

  // Counts packets of an SPI that the ACL admitted. True until the control side received the event of its
  // first packet.
  bool count(uint32_t index, uint32_t packets, uint64_t octets, uint64_t now_ms) {
    InboundFlow& flow = flow_of(index);
    flow.packets += packets;
    flow.bytes += octets;
    spis_[index].last_seen_ms = now_ms;
    return !spis_[index].reported;
  }

  // Names the SPI's key in a key cache.
  static uint64_t key_tag(uint32_t spi, uint8_t version) {
    return uint64_t{1} << 40 | static_cast<uint64_t>(version) << 32 | spi;
  }

 private:
  Slab<ReceiveSpi> spis_;
  Slab<InboundFlow> flows_;
};

}  // namespace psp
