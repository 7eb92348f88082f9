// SPDX-License-Identifier: Apache-2.0
// A preload library (LD_PRELOAD) that moves the system's clock for the processes of one node: it adds the
// nanoseconds in the file PSP_MOVED_CLOCK, a 64-bit integer that may change while they run, to
// CLOCK_REALTIME. A time namespace of the kernel covers the monotonic clocks only. Programs that call the
// kernel directly, such as nats-server, see the real time.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <ctime>

namespace {

constexpr int64_t kNsPerS = 1'000'000'000;

const std::atomic<int64_t>* moved_ns = nullptr;

// The process maps the file before it drops its privileges.
__attribute__((constructor)) void map_file() {
  const char* path = std::getenv("PSP_MOVED_CLOCK");
  if (path == nullptr) return;
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  void* octets = mmap(nullptr, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (octets != MAP_FAILED) moved_ns = static_cast<const std::atomic<int64_t>*>(octets);
}

using ClockGettime = int (*)(clockid_t, timespec*);

// The definition of the C library, which reads most clocks without a call to the kernel.
int real_clock(clockid_t clock, timespec* time) {
  static const auto real = reinterpret_cast<ClockGettime>(dlsym(RTLD_NEXT, "clock_gettime"));
  return real(clock, time);
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* time) noexcept {
  const int result = real_clock(clock, time);
  if (result != 0 || moved_ns == nullptr) return result;
  if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE) return result;
  const int64_t ns = time->tv_sec * kNsPerS + time->tv_nsec + moved_ns->load(std::memory_order_relaxed);
  *time = {.tv_sec = ns / kNsPerS, .tv_nsec = ns % kNsPerS};
  return result;
}

int gettimeofday(timeval* time, void*) noexcept {
  timespec now;
  const int result = clock_gettime(CLOCK_REALTIME, &now);
  if (result == 0) *time = {.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
  return result;
}

time_t time(time_t* time) noexcept {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (time != nullptr) *time = now.tv_sec;
  return now.tv_sec;
}

int timespec_get(timespec* time, int base) noexcept {
  if (base != TIME_UTC) return 0;
  return clock_gettime(CLOCK_REALTIME, time) == 0 ? base : 0;
}

}  // extern "C"
