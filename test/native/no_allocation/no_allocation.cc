// SPDX-License-Identifier: Apache-2.0
// A preload library (LD_PRELOAD) that replaces the allocator of the C library: it aborts the process with a
// backtrace if a thread allocates memory while its name is "psp polling". The gateways of the end-to-end
// tests run with it, so those tests also show that the packet path does not allocate.
#include <dlfcn.h>
#include <execinfo.h>
#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace {

// Static TLS exists from the start of the thread, so access never allocates.
thread_local bool polling __attribute__((tls_model("initial-exec"))) = false;

void check() {
  if (!polling) return;
  polling = false;
  constexpr char kText[] = "no_allocation: a polling thread allocates memory\n";
  if (write(STDERR_FILENO, kText, sizeof kText - 1) > 0) {
    void* frames[32];
    backtrace_symbols_fd(frames, backtrace(frames, 32), STDERR_FILENO);
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

// Polling threads set their own name.
int pthread_setname_np(pthread_t thread, const char* name) noexcept {
  using Call = int (*)(pthread_t, const char*);
  static const auto real = reinterpret_cast<Call>(dlsym(RTLD_NEXT, "pthread_setname_np"));
  const int result = real(thread, name);
  if (pthread_equal(thread, pthread_self())) polling = std::strcmp(name, "psp polling") == 0;
  return result;
}
}
