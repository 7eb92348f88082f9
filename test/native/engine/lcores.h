// SPDX-License-Identifier: Apache-2.0
// A gateway of two lcores without threads: a worker lcore between queues of its own, whose turns are called
// by hand as the main lcore's are.
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
        worker_samples(4096, config.sampling.snap_bytes),
        worker(std::make_unique<WorkerLcore>(*main, 0, hosts_queue, wire_queue, worker_counters,
                                             worker_samples, kSeed + 1)) {
    turn_worker();
  }
  // The main lcore may still have packets of the worker lcore's queues.
  ~TwoLcores() {
    worker.reset();
    main.reset();
  }

  void turn_worker(uint64_t ms = 0) { run_once(*worker, (now += ms) * 1'000'000); }
  void pass_worker(uint64_t ms) {
    now += ms;
    while (run_once(*worker, now * 1'000'000)) {
    }
  }
  // Frames that reach the worker lcore's queues, which it receives at once.
  void host_sends_to_worker(Frame frame) {
    hosts_queue.received.push_back(std::move(frame));
    turn_worker();
  }
  void wire_sends_to_worker(Frame frame) {
    wire_queue.received.push_back(std::move(frame));
    turn_worker();
  }
  // Turns of both until nothing is left to receive.
  void settle_both() {
    do {
      turn_worker();
      turn();
    } while (!hosts_queue.received.empty() || !wire_queue.received.empty() || !worker->handoff.empty() ||
             !unsecured.received.empty() || !secured.received.empty());
  }
  EngineCounts counts() const {
    EngineCounts sum = counters.read();
    sum.add(worker_counters.read());
    return sum;
  }
  uint64_t handed_off() { return worker_counters[Value::kHandedOff].value(); }

  FakePort hosts_queue, wire_queue;
  Counters worker_counters;
  SampleRing worker_samples;
  std::unique_ptr<WorkerLcore> worker;
};

}  // namespace psp
