// SPDX-License-Identifier: Apache-2.0
// Memory for key bytes: locked against swapping where the limits of the process allow it, left out of core
// dumps, and wiped before it is given back. Control side only: it allocates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace psp {

// Overwrites memory in a way that the compiler may not leave out.
void wipe(void* memory, size_t length);

// Locked pages; large ones are zero, and appear when they are first written. Throws std::bad_alloc. Locking
// failures are tolerated and counted by unlocked_bytes().
void* allocate_secret(size_t length);
// Wipes, unlocks and frees what allocate_secret gave.
void free_secret(void* memory, size_t length);
// Makes part of a large allocation appear now, in huge pages where there are some. Its octets stay as they
// are.
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

// Fills from the kernel's random source. Throws std::system_error.
void random_octets(std::span<uint8_t> out);

}  // namespace psp
