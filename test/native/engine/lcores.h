// SPDX-License-Identifier: Apache-2.0
// A gateway of two lcores without threads: a second worker between queues of its own, whose turns are called
// by hand as the first one's are.
#pragma once

#include <utility>

#include "gateway.h"

namespace psp {

inline EngineConfig with_two_lcores(EngineConfig config) {
  config.lcores = 2;
  return config;
}

struct TwoLcores : Gateway {
  explicit TwoLcores(EngineConfig engine_config = gateway_config(), uint16_t unsecured_mtu = 1500,
                     uint16_t secured_mtu = 1600)
      : Gateway(with_two_lcores(std::move(engine_config)), unsecured_mtu, secured_mtu),
        hosts_queue({kUnsecuredMac, unsecured_mtu}),
        wire_queue({kSecuredMac, secured_mtu}),
        other_samples(4096, config.sampling.snap_bytes),
        other(std::make_unique<Worker>(*worker, 0, hosts_queue, wire_queue, other_counters, other_samples,
                                       kSeed + 1)) {
    turn_other();
  }
  // The first may still have packets of the other's queues.
  ~TwoLcores() {
    other.reset();
    worker.reset();
  }

  void turn_other(uint64_t ms = 0) { other->run_once((now += ms) * 1'000'000); }
  void pass_other(uint64_t ms) {
    now += ms;
    while (other->run_once(now * 1'000'000)) {
    }
  }
  // Frames that reach the other lcore's queues, which it takes at once.
  void host_sends_other(Frame frame) {
    hosts_queue.received.push_back(std::move(frame));
    turn_other();
  }
  void wire_sends_other(Frame frame) {
    wire_queue.received.push_back(std::move(frame));
    turn_other();
  }
  // Turns of both until nothing is left to receive.
  void settle_both() {
    do {
      turn_other();
      turn();
    } while (!hosts_queue.received.empty() || !wire_queue.received.empty() || !other->other->lanes.empty() ||
             !unsecured.received.empty() || !secured.received.empty());
  }
  EngineCounts counts() const {
    EngineCounts sum = counters.read();
    sum.add(other_counters.read());
    return sum;
  }
  uint64_t handed_off() { return other_counters[Value::kHandedOff].value(); }

  FakePort hosts_queue, wire_queue;
  Counters other_counters;
  SampleRing other_samples;
  std::unique_ptr<Worker> other;
};

}  // namespace psp
