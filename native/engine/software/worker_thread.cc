// SPDX-License-Identifier: Apache-2.0
// The loop of a worker lcore: turns, and sleep between them.
#include "engine/software/worker_thread.h"

#include "engine/ports/eal.h"
#include "engine/software/polling_thread.h"
#include "engine/software/turn.h"
#include "engine/start_thread.h"

namespace psp {

void WorkerThread::start(ControlRings& rings, bool busy_polling) {
  thread_ = start_thread([this, &rings, busy_polling] { run(rings, busy_polling); });
}

void WorkerThread::end() {
  if (!thread_.joinable()) return;
  ending_ = true;
  wakeup.force();
  thread_.join();
}

void WorkerThread::run(ControlRings& rings, bool busy_polling) {
  enter_eal({});
  IdleSleep idle_sleep(*lcore, wakeup, samples);
  const PollingThread polling(busy_polling);
  uint64_t look_ns = 0;
  while (!ending_.load(std::memory_order_relaxed)) {
    const uint64_t now_ns = monotonic_ns();
    if (now_ns >= look_ns) {
      look_ns = now_ns + kLookNs;
      counters[Value::kFramesMissed].add(unsecured->missed() + secured->missed());
    }
    const bool moved = run_once(*lcore, now_ns);
    if (!lcore->handoff.empty()) rings.main.wake();
    if (samples.due_in_ns(lcore->now_ns) == 0) rings.control.wake();
    if (!idle_sleep.is_due(moved) || busy_polling) continue;
    idle_sleep.sleep(lcore->idle_timeout_ms(), [&] { return !lcore->is_changed() && !ending_; });
  }
  leave_eal();
}

}  // namespace psp
