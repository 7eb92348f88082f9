// SPDX-License-Identifier: Apache-2.0
// Small secrets share locked pages, because the limit on locked memory may be only a few megabytes. A page is
// divided into cells of one size and is unmapped when its last cell is freed. Secrets larger than kMaxCell
// get pages of their own. Each mapping starts with a header of one cell. A mapping that could not be locked
// is still used, and counted.
#include "psp/secret.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <mutex>
#include <new>
#include <system_error>

namespace psp {

namespace {

constexpr size_t kMinCell = 64, kMaxCell = 1024;
constexpr size_t kClasses = std::countr_zero(kMaxCell) - std::countr_zero(kMinCell) + 1;

struct Cell {
  Cell* next;
};

// The header at the start of every mapping.
struct Mapping {
  size_t length;
  bool locked;
  // Only in pages of cells:
  size_t used;
  Cell* free;
  Mapping* previous;
  Mapping* next;
};
static_assert(sizeof(Mapping) <= kMinCell && kMinCell % 64 == 0);

std::mutex mutex;
Mapping* pages_with_space[kClasses];  // under mutex
std::atomic<size_t> unlocked{0};

Mapping* map(size_t length) {
  void* memory = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  madvise(memory, length, MADV_DONTDUMP);
  // Pages are faulted in when they are first used, and as small pages: the kernel may take milliseconds to
  // find a huge page, and a polling core would stall for that time.
  const bool locked = mlock2(memory, length, MLOCK_ONFAULT) == 0;
  if (!locked) unlocked += length;
  return new (memory) Mapping{length, locked, 0, nullptr, nullptr, nullptr};
}

void unmap(Mapping* mapping) {
  if (!mapping->locked) unlocked -= mapping->length;
  munmap(mapping, mapping->length);
}

size_t cell_size(size_t length) {
  return std::bit_ceil(length < kMinCell ? kMinCell : length);
}

size_t class_of(size_t cell) {
  return static_cast<size_t>(std::countr_zero(cell) - std::countr_zero(kMinCell));
}

Mapping* new_page(size_t cell) {
  Mapping* page = map(kPage);
  uint8_t* const start = reinterpret_cast<uint8_t*>(page);
  for (size_t offset = kPage - cell; offset >= kMinCell; offset -= cell) {
    page->free = new (start + offset) Cell{page->free};
  }
  return page;
}

void link(Mapping*& head, Mapping* page) {
  page->previous = nullptr;
  page->next = head;
  if (head) head->previous = page;
  head = page;
}

void unlink(Mapping*& head, Mapping* page) {
  (page->previous ? page->previous->next : head) = page->next;
  if (page->next) page->next->previous = page->previous;
}

// Wipes the pages that were written, without faulting in the others.
void wipe_touched(uint8_t* octets, size_t length) {
  uint8_t* const end = octets + length;
  for (uint8_t* page = octets - kMinCell; page < end; page += kPage) {
    unsigned char resident = 1;
    mincore(page, kPage, &resident);
    if ((resident & 1) == 0) continue;
    uint8_t* const from = std::max(page, octets);
    wipe(from, static_cast<size_t>(std::min(page + kPage, end) - from));
  }
}

}  // namespace

void wipe(void* memory, size_t length) {
  explicit_bzero(memory, length);
}

void* allocate_secret(size_t length) {
  if (length > kMaxCell) {
    if (length > SIZE_MAX - 2 * kPage) throw std::bad_alloc();
    const size_t rounded = (length + kMinCell + kPage - 1) / kPage * kPage;
    return reinterpret_cast<uint8_t*>(map(rounded)) + kMinCell;
  }
  const size_t cell = cell_size(length);
  const std::lock_guard lock(mutex);
  Mapping*& head = pages_with_space[class_of(cell)];
  if (!head) link(head, new_page(cell));
  Mapping* const page = head;
  Cell* const taken = page->free;
  page->free = taken->next;
  page->used++;
  if (!page->free) unlink(head, page);
  return taken;
}

void free_secret(void* memory, size_t length) {
  if (!memory) return;
  uint8_t* const octets = static_cast<uint8_t*>(memory);
  if (length > kMaxCell) {
    wipe_touched(octets, length);
    return unmap(reinterpret_cast<Mapping*>(octets - kMinCell));
  }
  wipe(memory, length);
  const std::lock_guard lock(mutex);
  Mapping*& head = pages_with_space[class_of(cell_size(length))];
  Mapping* const page = reinterpret_cast<Mapping*>(reinterpret_cast<uintptr_t>(memory) & ~(kPage - 1));
  if (!page->free) link(head, page);
  page->free = new (memory) Cell{page->free};
  if (--page->used > 0) return;
  unlink(head, page);
  unmap(page);
}

void populate_secret(void* memory, size_t length) {
  const auto start = reinterpret_cast<uintptr_t>(memory) & ~(kPage - 1);
  void* const first = reinterpret_cast<void*>(start);
  const size_t rounded = (reinterpret_cast<uintptr_t>(memory) + length - start + kPage - 1) & ~(kPage - 1);
  madvise(first, rounded, MADV_HUGEPAGE);
  // Kernels before 5.14 do not support this; the pages are then faulted in on first write.
  madvise(first, rounded, MADV_POPULATE_WRITE);
}

size_t unlocked_bytes() {
  return unlocked;
}

void random_octets(std::span<uint8_t> out) {
  while (!out.empty()) {
    const ssize_t got = getrandom(out.data(), out.size(), 0);
    if (got < 0) {
      if (errno == EINTR) continue;
      throw std::system_error(errno, std::generic_category(), "getrandom");
    }
    out = out.subspan(static_cast<size_t>(got));
  }
}

}  // namespace psp
