// SPDX-License-Identifier: Apache-2.0
// The neighbours of one port: which MAC address an IP address has, asked for by ARP or neighbour discovery.
// Built packets wait, bounded, for one that is not known yet; a request goes out at once and then each
// second, three in all; without an answer the waiting packets are dropped and the neighbour counts as
// unreachable for a second. Learned from answers, and from requests to us; a configured address serves until
// something is learned. Whether a known one is still there is found out as RFC 4861 section 7.3 says, for
// both families: one that is used and was not confirmed for a while is sent up to three unicast probes, and
// stays in use meanwhile; without an answer it is forgotten, so that the next frame asks all neighbours. One
// that is not used costs no traffic. A quarter of the table is kept for unknown ones, so that neither kind
// displaces the other: of the known the longest unused gives way, of the unknown the oldest. Of the first
// lcore; those of the others only look up in what it publishes, and leave frames for unknown ones to it. A
// published one serves until it is to be confirmed: then frames come by the first lcore, which sees that it
// is used.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/budget.h"
#include "engine/counters.h"
#include "engine/memory/handoff.h"
#include "engine/memory/hash_index.h"
#include "engine/memory/seqlock.h"
#include "engine/memory/slab.h"
#include "engine/neighbours/neighbour_rules.h"
#include "engine/ports/tx_queue.h"

namespace psp {

class Neighbours {
 public:
  static constexpr uint32_t kCapacity = 16384;
  static constexpr uint32_t kKnownAtMost = kCapacity / 4 * 3;
  static constexpr uint32_t kQueuePerNeighbour = 64;
  static constexpr uint32_t kQueueTotal = 1024;
  // RFC 4861 section 10: RETRANS_TIMER; MAX_MULTICAST_SOLICIT and MAX_UNICAST_SOLICIT.
  static constexpr uint32_t kRetryMs = 1000;
  static constexpr uint32_t kTries = 3;
  // ReachableTime (section 6.3.2) and DELAY_FIRST_PROBE_TIME, which section 10 sets to 30 s and 5 s: it
  // relies on upper layers to confirm in between. A gateway has none, so both are shorter: a neighbour that
  // silently gets another MAC address is found within 9 s of the last confirmation, at the price of one probe
  // in 6 s.
  static constexpr uint32_t kReachableMs = 5000;
  static constexpr uint32_t kDelayMs = 1000;

  enum class Reach : uint8_t { kKnown, kAsked, kUnreachable };

  // Why frames of this side do not leave.
  struct Drops {
    Drop unresolved, tx_full, port_down;
  };

  // Requests are built in `pool`.
  Neighbours(const NeighbourRules& rules, const MacAddress& mac, TxQueue& tx, rte_mempool* pool,
             Counters& counters, const Drops& drops, Value forwarded);
  ~Neighbours();
  // From now on others may look up what is known here.
  void share();
  // Of another lcore: knows what `first` knows, and leaves all else to it by that lane.
  void ask_of(const Neighbours& first, Handoff& lanes, Handoff::Lane lane);

  // Whether a packet for `address` could leave now; asks when it could not.
  Reach reach(const Address& address, uint64_t now_ms);
  // What a frame for `address` would be sent to now; zero when it is not known.
  MacAddress mac_of(const Address& address, uint64_t now_ms) const;
  // Sends a frame whose Ethernet destination is open to `address`: now, or once it is known. Takes the frame
  // in any case, and counts what becomes of it.
  void send(const Address& address, rte_mbuf* frame, uint64_t now_ms);
  // The same for frames in a row.
  void send(const Address& address, rte_mbuf* const* frames, uint32_t count, uint64_t now_ms);
  // A configured MAC address: used until something is learned.
  void seed(const Address& address, const MacAddress& mac, uint64_t now_ms);

  // Our port has another MAC address: what is sent from now on bears it, and all on the link are told where
  // our own addresses are now.
  void change_mac(const MacAddress& mac);
  // Someone asked or answered: learns and answers as the rules say.
  void hear(const NeighbourMessage& message, uint64_t now_ms);
  // Repeats requests and gives up, for a bounded number of neighbours each millisecond. To be called in each
  // turn while it returns false, and in the first one of each millisecond.
  bool tick(uint64_t now_ms, Budget& budget);
  // Whether a neighbour has a time to come.
  bool any_due() const { return !due_.empty(); }

 private:
  struct Waiting {
    rte_mbuf* mbuf;
    Link link;
    uint32_t next_free;
    bool used;
  };
  // As in RFC 4861 section 7.3.2. Not known: new, incomplete and unreachable ones.
  enum class State : uint8_t {
    kNew,
    kIncomplete,   // all are asked, frames wait
    kUnreachable,  // nobody answered; for kRetryMs
    kReachable,    // confirmed; kReachableMs later as stale
    kStale,        // used as it is; the next use begins the delay
    kDelay,        // was used; probed after kDelayMs unless it is confirmed before
    kProbe,        // probed
  };
  struct Neighbour {
    Address address;
    MacAddress mac;
    MacAddress seed;
    State state;
    bool used;
    bool leaving;  // what waited may still be in the queue, in front of left_at
    uint8_t tries;
    uint32_t left_at;
    uint64_t confirmed_ms, used_ms, next_ms;
    List<Waiting, &Waiting::link> waiting;
    Link link, order, leaving_link;
    uint32_t next_free;
  };

  // What others may use, and until when.
  struct Known {
    Address address;
    uint64_t until_ms;
    MacAddress mac;
    uint8_t unused[2];
  };

  void publish(const Neighbour& neighbour);
  void publish_those_that_left();
  const Known* look_up(const Address& address, uint64_t now_ms) const;
  void send_or_hand_off(const Address& address, rte_mbuf* const* frames, uint32_t count, uint64_t now_ms);
  void transmit(const MacAddress& mac, rte_mbuf* const* frames, uint32_t count);

  uint32_t find(const Address& address) const;
  uint32_t find_or_add(const Address& address, uint64_t now_ms);
  Reach reach(Neighbour& neighbour, uint64_t now_ms);
  static bool is_known(State state) { return state >= State::kReachable; }
  static bool is_due(State state);
  // Changes the state; `next_ms`: its end, where it has one.
  void enter(Neighbour& neighbour, State state, uint64_t next_ms = 0);
  void learn(const NeighbourMessage& message, bool add, uint64_t now_ms);
  void confirm(const Address& address, uint64_t now_ms);
  void begin_asking(Neighbour& neighbour, State state, uint64_t now_ms);
  void ask(Neighbour& neighbour, uint64_t now_ms);
  void give_up(Neighbour& neighbour, uint64_t now_ms);
  void end_probing(Neighbour& neighbour, uint64_t now_ms);
  void enqueue(Neighbour& neighbour, rte_mbuf* frame);
  void release(Neighbour& neighbour);
  void drop_waiting(Neighbour& neighbour);
  rte_mbuf* take_waiting(Neighbour& neighbour);
  void forget(uint32_t number);
  void forget_a_known_one();
  uint32_t hash(const Address& address) const { return hash_octets(seed_, address.data(), address.size()); }

  const NeighbourRules& rules_;
  MacAddress mac_;
  TxQueue& tx_;
  rte_mempool* pool_;
  Counters& counters_;
  const Drops drops_;
  const Value forwarded_;
  HashSeed seed_;
  Slab<Neighbour> neighbours_;
  HashIndex index_;
  Slab<Waiting> waiting_;
  TimerRound timers_;
  List<Neighbour, &Neighbour::link> due_;  // those whose state ends at a time
  // Each neighbour is in one of these; the unknown in the order in which they became that.
  List<Neighbour, &Neighbour::order> known_, unknown_;
  List<Neighbour, &Neighbour::leaving_link> leaving_;       // not published before that
  std::unique_ptr<ZeroedArray<Seqlock<Known>>> published_;  // where there are other lcores
  // Found; packets in a row often go to the same. Apart from what other lcores read with each packet.
  alignas(64) uint32_t last_ = 0;

  // Of another lcore.
  const Neighbours* first_ = nullptr;
  Handoff* lanes_ = nullptr;
  Handoff::Lane lane_{};
  mutable Known known_last_{};  // found; as above
  mutable uint32_t known_number_ = 0;
  mutable uint64_t known_sequence_ = 0;
};

}  // namespace psp
