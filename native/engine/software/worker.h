// SPDX-License-Identifier: Apache-2.0
// The world of one polling core: a queue of either port, the tables, and one turn of the loop. Time comes in
// as an argument; nothing here reads a clock, blocks, or allocates after construction. The pipes are
// functions over it, one file each; a burst goes through them in the order in which run_once names them. Of
// several lcores the first is the one that all of this speaks of: it alone writes the tables. The others seal
// and open by copies of records, and leave to it whatever needs more than that (hand_off.h).
//
//   unsecured  ingress_root -> egress_root -> egress_acl -> egress_sampling -> seal          -> secured
//   secured    ingress_root -> ingress_decrypt -> ingress_sampling -> ingress_acl -> deliver -> unsecured
#pragma once

#include <array>
#include <memory>

#include "engine/budget.h"
#include "engine/counters.h"
#include "engine/engine.h"
#include "engine/ip/bypass.h"
#include "engine/ip/fragment.h"
#include "engine/ip/icmp_error.h"
#include "engine/ip/peers.h"
#include "engine/ip/reassembly.h"
#include "engine/memory/sample_ring.h"
#include "engine/memory/spsc_ring.h"
#include "engine/neighbours/neighbours.h"
#include "engine/ports/packet.h"
#include "engine/ports/pool.h"
#include "engine/ports/port.h"
#include "engine/ports/tx_queue.h"
#include "engine/software/hold.h"
#include "engine/software/master_keys.h"
#include "engine/software/pipes/capture.h"
#include "engine/software/pipes/delivery.h"
#include "engine/software/pipes/opening.h"
#include "engine/software/pipes/own_packets.h"
#include "engine/software/pipes/sampling_decision.h"
#include "engine/software/pipes/sealing.h"
#include "engine/software/tables/flow_table.h"
#include "engine/software/tables/key_cache.h"
#include "engine/software/tables/receive_spis.h"
#include "engine/software/worker_lcore.h"
#include "psp/aead.h"
#include "psp/tunnel.h"

namespace psp {

struct Worker {
  // The first lcore's. Ports, AEAD, master keys, counters and rings outlive the worker; the seed is that of
  // the draw. Throws EngineError or std::bad_alloc.
  Worker(const EngineConfig& config, const Aead& aead, Port& unsecured_port, Port& secured_port,
         MasterKeys& keys, Counters& counters, SpscRing<Event>& events, SampleRing& samples, uint64_t seed);
  // Another lcore's, of the others counted from 0, between queues, counters and samples of its own. Made and
  // ended while the first one, which outlives it, stands still.
  Worker(Worker& first, uint32_t lcore, Port& unsecured_port, Port& secured_port, Counters& counters,
         SampleRing& samples, uint64_t seed);

  // One turn at this time (monotonic, in nanoseconds): drains, a burst from each port, timers, sends. True
  // when packets moved or were received, or when timers have more to do at this time.
  bool run_once(uint64_t now_ns);
  // Carries out a command, or goes on with it, at the time of the last turn and as far as the budget allows.
  // False: there is more to do, in the next turn; no other command may come between. First lcore only.
  bool carry_out(Command& command, Budget& budget);
  // Goes by the port's link as it is now, from the next turn on. Returns the MTU that is used: at most that
  // of the start, which packet memory is made for. First lcore only, between two commands and once settled();
  // it is settled again once all other lcores took it over.
  uint16_t follow(bool secured, const LinkState& link);
  // Gives flows up that have waited too long for a key. False: the budget ended before.
  bool give_up(Budget& budget);
  // What is left of the last turn's budget, for commands.
  Budget budget{Budget::kTurn};
  // Whether all other lcores took over what the last command changed, so that nobody uses what was before.
  // Until then the command is not done, and no other may be carried out.
  bool settled() const;
  // Pre-faults memory of tables and of expanded keys that will be used soon, a bounded part per call. False:
  // there is nothing to do. Of one thread, any but the polling one.
  bool grow_memory();
  // How long the next turn may wait when no packet comes.
  uint32_t patience_ms() const;

  void drop(const Packet& packet, Drop reason) {
    rte_pktmbuf_free(packet.mbuf);
    counters[reason].add();
  }
  // Leaves a packet as it came to the first lcore, in order with others of its hash. Takes it.
  void hand_off(Direction direction, uint32_t hash, const Packet& packet);
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
          largest_mtu(info.mtu),
          counters(port_counters),
          tx(port, port_counters) {}
    Port& port;
    PortInfo info;  // MAC address and MTU as they are used now
    EthernetAddress ethernet;
    const uint16_t largest_mtu;  // that packet memory is made for
    PortCounters& counters;
    TxQueue tx;
  };

  const EngineConfig& config;
  const Aead& aead;
  Counters& counters;
  SpscRing<Event>& events;
  SampleRing& samples;
  uint64_t now_ns = 0, now_ms = 0;

  // What there is once, however many lcores. Memory of packets stands in front of all that packets wait in,
  // and so ends behind it.
  struct Once {
    Once(const EngineConfig& config, uint32_t longest_frame, Counters& counters);
    Peers peers;
    Pool control_pool;   // ARP and neighbour discovery of our own
    Pool fragment_pool;  // fragments that we make, ICMP errors
    IcmpLimit icmp_limit;
    IcmpLimit echo_limit;  // of its own, so that pings cost no error
    Identifications identifications;
    CaptureLimit capture_limit;
    // Of the first lcore alone:
    Reassembly egress_reassembly;   // of fragments that hosts send towards transport peers
    Reassembly ingress_reassembly;  // of fragments from the wire
  };
  std::unique_ptr<Once> once;  // the first lcore's
  const Peers& peers;
  Pool& fragment_pool;
  Reassembly& egress_reassembly;
  Reassembly& ingress_reassembly;
  FlowTable flows;  // other lcores: places of copies
  std::unique_ptr<Hold> own_hold;
  Hold& hold;  // the first lcore's; its packets stand in queues of the flows

  Side unsecured, secured;
  UnsecuredRules unsecured_rules;
  SecuredRules secured_rules;
  Neighbours hosts, next_hops;

  Bypass bypass;
  IcmpLimit& icmp_limit;
  IcmpLimit& echo_limit;
  Identifications& identifications;
  const bool vips_on_wire;         // as ends of transport mode, or by the bypass
  const bool gateway_among_peers;  // a gateway address lies in a peer's prefix

  Draw draw;
  Capture capture;
  KeyCache egress_keys;
  const OuterHeader outer_header;
  Sealing sealing;
  PeerTally egress_tally;

  std::array<const MasterKey*, 2> master_keys{};
  KeyCache ingress_keys;
  Opening opening;
  ReceiveSpis receive_spis;  // other lcores: places of copies
  PeerTally ingress_tally;
  Delivery delivery;
  OwnPackets own_packets;

  // First lcore: puts the prepared master key in its slot and ends the SPIs of the one that was there.
  void rotate_master_key();
  // First lcore: others take over master keys, rates of samples and links once they see the number.
  alignas(64) std::atomic<uint32_t> changes{0};  // apart from what is written with each packet

  std::unique_ptr<WorkerState> other;  // null: this is the first

 private:
  Worker(const EngineConfig& config, const Aead& aead, Port& unsecured_port, Port& secured_port,
         MasterKeys& keys, Counters& counters, SpscRing<Event>& events, SampleRing& samples, uint64_t seed,
         Worker* first);
  void receive(Side& side, Handoff::Lane lane, Burst& burst);
  void seal_or_hold(Burst& burst);
  uint16_t take_handed_off(Handoff::Lane lane, rte_mbuf** received);
  void send_handed_off();
  void take_over_changes();
  void use(bool secured, bool up, uint16_t mtu, const MacAddress& mac);
  void tell_missed();
  void run_timers();

  alignas(64) Burst burst_;           // of one port after the other
  MasterKeys& keys_;                  // workers: only `master_keys` may be used
  std::vector<WorkerState*> others_;  // first lcore
  bool ticking_ = false;              // timers have more to do in this millisecond
  size_t first_timer_ = 0;            // the next turn begins with this one
};

}  // namespace psp
