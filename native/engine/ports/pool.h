// SPDX-License-Identifier: Apache-2.0
// A pool of packet memory, destroyed with its owner.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>

namespace psp {

// Octets in each buffer of a port's pool, at least: DPDK's own default.
inline constexpr uint32_t kLeastDataOctets = 2048;

class Pool {
 public:
  // `octets` in each packet, headroom included. Throws EngineError when memory does not suffice.
  Pool(const char* purpose, uint32_t count, uint32_t octets);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  rte_mempool* get() const { return pool_; }

 private:
  rte_mempool* pool_;
};

}  // namespace psp
