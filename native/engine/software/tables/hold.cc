// SPDX-License-Identifier: Apache-2.0
// Every held packet is in three lists: its flow's, its source's, and that of all.
#include "engine/software/tables/hold.h"

#include <cstring>

#include "psp/aead.h"

namespace psp {

namespace {
// Drained packets that a port has not given back yet.
constexpr uint32_t kInFlight = 2048;
}  // namespace

Hold::Hold(const Limits& limits, uint32_t longest, Counters& counters)
    : limits_(limits),
      longest_(longest),
      counters_(counters),
      pool_("hold", limits.total + kInFlight, RTE_PKTMBUF_HEADROOM + longest + kIcvLength),
      packets_(limits.total),
      sources_(limits.total),
      source_index_(limits.total) {}

// The flows' queues may be gone by now.
Hold::~Hold() {
  for (uint32_t n = 1; n <= packets_.touched(); ++n) {
    if (packets_[n].used) rte_pktmbuf_free(packets_[n].mbuf);
  }
}

bool Hold::push(HeldQueue& queue, const Address& source, const rte_mbuf* packet) {
  if (queue.count >= limits_.per_flow) evict(queue.head, Drop::kEgressHeldOverflowFlow);
  uint32_t owner = source_of(source);
  if (owner != 0 && sources_[owner].packets.count >= limits_.per_source) {
    evict(sources_[owner].packets.head, Drop::kEgressHeldOverflowSource);
  }
  if (all_.count >= limits_.total) evict(all_.head, Drop::kEgressHeldOverflowTotal);

  rte_mbuf* copy = rte_pktmbuf_alloc(pool_.get());
  if (copy == nullptr || !fits(packet)) {
    rte_pktmbuf_free(copy);
    counters_[Drop::kEgressHeldOverflowTotal].add();
    return false;
  }
  std::memcpy(rte_pktmbuf_append(copy, packet->data_len), rte_pktmbuf_mtod(packet, const void*),
              packet->data_len);

  // Evicting may have ended the source's record.
  owner = source_of(source);
  if (owner == 0) {
    owner = sources_.take();
    sources_[owner].address = source;
    source_index_.insert(hash(source), owner);
  }
  const uint32_t index = packets_.take();
  HeldPacket& held = packets_[index];
  held.mbuf = copy;
  held.queue = &queue;
  held.source = owner;
  queue.push_back(packets_, index);
  sources_[owner].packets.push_back(packets_, index);
  all_.push_back(packets_, index);
  counters_[Value::kHeld].add();
  counters_[Value::kHeldTotal].add();
  return true;
}

rte_mbuf* Hold::pop(HeldQueue& queue) {
  return queue.empty() ? nullptr : take(queue.head);
}

uint32_t Hold::drop(HeldQueue& queue, Drop reason, uint32_t most) {
  uint32_t dropped = 0;
  for (; !queue.empty() && dropped < most; ++dropped) evict(queue.head, reason);
  return dropped;
}

rte_mbuf* Hold::take(uint32_t index) {
  HeldPacket& held = packets_[index];
  rte_mbuf* mbuf = held.mbuf;
  const uint32_t owner = held.source;
  static_cast<HeldQueue*>(held.queue)->remove(packets_, index);
  sources_[owner].packets.remove(packets_, index);
  all_.remove(packets_, index);
  packets_.give_back(index);
  if (sources_[owner].packets.empty()) {
    source_index_.erase(hash(sources_[owner].address), owner);
    sources_.give_back(owner);
  }
  counters_[Value::kHeld].subtract();
  return mbuf;
}

void Hold::evict(uint32_t index, Drop reason) {
  rte_pktmbuf_free(take(index));
  counters_[reason].add();
}

uint32_t Hold::source_of(const Address& address) {
  return source_index_.find(hash(address), [&](uint32_t n) { return sources_[n].address == address; });
}

}  // namespace psp
