// SPDX-License-Identifier: Apache-2.0
// Reassembles fragments (RFC 791 section 3.2, RFC 8200 section 4.5). Anybody may send fragments, so
// everything is bounded: datagrams in progress in all and of one source, octets of each, and time. At a limit
// the oldest is dropped. Any overlap drops the whole datagram and its later fragments, in both families (RFC
// 5722); a fragment that repeats earlier octets exactly is dropped alone (RFC 8200 section 4.5). Memory is
// allocated at start: each datagram in progress fills one packet buffer. Used by the polling thread.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>

#include "engine/budget.h"
#include "engine/counters.h"
#include "engine/memory/hash_index.h"
#include "engine/memory/slab.h"
#include "engine/ports/packet.h"
#include "engine/ports/pool.h"

namespace psp {

class Reassembly {
 public:
  static constexpr uint32_t kDatagrams = 128;  // in progress
  static constexpr uint32_t kPerSource = 16;   // of one source address
  static constexpr uint32_t kTimeoutMs = 2000;
  // Octets of headers before the fragments' data, as many as a gateway sends before PSP; and of all that
  // data: what fits into one buffer, whose length has 16 bits, with the headroom and tailroom that sealing
  // needs.
  static constexpr uint32_t kHeadersAtMost = 240;
  static constexpr uint32_t kDataAtMost = 65224;

  // Why fragments are dropped.
  struct Drops {
    Drop timeout, overlap, duplicate, full, malformed;
  };

  // Throws EngineError or std::bad_alloc.
  Reassembly(const Drops& drops, Counters& counters);
  ~Reassembly();

  // Takes a fragment, a packet that read_ip accepted with `fragment` set. True: it was the last one that was
  // missing, and `packet` is now the whole datagram (`reassembled` set) with the headers of the first
  // fragment, without a fragment header, and with the headroom and tailroom that sealing needs. False: it
  // waits, or was dropped and counted. Congestion marked on any fragment is marked on the datagram; where
  // another fragment is not ECN-capable the datagram is dropped as malformed (RFC 3168 section 5.3).
  bool add(Packet& packet, uint64_t now_ms);
  // Octets of the packet that `add` would make of this fragment and what waits; 0: none yet.
  uint32_t completes(const Packet& packet) const;
  // Drops datagrams that are older than kTimeoutMs, as far as the budget allows. Called in each millisecond
  // while waits(), and in each turn while it returns false.
  bool tick(uint64_t now_ms, Budget& budget);
  bool waits() const { return !by_age_.empty(); }

 private:
  static constexpr uint32_t kBlock = 8;  // octets

  // IPv6 fragments are of one datagram whatever protocol their headers name; IPv4 ones only under one.
  struct Key {
    Address source{}, destination{};
    uint32_t identification = 0, protocol = 0;
    uint64_t padding = 0;  // of the hash
    bool operator==(const Key&) const = default;
  };
  struct Datagram {
    Key key;
    rte_mbuf* mbuf;  // null: dropped for an overlap, kept to drop its later fragments
    uint64_t due_ms;
    uint32_t blocks;  // received
    uint32_t length;  // of the data; 0 until the last fragment came
    uint32_t end;     // of the data received so far
    uint32_t fragments;
    uint16_t headers;  // octets in front of the data; 0 until the first fragment came
    uint8_t ecn_seen;  // one bit for each value
    Link by_age;
    uint32_t next_free;
    bool used;
  };
  // The datagram of a fragment and its position in it, from its headers.
  struct Place {
    Key key;
    uint32_t offset = 0, length = 0;
    bool more = false;
    uint16_t headers = 0;      // in front of the data, without a fragment header
    uint16_t data_offset = 0;  // from the start of the IP header
    uint16_t protocol_offset = 0;
    uint8_t protocol = 0;
  };
  enum class Fate : uint8_t { kFits, kDuplicate, kOverlap };

  static bool read_place(const Packet& packet, Place* place);
  static bool read_ipv6_place(const Packet& packet, Place* place);
  uint32_t find(const Key& key) const;
  uint32_t begin(const Key& key, uint64_t now_ms);
  Fate judge(const Datagram& datagram, uint32_t index, const Place& place, const uint8_t* data) const;
  static void note(Datagram& datagram, const Place& place);
  void copy_in(Datagram& datagram, uint32_t index, const Place& place, const Packet& packet);
  bool finish(uint32_t index, Packet& packet);
  void drop_all(Datagram& datagram, Drop reason);
  void end(uint32_t index);
  uint8_t* data_of(const Datagram& datagram) const;
  uint32_t hash(const Key& key) const { return hash_octets(seed_, &key, sizeof key); }
  static bool complete(const Datagram& datagram) {
    return datagram.length != 0 && datagram.headers != 0 &&
           datagram.blocks == (datagram.length + kBlock - 1) / kBlock;
  }

  const Drops drops_;
  Counters& counters_;
  Pool pool_;
  HashSeed seed_;
  Slab<Datagram> datagrams_;
  HashIndex index_;
  List<Datagram, &Datagram::by_age> by_age_;  // oldest first
  // Which blocks came, by the datagram's number.
  std::array<std::bitset<kDataAtMost / kBlock>, kDatagrams + 1> received_;
};

}  // namespace psp
