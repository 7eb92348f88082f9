// SPDX-License-Identifier: Apache-2.0
// Memory for keys: locked against swapping if the limits of the process allow it, excluded from core dumps,
// and wiped before it is released. For the control side only, as it allocates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace psp {

inline constexpr size_t kPage = 4096;  // octets of a small page of memory

// Overwrites memory in a way that the compiler must not optimize away.
void wipe(void* memory, size_t length);

// Allocates locked memory. Large allocations are zero and are faulted in on first write. Throws
// std::bad_alloc. A failure to lock is tolerated and counted by unlocked_bytes().
void* allocate_secret(size_t length);
// Wipes, unlocks and frees memory of allocate_secret.
void free_secret(void* memory, size_t length);
// Pre-faults part of a large allocation, in huge pages if available. Its contents do not change.
void populate_secret(void* memory, size_t length);
// Octets of secret memory that could not be locked (RLIMIT_MEMLOCK).
size_t unlocked_bytes();

template <typename T>
struct SecretAllocator {
  using value_type = T;
  SecretAllocator() = default;
  template <typename U>
  SecretAllocator(const SecretAllocator<U>&) {}
  T* allocate(size_t n) { return static_cast<T*>(allocate_secret(n * sizeof(T))); }
  void deallocate(T* memory, size_t n) { free_secret(memory, n * sizeof(T)); }
  template <typename U>
  bool operator==(const SecretAllocator<U>&) const {
    return true;
  }
};

template <typename T>
using SecretVector = std::vector<T, SecretAllocator<T>>;

// Fills `out` from the random number generator of the kernel. Throws std::system_error.
void random_octets(std::span<uint8_t> out);

}  // namespace psp
