// SPDX-License-Identifier: Apache-2.0
// The engine's counters. One thread writes, any thread reads: plain relaxed loads and stores, without locks
// or locked instructions. A reader sees each number whole, but not all of them at one instant.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "engine/counts.h"
#include "engine/drop_reasons.h"
#include "engine/pipe_names.h"
#include "engine/values.h"

namespace psp {

// Has one writing thread: the polling one, except for commandsRefused, which the control side writes.
class Counter {
 public:
  void add(uint64_t n = 1) { set(value() + n); }
  void subtract(uint64_t n = 1) { set(value() - n); }
  void set(uint64_t n) { value_.store(n, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

struct PortCounters {
  Counter rx_packets, rx_bytes, tx_packets, tx_bytes;

  PortCount read() const {
    return {rx_packets.value(), rx_bytes.value(), tx_packets.value(), tx_bytes.value()};
  }
};

// Of one peer. Times are those of the turn, 0: never.
struct PeerCounters {
  Counter egress_packets, egress_bytes, ingress_packets, ingress_bytes;
  Counter last_egress_ms, last_ingress_ms;
  Counter keyed_flows, inbound_flows;  // gauges

  void count_egress(uint64_t packets, uint64_t bytes, uint64_t now_ms) {
    egress_packets.add(packets);
    egress_bytes.add(bytes);
    last_egress_ms.set(now_ms);
  }
  void count_ingress(uint64_t packets, uint64_t bytes, uint64_t now_ms) {
    ingress_packets.add(packets);
    ingress_bytes.add(bytes);
    last_ingress_ms.set(now_ms);
  }
  PeerCount read() const {
    return {egress_packets.value(), egress_bytes.value(),    ingress_packets.value(), ingress_bytes.value(),
            last_egress_ms.value(), last_ingress_ms.value(), keyed_flows.value(),     inbound_flows.value()};
  }
};

// Counts packets of peers, once for adjacent packets of one peer.
class PeerTally {
 public:
  using Count = void (PeerCounters::*)(uint64_t packets, uint64_t bytes, uint64_t now_ms);

  PeerTally(std::vector<PeerCounters>& peers, Count count) : peers_(peers), count_(count) {}
  void add(uint16_t peer, uint64_t packets, uint64_t bytes, uint64_t now_ms) {
    if (peer != peer_) flush(now_ms);
    peer_ = peer;
    packets_ += packets;
    bytes_ += bytes;
  }
  // Counts what was added; called after each burst.
  void flush(uint64_t now_ms) {
    if (packets_ != 0) (peers_[peer_].*count_)(packets_, bytes_, now_ms);
    packets_ = bytes_ = 0;
  }

 private:
  std::vector<PeerCounters>& peers_;
  const Count count_;
  uint16_t peer_ = 0;
  uint64_t packets_ = 0, bytes_ = 0;
};

// Packets that passed in the clear by one rule.
struct BypassCounters {
  Counter egress_packets, ingress_packets;
};

struct Counters {
  struct PipeCounters {
    Counter hit, miss;
  };
  std::array<PipeCounters, kPipeCount> pipes;
  std::array<Counter, kDropReasonCount> drops;
  std::array<Counter, kValues.size()> values;
  PortCounters unsecured, secured;
  std::vector<PeerCounters> peers;     // by index; sized before any thread reads
  std::vector<BypassCounters> bypass;  // by rule; as peers

  void hit(Pipe pipe, uint64_t packets = 1) { pipes[static_cast<size_t>(pipe)].hit.add(packets); }
  void miss(Pipe pipe, uint64_t packets = 1) { pipes[static_cast<size_t>(pipe)].miss.add(packets); }
  // Takes a packet back that another lcore will count.
  void unhit(Pipe pipe) { pipes[static_cast<size_t>(pipe)].hit.subtract(); }
  Counter& operator[](Drop reason) { return drops[static_cast<size_t>(reason)]; }
  Counter& operator[](Value value) { return values[static_cast<size_t>(value)]; }

  // A snapshot in the order of the tables; rows of zero too. Any thread.
  EngineCounts read() const;
};

}  // namespace psp
