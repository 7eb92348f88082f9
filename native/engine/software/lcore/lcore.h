// SPDX-License-Identifier: Apache-2.0
// What every lcore has: a queue of either port, the records of the flows and SPIs that it meets, expanded
// keys, and the bursts that its pipes pass on. The pipes are functions over it and do not know which kind of
// lcore runs them. A packet that needs slow-path state leaves a pipe by an edge of its own; the lcore's turn
// (main_turn.cc, worker_turn.cc) decides what becomes of it. Time is an argument of a turn; nothing here
// reads a clock, blocks, or allocates after construction.
#pragma once

#include <array>
#include <memory>

#include "engine/budget.h"
#include "engine/counters.h"
#include "engine/engine.h"
#include "engine/ip/topology.h"
#include "engine/memory/inplace_vector.h"
#include "engine/memory/sample_ring.h"
#include "engine/neighbours/neighbour_rules.h"
#include "engine/neighbours/neighbour_sender.h"
#include "engine/neighbours/outgoing.h"
#include "engine/ports/packet.h"
#include "engine/software/lcore/capture.h"
#include "engine/software/lcore/own_packets.h"
#include "engine/software/lcore/sampling_decision.h"
#include "engine/software/lcore/sealing.h"
#include "engine/software/lcore/shared.h"
#include "engine/software/lcore/side.h"
#include "engine/software/tables/flow_records.h"
#include "engine/software/tables/key_cache.h"
#include "engine/software/tables/spi_records.h"
#include "psp/aead.h"
#include "psp/master_key.h"
#include "psp/tunnel.h"

namespace psp {

// Why frames to hosts, and to next hops, are dropped.
inline constexpr NeighbourSender::Drops kHostDrops = {Drop::kIngressNeighbourUnresolved, Drop::kIngressTxFull,
                                                      Drop::kIngressPortDown, Drop::kIngressHandoffFull};
inline constexpr NeighbourSender::Drops kNextHopDrops = {Drop::kEgressNoNextHop, Drop::kEgressTxFull,
                                                         Drop::kEgressPortDown, Drop::kEgressHandoffFull};

// What outer headers of tunnel mode say, except destination and source port.
Outer outer_of(const EngineConfig& config);

// SPIs of a burst whose first packet passed the ACL, as far as the control side has not received their event.
using FirstSeen = InplaceVector<uint32_t, kBurst>;

struct Lcore {
  // What an lcore is given. All of it outlives the lcore; the seed is that of its sampling decisions.
  struct Parts {
    const EngineConfig& config;
    const Aead& aead;
    Port& unsecured;
    Port& secured;
    Counters& counters;
    SampleRing& samples;
    uint64_t seed;
  };
  // With so many records of flows and of receive SPIs. Throws EngineError or std::bad_alloc.
  Lcore(const Parts& parts, std::shared_ptr<Shared> shared, uint32_t flow_records, uint32_t spi_records);
  virtual ~Lcore() = default;
  Lcore(const Lcore&) = delete;
  Lcore& operator=(const Lcore&) = delete;

  // The MAC address of a next hop; zero when it is not known. For copies of sampled packets only.
  virtual MacAddress next_hop_mac(const Address& hop) = 0;

  // Drops a packet, and counts why.
  void drop(const Packet& packet, Drop reason) {
    rte_pktmbuf_free(packet.mbuf);
    counters[reason].add();
  }
  // The same for a packet that a pipe misses.
  void drop(Pipe pipe, const Packet& packet, Drop reason) {
    counters.miss(pipe);
    drop(packet, reason);
  }
  // Drops a packet that is, or was to become, a PSP packet: the reason also counts for the PSP specification.
  void drop_psp(const Packet& packet, Drop reason) {
    if (const auto value = psp_value_of(reason)) counters[*value].add();
    drop(packet, reason);
  }
  void consume(const Packet& packet) {
    counters[Value::kConsumed].add();
    rte_pktmbuf_free(packet.mbuf);
  }
  // Passes a copy of these octets of a sampled packet to the control side. Sets time, protocol and ports.
  void report_sample(SampleFacts& facts, const Packet& packet, const uint8_t* octets, uint32_t length);
  // The link of a port changed: from now on these are used.
  void use_link(bool is_secured, bool up, uint16_t mtu, const MacAddress& mac);
  // From now on packets are looked up in this topology, which outlives its use.
  void use_topology(const Topology& topology);

  const EngineConfig& config;
  const Aead& aead;
  Counters& counters;
  SampleRing& samples;
  uint64_t now_ns = 0, now_ms = 0;
  // What is left of the turn's budget.
  Budget budget{Budget::kTurn};

  // Holds packet memory, so it precedes all queues in which packets wait.
  const std::shared_ptr<Shared> shared;
  const Topology* topology;  // as this lcore uses it; never null
  Side unsecured, secured;
  UnsecuredRules unsecured_rules;
  SecuredRules secured_rules;

  // Egress.
  FlowRecords flows;
  KeyCache egress_keys;
  SamplingDecision sampling;
  const OuterHeader outer_header;
  Sealing sealing;
  PeerTally egress_tally;

  // Ingress.
  SpiRecords spis;
  KeyCache ingress_keys;
  std::array<const MasterKey*, 2> master_keys{};  // by slot
  PeerTally ingress_tally;
  Capture capture;

  // What the pipes pass on. All of it is empty between two turns.
  alignas(64) Burst burst;
  Burst slow_path;   // for a stage that only the main lcore has
  Burst to_gateway;  // for a gateway address of ours
  Burst clear;       // passes in the clear
  Burst unopened;    // failed to open
  FirstSeen first_seen;
  Outgoing to_wire, to_hosts;
  OwnPackets own_packets;
};

}  // namespace psp
