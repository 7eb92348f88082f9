// SPDX-License-Identifier: Apache-2.0
// The world of one polling core: two ports, the tables, and one turn of the loop. Time comes in as an
// argument; nothing here reads a clock, blocks, or allocates after construction. The pipes are functions over
// it, one file each; a burst goes through them in the order in which run_once names them.
//
//   unsecured  ingress_root -> egress_root -> egress_acl -> egress_sampling -> seal          -> secured
//   secured    ingress_root -> ingress_decrypt -> ingress_sampling -> ingress_acl -> deliver -> unsecured
#pragma once

#include <array>
#include <memory>

#include "engine/bypass.h"
#include "engine/counters.h"
#include "engine/engine.h"
#include "engine/fragment.h"
#include "engine/hold.h"
#include "engine/icmp_error.h"
#include "engine/neighbours.h"
#include "engine/packet.h"
#include "engine/peers.h"
#include "engine/pool.h"
#include "engine/port.h"
#include "engine/reassembly.h"
#include "engine/sample_ring.h"
#include "engine/software/capture.h"
#include "engine/software/delivery.h"
#include "engine/software/draw.h"
#include "engine/software/flow_table.h"
#include "engine/software/key_cache.h"
#include "engine/software/opening.h"
#include "engine/software/receive_spis.h"
#include "engine/software/sealing.h"
#include "engine/spsc_ring.h"
#include "engine/tx_queue.h"
#include "psp/aead.h"
#include "psp/master_key.h"
#include "psp/tunnel.h"

namespace psp {

struct Worker {
  // Ports, AEAD, counters and rings outlive the worker; the seed is that of the draw. Throws EngineError or
  // std::bad_alloc.
  Worker(const EngineConfig& config, const Aead& aead, Port& unsecured_port, Port& secured_port, uint8_t slot,
         std::unique_ptr<MasterKey> active, Counters& counters, SpscRing<Event>& events, SampleRing& samples,
         uint64_t seed);

  // One turn at this time (monotonic, in nanoseconds): drains, a burst from each port, timers, sends. True
  // when packets moved or were received.
  bool run_once(uint64_t now_ns);
  // Carries out a command at the time of the last turn.
  void carry_out(Command& command);
  // How long the next turn may wait when no packet comes.
  uint32_t patience_ms() const;

  void drop(const Packet& packet, Drop reason) {
    rte_pktmbuf_free(packet.mbuf);
    counters[reason].add();
  }
  // False when the ring is full: then it is told later, by whoever has it to tell.
  bool tell(Event event) {
    const bool taken = events.push(event);
    if (!taken) counters[Value::kEventsDelayed].add();
    return taken;
  }
  // Gives a sample with a copy of these octets to the control side. Time, protocol and ports are filled here.
  void tell_sample(SampleFacts& facts, const Packet& packet, const uint8_t* octets, uint32_t length);

  // One of the two sides, with what belongs to its port.
  struct Side {
    Side(Port& port, PortCounters& port_counters)
        : port(port),
          info(port.info()),
          ethernet(info.mac),
          counters(port_counters),
          tx(port, port_counters) {}
    Port& port;
    const PortInfo info;
    const EthernetAddress ethernet;
    PortCounters& counters;
    TxQueue tx;
  };

  const EngineConfig& config;
  const Aead& aead;
  Counters& counters;
  SpscRing<Event>& events;
  SampleRing& samples;
  uint64_t now_ns = 0, now_ms = 0;

  Peers peers;

  // Memory of packets stands in front of all that packets wait in, and so ends behind it.
  Pool control_pool;              // ARP and neighbour discovery of our own
  Pool fragment_pool;             // fragments that we make, ICMP errors
  Reassembly egress_reassembly;   // of fragments that hosts send towards transport peers
  Reassembly ingress_reassembly;  // of fragments from the wire
  FlowTable flows;
  Hold hold;  // whose packets stand in queues of the flows

  Side unsecured, secured;
  UnsecuredRules unsecured_rules;
  SecuredRules secured_rules;
  Neighbours hosts, next_hops;

  Bypass bypass;
  IcmpLimit icmp_limit;
  Identifications identifications;
  const bool vips_on_wire;  // as ends of transport mode, or by the bypass

  Draw draw;
  Capture capture;
  KeyCache egress_keys;
  const OuterHeader outer_header;
  Sealing sealing;
  PeerTally egress_tally;

  std::array<std::unique_ptr<MasterKey>, 2> master_keys;
  KeyCache ingress_keys;
  Opening opening;
  ReceiveSpis receive_spis;
  PeerTally ingress_tally;
  Delivery delivery;

 private:
  void receive(Side& side, Burst& burst);
  void tell_missed();
  void tick();

  Burst burst_;  // of one port after the other
};

}  // namespace psp
