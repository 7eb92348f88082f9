// SPDX-License-Identifier: Apache-2.0
// Packets that wait for a key: copies in a pool of their own, so that waiting packets starve no port. Bounded
// per flow, per source address and in total; at each limit the oldest of that kind is dropped and counted.
// Packets of a flow keep their order. Used by the polling thread.
#pragma once

#include <cstdint>

#include "engine/counters.h"
#include "engine/memory/hash_index.h"
#include "engine/memory/slab.h"
#include "engine/ports/pool.h"
#include "psp/address.h"

namespace psp {

struct HeldPacket {
  rte_mbuf* mbuf;
  void* queue;  // the HeldQueue that it is in
  uint32_t source;
  Link in_flow, in_source, in_all;
  uint32_t next_free;
  bool used;
};

// The held packets of one flow, oldest first. It is in the flow's record and does not move.
using HeldQueue = List<HeldPacket, &HeldPacket::in_flow>;

class Hold {
 public:
  struct Limits {
    uint32_t per_flow, per_source, total;
  };

  // `longest`: octets of one frame, which gets the headroom and tailroom that sealing needs. Throws
  // EngineError.
  Hold(const Limits& limits, uint32_t longest, Counters& counters);
  ~Hold();

  // Whether a packet is short enough to be held.
  bool fits(const rte_mbuf* packet) const { return packet->data_len <= longest_; }
  // Copies the packet to the end of the queue. False when it could not be copied; then it is counted as
  // dropped. The original stays the caller's.
  bool push(HeldQueue& queue, const Address& source, const rte_mbuf* packet);
  // The oldest of a queue that is not empty; it stays there.
  rte_mbuf* oldest(const HeldQueue& queue) const { return packets_[queue.head].mbuf; }
  // Takes the oldest; it is the caller's then. Null when the queue is empty.
  rte_mbuf* pop(HeldQueue& queue);
  // Drops so many at most, oldest first, counted under the reason. Returns how many.
  uint32_t drop(HeldQueue& queue, Drop reason, uint32_t most = UINT32_MAX);

 private:
  struct Source {
    Address address;
    List<HeldPacket, &HeldPacket::in_source> packets;
    uint32_t next_free;
    bool used;
  };

  rte_mbuf* take(uint32_t index);
  void evict(uint32_t index, Drop reason);
  uint32_t source_of(const Address& address);
  uint32_t hash(const Address& address) const { return hash_octets(seed_, address.data(), address.size()); }

  const Limits limits_;
  const uint32_t longest_;
  Counters& counters_;
  Pool pool_;
  HashSeed seed_;
  Slab<HeldPacket> packets_;
  List<HeldPacket, &HeldPacket::in_all> all_;
  Slab<Source> sources_;
  HashIndex source_index_;
};

}  // namespace psp
