// SPDX-License-Identifier: Apache-2.0
// Links are followed between two commands, so that at most one change at a time waits for the worker lcores.
#include "engine/software/main_thread.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "engine/software/commands.h"
#include "engine/software/polling_thread.h"
#include "engine/software/turn.h"

namespace psp {

MainThread::MainThread(MainLcore& lcore, ControlRings& rings, SampleRing& samples,
                       std::span<const std::unique_ptr<WorkerThread>> workers,
                       const std::atomic<bool>& stopping)
    : lcore_(lcore), rings_(rings), samples_(samples), workers_(workers), stopping_(stopping) {}

void MainThread::run(bool busy_polling) {
  Port &unsecured = lcore_.unsecured.port, &secured = lcore_.secured.port;
  IdleSleep idle_sleep(lcore_, rings_.main, samples_,
                       {unsecured.link_descriptor(), secured.link_descriptor()});
  uint64_t look_ns = 0;
  const PollingThread polling(busy_polling);
  while (!stopping_.load(std::memory_order_relaxed)) {
    const uint64_t now_ns = monotonic_ns();
    if (now_ns >= look_ns) {
      look_ns = now_ns + kLookNs;
      if (!follow_links()) return;
      lcore_.counters[Value::kFramesMissed].add(unsecured.missed() + secured.missed());
    }
    bool moved = run_once(lcore_, now_ns);
    moved |= carry_out_commands();
    if (!rings_.events.empty() || !rings_.completions.empty() || samples_.due_in_ns(lcore_.now_ns) == 0) {
      rings_.control.wake();
    }
    if (!idle_sleep.is_due(moved) || busy_polling) continue;
    const uint32_t timeout_ms = lcore_.settled() ? lcore_.idle_timeout_ms() : 1;
    const auto idle = [&] { return rings_.commands.empty() && !stopping_ && !has_handed_off(); };
    if (idle_sleep.sleep(timeout_ms, idle)) look_ns = 0;
  }
}

// Carries out commands, as far as the turn's budget allows. True when there were any.
bool MainThread::carry_out_commands() {
  if (!lcore_.settled()) return false;
  if (unsettled_) rings_.completions.push(unsettled_);
  bool any = false;
  // A command that was begun has its space among the completions.
  while (command_ || (!rings_.completions.full() && rings_.commands.pop(&command_))) {
    any = true;
    const bool whole = carry_out(lcore_, *command_, lcore_.budget);
    if (!whole && !lcore_.settled()) wake_workers();
    if (!whole) break;
    if (!lcore_.settled()) {
      unsettled_ = std::move(command_);
      wake_workers();
      break;
    }
    rings_.completions.push(command_);
  }
  return any;
}

// Follows changes of the links, each once all lcores took over the one before. False: an interface is gone.
bool MainThread::follow_links() {
  for (const bool secured : {false, true}) {
    Port& port = (secured ? lcore_.secured : lcore_.unsecured).port;
    while (!command_ && lcore_.settled() && port.link_changed()) {
      if (!follow(secured, port.link())) return false;
    }
    // The event ring was full.
    if (unreported_[secured]) report_link(secured, port.link());
  }
  return true;
}

bool MainThread::follow(bool secured, const LinkState& link) {
  if (link.present) {
    lcore_.follow_link(secured, link);
    wake_workers();
    report_link(secured, link);
    return true;
  }
  // The reader makes space; nothing else is left to do.
  Event event = LinkEvent{secured, link, 0};
  while (!rings_.events.push(event) && !stopping_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  rings_.control.force();
  return false;
}

void MainThread::report_link(bool secured, const LinkState& link) {
  const uint16_t used = (secured ? lcore_.secured : lcore_.unsecured).info.mtu;
  Event event = LinkEvent{secured, link, used};
  unreported_[secured] = !rings_.events.push(event);
}

void MainThread::wake_workers() {
  for (const auto& worker : workers_) worker->wakeup.force();
}

bool MainThread::has_handed_off() const {
  return std::ranges::any_of(workers_, [](const auto& worker) { return !worker->lcore->handoff.empty(); });
}

}  // namespace psp
