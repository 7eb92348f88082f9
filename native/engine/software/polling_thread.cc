// SPDX-License-Identifier: Apache-2.0
// A port without a descriptor cannot wake anybody, so that a thread that polls one sleeps for at most 500 us.
#include "engine/software/polling_thread.h"

#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

namespace psp {
namespace {

// Turns that may move nothing before the thread sleeps. A look at a kernel port costs a system call, and a
// thread that polls on a machine whose cores are all in use delays the hosts on it; a look at a DPDK port
// only reads memory.
constexpr uint32_t kEmptyTurnsAtKernel = 2, kEmptyTurns = 256;
constexpr int kNice = -10;
constexpr auto kUndescribedSleep = std::chrono::microseconds(500);

uint32_t empty_turns_of(const Lcore& lcore) {
  const bool kernel = lcore.unsecured.port.descriptor() >= 0 && lcore.secured.port.descriptor() >= 0;
  return kernel ? kEmptyTurnsAtKernel : kEmptyTurns;
}

}  // namespace

uint64_t monotonic_ns() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

PollingThread::PollingThread(bool busy_polling) {
  // Linux takes the id of a thread for that of a process here (setpriority(2)).
  if (!busy_polling) setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice);
  pthread_setname_np(pthread_self(), "psp polling");
}
PollingThread::~PollingThread() {
  pthread_setname_np(pthread_self(), "psp ending");
}

IdleSleep::IdleSleep(Lcore& lcore, Wakeup& wakeup, SampleRing& samples, LinkDescriptors links)
    : lcore_(lcore), wakeup_(wakeup), samples_(samples), links_(links), empty_turns_(empty_turns_of(lcore)) {}

bool IdleSleep::wait(uint32_t timeout_ms, bool is_idle) {
  const Port &unsecured = lcore_.unsecured.port, &secured = lcore_.secured.port;
  pollfd waiting[5] = {{wakeup_.descriptor(), POLLIN, 0},
                       {unsecured.descriptor(), POLLIN, 0},
                       {secured.descriptor(), POLLIN, 0},
                       {links_[0], POLLIN, 0},
                       {links_[1], POLLIN, 0}};
  auto timeout = std::chrono::nanoseconds(std::chrono::milliseconds(timeout_ms));
  if (unsecured.descriptor() < 0 || secured.descriptor() < 0) {
    timeout = std::min<std::chrono::nanoseconds>(timeout, kUndescribedSleep);
  }
  // The control side may sleep without having seen the latest samples.
  const uint64_t due_ns = samples_.due_in_ns(lcore_.now_ns);
  if (due_ns != 0 && due_ns != UINT64_MAX) timeout = std::min(timeout, std::chrono::nanoseconds(due_ns));
  const timespec limit{static_cast<time_t>(timeout.count() / 1'000'000'000),
                       static_cast<long>(timeout.count() % 1'000'000'000)};
  const int ready = is_idle ? ppoll(waiting, std::size(waiting), &limit, nullptr) : 0;
  wakeup_.awake(waiting[0].revents != 0);
  lcore_.counters[Value::kSleeps].add();
  // One turn follows, then the thread sleeps again unless it moved something.
  empty_ = empty_turns_ - 1;
  if (ready <= 0) return false;
  // An interface that goes down reports an error until it is read.
  for (const pollfd& port : {waiting[1], waiting[2]}) {
    int error = 0;
    socklen_t length = sizeof error;
    if (port.revents & POLLERR) getsockopt(port.fd, SOL_SOCKET, SO_ERROR, &error, &length);
  }
  return waiting[3].revents != 0 || waiting[4].revents != 0;
}

}  // namespace psp
