// SPDX-License-Identifier: Apache-2.0
// Wakes a thread that may be asleep, and costs nearly nothing when it is not: the sleeper announces that it
// will sleep, checks once more for work, and only then waits on the eventfd.
#pragma once

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <system_error>

namespace psp {

class Wakeup {
 public:
  Wakeup() : descriptor_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (descriptor_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  }
  ~Wakeup() { close(descriptor_); }
  Wakeup(const Wakeup&) = delete;
  Wakeup& operator=(const Wakeup&) = delete;

  int descriptor() const { return descriptor_; }

  // Sleeper: before its last check for work.
  void about_to_sleep() {
    asleep_.store(true, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
  // Sleeper: after it slept. `called`: poll() reported the descriptor readable, so that it must be read; a
  // wake-up that comes after that ends the next sleep at once.
  void awake(bool called) {
    asleep_.store(false, std::memory_order_relaxed);
    if (!called) return;
    uint64_t count;
    [[maybe_unused]] const auto n = read(descriptor_, &count, sizeof count);
  }
  // Other side: after it added work.
  void wake() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (asleep_.load(std::memory_order_relaxed) && asleep_.exchange(false)) force();
  }
  // Wakes whether asleep or about to be.
  void force() {
    const uint64_t one = 1;
    [[maybe_unused]] const auto n = write(descriptor_, &one, sizeof one);
  }

 private:
  int descriptor_;
  std::atomic<bool> asleep_{false};
};

}  // namespace psp
