// SPDX-License-Identifier: Apache-2.0
// A library to be put in front of the C library's (LD_PRELOAD): a thread that asks for memory while it is
// named "psp polling" ends the process, with a trace of where. The gateways of the end-to-end tests run
// behind it, so that whatever those send shows whether the packet path allocates.
#include <dlfcn.h>
#include <execinfo.h>
#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace {

// In memory that is there from the thread's start: finding it must not allocate.
thread_local bool polls __attribute__((tls_model("initial-exec"))) = false;

void check() {
  if (!polls) return;
  polls = false;
  constexpr char kText[] = "no_allocation: a polling thread asks for memory\n";
  if (write(STDERR_FILENO, kText, sizeof kText - 1) > 0) {
    void* places[32];
    backtrace_symbols_fd(places, backtrace(places, 32), STDERR_FILENO);
  }
  std::abort();
}

}  // namespace

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);

void* malloc(size_t length) {
  check();
  return __libc_malloc(length);
}
void* calloc(size_t count, size_t length) {
  check();
  return __libc_calloc(count, length);
}
void* realloc(void* memory, size_t length) {
  check();
  return __libc_realloc(memory, length);
}
void* memalign(size_t alignment, size_t length) {
  check();
  return __libc_memalign(alignment, length);
}
void* aligned_alloc(size_t alignment, size_t length) {
  check();
  return __libc_memalign(alignment, length);
}
int posix_memalign(void** memory, size_t alignment, size_t length) {
  check();
  *memory = __libc_memalign(alignment, length);
  return *memory == nullptr ? ENOMEM : 0;
}

// Threads name themselves.
int pthread_setname_np(pthread_t thread, const char* name) noexcept {
  using Call = int (*)(pthread_t, const char*);
  static const auto real = reinterpret_cast<Call>(dlsym(RTLD_NEXT, "pthread_setname_np"));
  const int done = real(thread, name);
  if (pthread_equal(thread, pthread_self())) polls = std::strcmp(name, "psp polling") == 0;
  return done;
}
}
