// SPDX-License-Identifier: Apache-2.0
// A worker lcore. It seals and opens by copies of the main lcore's records, and hands off to the main lcore
// all packets that need slow-path state.
#pragma once

#include <atomic>

#include "engine/neighbours/neighbour_copies.h"
#include "engine/ports/handoff.h"
#include "engine/software/lcore/lcore.h"
#include "engine/software/lcore/main_lcore.h"
#include "engine/software/lcore/timers.h"
#include "engine/software/tables/flow_copies.h"
#include "engine/software/tables/spi_copies.h"

namespace psp {

struct WorkerLcore : Lcore {
  // `index`: among the worker lcores, from 0. Made and destroyed while the main lcore, which outlives it,
  // stands still. Throws EngineError or std::bad_alloc.
  WorkerLcore(MainLcore& main, uint32_t index, Port& unsecured_port, Port& secured_port, Counters& counters,
              SampleRing& samples, uint64_t seed);

  MacAddress next_hop_mac(const Address& hop) override { return next_hops.mac_of(hop, now_ms); }

  // Hands a packet off as it came, in order with others of its hash. Takes it.
  void hand_off(Direction direction, uint32_t hash, const Packet& packet);
  // Takes over master keys, sampling rates, links and the topology that the main lcore changed.
  void take_over_changes();
  bool is_changed() const {
    return changes.load(std::memory_order_relaxed) != main.changes.load(std::memory_order_seq_cst);
  }

  // As MainLcore's.
  bool grow_memory();
  uint32_t idle_timeout_ms() const;

  static constexpr size_t kUnknownSpis = 64;

  MainLcore& main;
  Handoff handoff;
  FlowCopies flow_copies;
  SpiCopies spi_copies;
  NeighbourCopies hosts, next_hops;
  Timers<WorkerLcore> timers;
  // For the main lcore, which takes a bounded number at a time: while more arrive, the rest is lost.
  SpscRing<UnknownSpi> unknown_spis{kUnknownSpis};
  // The last change of the main lcore that was taken over (MainLcore::changes).
  std::atomic<uint32_t> changes;
};

}  // namespace psp
