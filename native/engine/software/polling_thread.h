// SPDX-License-Identifier: Apache-2.0
// A polling thread sleeps between two turns if polling is adaptive and nothing moved for some turns. A
// packet, a change of a link, another thread, or a timer that is due wakes it. The threads of the main lcore
// and of worker lcores share this code.
#pragma once

#include <array>
#include <cstdint>

#include "engine/memory/wakeup.h"
#include "engine/software/lcore/lcore.h"

namespace psp {

// Between looks whether the interfaces are there and up, and what they missed.
constexpr uint64_t kLookNs = 100'000'000;

uint64_t monotonic_ns();

// What a thread is while it polls. Its name says that it allocates no memory: test/native/no_allocation
// terminates a process in which a thread of this name does; threads that EAL started have other names. Its
// priority is above that of Node.js (nice -10), if the process has the right, so that packets do not wait for
// key exchanges where both share a core. A busily polling thread keeps the normal priority, because it never
// gives its core away.
struct PollingThread {
  explicit PollingThread(bool busy_polling);
  ~PollingThread();
};

class IdleSleep {
 public:
  // Descriptors of the links that this thread watches; -1: none.
  using LinkDescriptors = std::array<int, 2>;

  IdleSleep(Lcore& lcore, Wakeup& wakeup, SampleRing& samples, LinkDescriptors links = {-1, -1});

  // After each turn. True: as many turns in a row moved nothing as a thread may poll in vain.
  bool is_due(bool moved) {
    empty_ = moved ? 0 : empty_ + 1;
    return empty_ >= empty_turns_;
  }

  // Sleeps at most for the timeout, and not at all unless `idle` still holds. True: a link changed.
  template <typename Idle>
  bool sleep(uint32_t timeout_ms, Idle&& idle) {
    wakeup_.about_to_sleep();
    return wait(timeout_ms, idle());
  }

 private:
  bool wait(uint32_t timeout_ms, bool is_idle);

  Lcore& lcore_;
  Wakeup& wakeup_;
  SampleRing& samples_;
  const LinkDescriptors links_;
  const uint32_t empty_turns_;
  uint32_t empty_ = 0;
};

}  // namespace psp
