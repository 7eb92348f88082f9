// SPDX-License-Identifier: Apache-2.0
// The neighbours of one port as a worker lcore uses them: it looks them up in what the main lcore publishes,
// and hands off the frames for all others. Frames for one neighbour stay in order: while the main lcore has
// frames of it that were handed off, the next ones follow them.
#pragma once

#include "engine/neighbours/neighbour_sender.h"
#include "engine/neighbours/neighbours.h"
#include "engine/neighbours/outgoing.h"
#include "engine/ports/handoff.h"

namespace psp {

class NeighbourCopies {
 public:
  // The main lcore's neighbours, and the queue by which frames are handed off to them.
  NeighbourCopies(const Neighbours& neighbours, Handoff& handoff, Handoff::Queue queue, TxQueue& tx,
                  Counters& counters, const NeighbourSender::Drops& drops, Value forwarded)
      : published_(neighbours.published()),
        index_(neighbours.index()),
        seed_(neighbours.seed()),
        handoff_(handoff),
        queue_(queue),
        counters_(counters),
        sender_(tx, counters, drops, forwarded) {}

  // Sends all that a burst became.
  void send(Outgoing& outgoing, uint64_t now_ms) {
    outgoing.take_runs([&](const Address& address, rte_mbuf* const* frames, uint32_t count) {
      send(address, frames, count, now_ms);
    });
  }
  // The MAC address of a neighbour, zero when it is not known.
  MacAddress mac_of(const Address& address, uint64_t now_ms) {
    const KnownNeighbour* const known = find(address, now_ms);
    return known != nullptr ? known->mac : MacAddress{};
  }

 private:
  uint32_t hash(const Address& address) const { return hash_octets(seed_, address.data(), address.size()); }
  const KnownNeighbour* find(const Address& address, uint64_t now_ms);
  void send(const Address& address, rte_mbuf* const* frames, uint32_t count, uint64_t now_ms);

  const PublishedNeighbours& published_;
  const HashIndex& index_;
  const HashSeed seed_;
  Handoff& handoff_;
  const Handoff::Queue queue_;
  Counters& counters_;
  NeighbourSender sender_;
  // The neighbour found last; frames in a row often go to the same.
  KnownNeighbour last_{};
  uint32_t last_index_ = 0;
  uint64_t last_sequence_ = 0;
};

}  // namespace psp
