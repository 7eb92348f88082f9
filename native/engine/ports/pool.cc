// SPDX-License-Identifier: Apache-2.0
// Pools are named by a counter, because names must differ within a process. Creating a pool touches the front
// of every packet; where that touches all pages anyway the memory is in huge pages, or most packets would
// miss the TLB.
#include "engine/ports/pool.h"

#include <rte_errno.h>
#include <rte_mempool.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <string>

#include "engine/engine.h"
#include "engine/ports/eal.h"
#include "psp/secret.h"

namespace psp {

namespace {

constexpr size_t kHugePage = 2 << 20;

EngineError failed(const char* purpose, int code) {
  return EngineError{"ENGINE_FAILED", purpose,
                     "no memory for packets (" + std::string(rte_strerror(code)) + ")"};
}

void unmap(rte_mempool_memhdr* memory, void*) {
  munmap(memory->addr, memory->len);
}

// Memory at a huge page boundary, or null. Where the kernel has no huge pages to give they are small ones.
char* map_huge(size_t length) {
  void* const pages =
      mmap(nullptr, length + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return nullptr;
  char* const from = static_cast<char*>(pages);
  const size_t before = -reinterpret_cast<uintptr_t>(pages) % kHugePage;
  if (before != 0) munmap(from, before);
  munmap(from + before + length, kHugePage - before);
  madvise(from + before, length, MADV_HUGEPAGE);
  return from + before;
}

// The number of packets that it holds now, or a negative error.
int populate(rte_mempool* pool, uint32_t count) {
  if ((pool->flags & RTE_MEMPOOL_F_NO_IOVA_CONTIG) == 0) return rte_mempool_populate_default(pool);
  const size_t each = size_t{pool->header_size} + pool->elt_size + pool->trailer_size;
  const size_t length = (each * count + kHugePage - 1) / kHugePage * kHugePage;
  char* const memory = map_huge(length);
  if (memory == nullptr) return -ENOMEM;
  const int done = rte_mempool_populate_virt(pool, memory, length, kHugePage, unmap, nullptr);
  if (done <= 0) munmap(memory, length);
  return done;
}

}  // namespace

Pool::Pool(const char* purpose, uint32_t count, uint32_t room) {
  static std::atomic<unsigned> number{0};
  const std::string name = "psp-" + std::string(purpose) + "-" + std::to_string(number++);
  const uint32_t cache = std::min<uint32_t>(256, count / 4);
  rte_pktmbuf_pool_private sizes{};
  sizes.mbuf_data_room_size = static_cast<uint16_t>(std::min<uint32_t>(room, UINT16_MAX));
  const uint32_t octets = static_cast<uint32_t>(sizeof(rte_mbuf)) + sizes.mbuf_data_room_size;
  const bool huge = !packets_in_eal_memory() && rte_mempool_calc_obj_size(octets, 0, nullptr) <= kPage;
  // Otherwise no packet would cross a small page boundary, and all would begin in the same sets of the
  // caches.
  const unsigned flags = huge ? RTE_MEMPOOL_F_NO_IOVA_CONTIG : 0;
  pool_ = rte_mempool_create_empty(name.c_str(), count, octets, cache, sizeof sizes, SOCKET_ID_ANY, flags);
  if (pool_ == nullptr) throw failed(purpose, rte_errno);
  rte_pktmbuf_pool_init(pool_, &sizes);
  const int done = populate(pool_, count);
  if (done < static_cast<int>(count)) {
    rte_mempool_free(pool_);
    throw failed(purpose, done < 0 ? -done : ENOMEM);
  }
  rte_mempool_obj_iter(pool_, rte_pktmbuf_init, nullptr);
}

Pool::~Pool() {
  rte_mempool_free(pool_);
}

}  // namespace psp
