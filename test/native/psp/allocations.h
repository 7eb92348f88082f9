// SPDX-License-Identifier: Apache-2.0
// Counts calls of the C library's allocator. Including this header replaces the allocator, so only one source
// file of a program may include it. Not available under the address sanitizer, which has its own allocator.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#error "the address sanitizer replaces the allocator itself"
#endif

#include <atomic>
#include <cstddef>

namespace {
std::atomic<size_t> allocations{0};
}

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);

void* malloc(size_t length) {
  allocations++;
  return __libc_malloc(length);
}
void* calloc(size_t count, size_t length) {
  allocations++;
  return __libc_calloc(count, length);
}
void* realloc(void* memory, size_t length) {
  allocations++;
  return __libc_realloc(memory, length);
}
}
