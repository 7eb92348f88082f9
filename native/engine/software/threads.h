// SPDX-License-Identifier: Apache-2.0
// The threads of a software engine and all that they own. The thread of the main lcore opens the ports and
// makes the lcores, starts the worker lcores and the thread that pre-faults memory, polls, and at the end
// joins and closes everything in reverse.
#pragma once

#include <atomic>
#include <cstdint>
#include <future>
#include <memory>
#include <stop_token>
#include <thread>
#include <vector>

#include "engine/config.h"
#include "engine/engine.h"
#include "engine/software/control_rings.h"
#include "engine/software/lcore/master_keys.h"
#include "engine/software/worker_thread.h"

namespace psp {

// Calls are the control thread's.
class Threads {
 public:
  // `master_keys` and `rings` outlive it.
  Threads(EngineConfig config, MasterKeys& master_keys, ControlRings& rings, Counters& counters);
  ~Threads() { stop(); }

  // Starts everything. Throws EngineError; then nothing runs.
  EngineInfo start();
  void stop();

  // Takes a sample of any lcore.
  bool next_sample(Sample* sample);
  // In how many nanoseconds samples should be taken, 0: now, UINT64_MAX: there are none.
  uint64_t samples_due_in_ns(uint64_t now_ns) const;
  // Of all lcores.
  EngineCounts counts() const;

 private:
  void run(std::promise<EngineInfo>& started);
  void grow_memory(MainLcore& main, const std::stop_token& stop);

  const EngineConfig config_;
  MasterKeys& master_keys_;
  ControlRings& rings_;
  Counters& counters_;  // of the main lcore, and of refused commands
  std::unique_ptr<Aead> aead_;
  SampleRing samples_;  // of the main lcore
  std::vector<std::unique_ptr<WorkerThread>> workers_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace psp
