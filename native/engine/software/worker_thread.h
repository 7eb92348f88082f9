// SPDX-License-Identifier: Apache-2.0
// A worker lcore with its thread, its queue pair of each port, its counters and its samples. The main thread
// opens, starts and ends it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>

#include "engine/counters.h"
#include "engine/memory/sample_ring.h"
#include "engine/memory/wakeup.h"
#include "engine/ports/port.h"
#include "engine/software/control_rings.h"
#include "engine/software/lcore/worker_lcore.h"

namespace psp {

struct WorkerThread {
  explicit WorkerThread(uint16_t snap_bytes) : samples(kSamples, snap_bytes) {}

  // Starts the thread, once ports and lcore are there. Throws EngineError.
  void start(ControlRings& rings, bool busy_polling);
  // Ends the thread, if it was started.
  void end();

  Counters counters;
  SampleRing samples;
  Wakeup wakeup;
  std::unique_ptr<Port> unsecured, secured;
  std::unique_ptr<WorkerLcore> lcore;

 private:
  void run(ControlRings& rings, bool busy_polling);

  std::atomic<bool> ending_{false};
  std::thread thread_;
};

}  // namespace psp
