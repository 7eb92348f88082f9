// SPDX-License-Identifier: Apache-2.0
// The neighbours of one port: the MAC address of each IP address, resolved by ARP or neighbour discovery.
// Frames for a neighbour that is not resolved yet wait, within bounds; a solicitation goes out at once and
// then each second, three in all. Without an answer the waiting frames are dropped, and the neighbour is
// unreachable for a second. Addresses are learned from answers and from solicitations to us; a configured
// address serves until one is learned. Reachability is verified as in RFC 4861 section 7.3, for both
// families: a neighbour that is used and was not confirmed for a while gets up to three unicast probes and
// stays in use meanwhile; without an answer it is removed, so that the next frame solicits it from all. A
// neighbour that is not used costs no traffic. A quarter of the table is reserved for unresolved ones, so
// that neither kind displaces the other: of the resolved the longest unused gives way, of the unresolved the
// oldest. Only the main lcore reads and writes the table; what the worker lcores may use of it is published
// (published_neighbours.h).
#pragma once

#include <cstdint>

#include "engine/budget.h"
#include "engine/counters.h"
#include "engine/memory/hash_index.h"
#include "engine/memory/slab.h"
#include "engine/neighbours/neighbour_rules.h"
#include "engine/neighbours/neighbour_sender.h"
#include "engine/neighbours/outgoing.h"
#include "engine/neighbours/published_neighbours.h"
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

  enum class Reach : uint8_t { kKnown, kSolicited, kUnreachable };

  using Drops = NeighbourSender::Drops;

  // Solicitations are built in `pool`. With `publishes` what is resolved is published for worker lcores.
  Neighbours(const NeighbourRules& rules, const MacAddress& mac, TxQueue& tx, rte_mempool* pool,
             Counters& counters, const Drops& drops, Value forwarded, bool publishes = false);
  ~Neighbours();

  // Whether a packet for `address` could leave now; solicits the neighbour when it could not.
  Reach reach(const Address& address, uint64_t now_ms);
  // The MAC address that a frame for `address` would be sent to now; zero when it is not known.
  MacAddress mac_of(const Address& address) const;
  // Sends a frame, whose Ethernet destination is not written yet, to `address`: now, or once that is
  // resolved. Takes the frame in any case, and counts what becomes of it.
  void send(const Address& address, rte_mbuf* frame, uint64_t now_ms);
  // The same for frames in a row, and for all that a burst became.
  void send(const Address& address, rte_mbuf* const* frames, uint32_t count, uint64_t now_ms);
  void send(Outgoing& outgoing, uint64_t now_ms) {
    outgoing.take_runs([&](const Address& address, rte_mbuf* const* frames, uint32_t count) {
      send(address, frames, count, now_ms);
    });
  }
  // A configured MAC address: used until something is learned.
  void seed(const Address& address, const MacAddress& mac, uint64_t now_ms);

  // Our port has another MAC address: frames carry it from now on, and it is announced on the link for each
  // of our own addresses.
  void change_mac(const MacAddress& mac);
  // A solicitation or an answer was received: learns and answers as the rules say.
  void receive(const NeighbourMessage& message, uint64_t now_ms);
  // Repeats solicitations and gives up, for a bounded number of neighbours each millisecond. Called in each
  // turn while it returns false, and in the first one of each millisecond.
  bool tick(uint64_t now_ms, Budget& budget);
  // Whether a timer runs for any neighbour.
  bool any_due() const { return !due_.empty(); }

  // For worker lcores. The index may be looked up in by any thread (HashIndex::look_up).
  const PublishedNeighbours& published() const { return published_; }
  const HashIndex& index() const { return index_; }
  const HashSeed& seed() const { return seed_; }

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
    kIncomplete,   // all are solicited, frames wait
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
    bool sending;  // the frames that waited may still be in the queue, in front of sent_at
    uint8_t tries;
    uint32_t sent_at;
    uint64_t confirmed_ms, used_ms, next_ms;
    List<Waiting, &Waiting::link> waiting;
    Link link, order, sending_link;
    uint32_t next_free;
  };

  void publish(const Neighbour& neighbour);
  void publish_sent();

  uint32_t find(const Address& address) const;
  uint32_t find_or_add(const Address& address, uint64_t now_ms);
  Reach reach(Neighbour& neighbour, uint64_t now_ms);
  static bool is_known(State state) { return state >= State::kReachable; }
  static bool is_due(State state);
  // Changes the state; `next_ms`: its end, where it has one.
  void enter(Neighbour& neighbour, State state, uint64_t next_ms = 0);
  void learn(const NeighbourMessage& message, bool add, uint64_t now_ms);
  void confirm(const Address& address, uint64_t now_ms);
  void begin_soliciting(Neighbour& neighbour, State state, uint64_t now_ms);
  void solicit(Neighbour& neighbour, uint64_t now_ms);
  void give_up(Neighbour& neighbour, uint64_t now_ms);
  void end_probing(Neighbour& neighbour, uint64_t now_ms);
  void enqueue(Neighbour& neighbour, rte_mbuf* frame);
  void release(Neighbour& neighbour);
  void drop_waiting(Neighbour& neighbour);
  void drop_oldest_waiting(Neighbour& neighbour);
  rte_mbuf* take_waiting(Neighbour& neighbour);
  void remove(uint32_t index);
  void evict_known();
  uint32_t hash(const Address& address) const { return hash_octets(seed_, address.data(), address.size()); }

  const NeighbourRules& rules_;
  MacAddress mac_;
  TxQueue& tx_;
  rte_mempool* pool_;
  Counters& counters_;
  NeighbourSender sender_;
  HashSeed seed_;
  Slab<Neighbour> neighbours_;
  HashIndex index_;
  Slab<Waiting> waiting_;
  TimerRound timers_;
  List<Neighbour, &Neighbour::link> due_;  // those whose state has a timer
  // Each neighbour is in one of these; unknown ones in the order in which they became unknown.
  List<Neighbour, &Neighbour::order> known_, unknown_;
  List<Neighbour, &Neighbour::sending_link> sending_;  // published once their frames were sent
  PublishedNeighbours published_;
  // The neighbour found last; frames in a row often go to the same. Written with each packet, so apart from
  // what worker lcores read.
  alignas(64) uint32_t last_ = 0;
};

}  // namespace psp
