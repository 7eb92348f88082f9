// SPDX-License-Identifier: Apache-2.0
// The main lcore. It alone has slow-path state: it writes the tables, holds packets, resolves neighbours,
// reassembles fragments, receives ICMP errors, and carries out commands. What the worker lcores need of its
// tables it publishes; what they hand off it takes in each turn.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "engine/ip/reassembly.h"
#include "engine/memory/spsc_ring.h"
#include "engine/neighbours/neighbours.h"
#include "engine/software/lcore/lcore.h"
#include "engine/software/lcore/master_keys.h"
#include "engine/software/lcore/timers.h"
#include "engine/software/tables/flow_table.h"
#include "engine/software/tables/hold.h"
#include "engine/software/tables/key_wear.h"
#include "engine/software/tables/receive_spis.h"
#include "engine/software/tables/unknown_spis.h"

namespace psp {

struct WorkerLcore;

// Packets that wait, and their memory.
struct WaitingPackets {
  WaitingPackets(const EngineConfig& config, uint32_t longest_frame, Counters& counters);
  Hold hold;                      // for a key
  Reassembly egress_reassembly;   // fragments that hosts send towards transport peers
  Reassembly ingress_reassembly;  // fragments from the wire
};

// The packets that wait are constructed first, because their memory must outlive the queues of the ports.
struct MainLcore : WaitingPackets, Lcore {
  // Master keys and the ring of events outlive the lcore. Throws EngineError or std::bad_alloc.
  MainLcore(const EngineConfig& config, const Aead& aead, Port& unsecured_port, Port& secured_port,
            MasterKeys& keys, Counters& counters, SpscRing<Event>& events, SampleRing& samples,
            uint64_t seed);

  MacAddress next_hop_mac(const Address& hop) override { return next_hops.mac_of(hop); }

  // False when the ring is full: the caller reports the event later.
  bool report(Event event) {
    const bool taken = events.push(event);
    if (!taken) counters[Value::kEventsDelayed].add();
    return taken;
  }

  // The port's link changed: it is used as it is now from the next turn on. Returns the MTU that is used: at
  // most that of the start, which packet memory is sized for. Between two commands and only while settled();
  // it is settled again once all worker lcores took the change over.
  uint16_t follow_link(bool is_secured, const LinkState& link);
  // Puts the prepared master key in its slot and ends the SPIs of the one that was there.
  void rotate_master_key();
  // Puts another topology in the place of the current one, and shares the tables between its peers. The old
  // one is in use until settled().
  void replace_topology(std::shared_ptr<const Topology>& next);
  // Master keys, sampling rates, links or the topology changed.
  void announce_change() { changes.fetch_add(1, std::memory_order_release); }
  // Packets that all lcores have sealed.
  uint64_t sealed_packets() const;
  // Whether all worker lcores took over what changed last, so that none uses what was before. Until then no
  // command is completed or begun.
  bool settled() const;

  // Pre-faults memory of tables and expanded keys ahead of its use, a bounded part per call. False: there is
  // nothing to do. Of one thread, any but the polling one.
  bool grow_memory();
  // How long the next turn may wait when no packet arrives.
  uint32_t idle_timeout_ms() const;

  SpscRing<Event>& events;
  FlowTable flow_table;
  KeyWear key_wear;
  ReceiveSpis receive_spis;
  UnknownSpis unknown_spis;
  Neighbours hosts, next_hops;
  Timers<MainLcore> timers;

  std::vector<WorkerLcore*> workers;
  // Apart from what is written with each packet, because worker lcores read it in each turn.
  alignas(64) std::atomic<uint32_t> changes{0};

 private:
  void share_tables();

  MasterKeys& keys_;
};

}  // namespace psp
