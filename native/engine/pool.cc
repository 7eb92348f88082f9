// SPDX-License-Identifier: Apache-2.0
// Pools are named by a running number: names must differ within a process.
#include "engine/pool.h"

#include <rte_errno.h>
#include <rte_mempool.h>

#include <algorithm>
#include <atomic>
#include <string>

#include "engine/engine.h"

namespace psp {

Pool::Pool(const char* purpose, uint32_t count, uint32_t room) {
  static std::atomic<unsigned> number{0};
  const std::string name = "psp-" + std::string(purpose) + "-" + std::to_string(number++);
  const uint32_t cache = std::min<uint32_t>(256, count / 4);
  pool_ = rte_pktmbuf_pool_create(name.c_str(), count, cache, 0,
                                  static_cast<uint16_t>(std::min<uint32_t>(room, UINT16_MAX)), SOCKET_ID_ANY);
  if (pool_ == nullptr) {
    throw EngineError{"ENGINE_FAILED", purpose,
                      "no memory for packets (" + std::string(rte_strerror(rte_errno)) + ")"};
  }
}

Pool::~Pool() {
  rte_mempool_free(pool_);
}

}  // namespace psp
