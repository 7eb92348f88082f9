// SPDX-License-Identifier: Apache-2.0
// The loop of the main lcore: turns, commands of the control side, changes of the links, and sleep. A command
// is taken only while there is space for its completion, and is completed once all worker lcores took over
// what it changed.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <span>

#include "engine/software/control_rings.h"
#include "engine/software/lcore/main_lcore.h"
#include "engine/software/worker_thread.h"

namespace psp {

class MainThread {
 public:
  // All arguments outlive the thread.
  MainThread(MainLcore& lcore, ControlRings& rings, SampleRing& samples,
             std::span<const std::unique_ptr<WorkerThread>> workers, const std::atomic<bool>& stopping);

  // Runs on the calling thread until it is stopped, or until an interface is gone.
  void run(bool busy_polling);

 private:
  bool carry_out_commands();
  bool follow_links();
  bool follow(bool secured, const LinkState& link);
  void report_link(bool secured, const LinkState& link);
  void wake_workers();
  bool has_handed_off() const;

  MainLcore& lcore_;
  ControlRings& rings_;
  SampleRing& samples_;
  const std::span<const std::unique_ptr<WorkerThread>> workers_;
  const std::atomic<bool>& stopping_;
  std::unique_ptr<Command> command_;    // in progress
  std::unique_ptr<Command> unsettled_;  // carried out, and not yet taken over by all lcores
  std::array<bool, 2> unreported_{};    // changes of links, by whether it is the secured port's
};

}  // namespace psp
