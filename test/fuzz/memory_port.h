// SPDX-License-Identifier: Apache-2.0
// A port in memory whose pool reports the buffers in use, and the DPDK environment of a fuzz target.
#pragma once

#include <algorithm>
#include <deque>

#include "engine/ports/eal.h"
#include "engine/ports/pool.h"
#include "engine/ports/port.h"
#include "input.h"

namespace psp::fuzz {

inline constexpr uint16_t kLongestReceived = 16384;

class MemoryPort : public Port {
 public:
  explicit MemoryPort(PortInfo info, uint32_t buffers = 512)
      : info_(info), pool_("fuzz", buffers, kLongestReceived + RTE_PKTMBUF_HEADROOM) {}

  PortInfo info() const override { return info_; }
  uint16_t rx_burst(rte_mbuf** packets, uint16_t count) override {
    uint16_t n = 0;
    for (; n < count && !received.empty(); ++n, received.pop_front())
      packets[n] = packet_of(received.front());
    return n;
  }
  uint16_t tx_burst(rte_mbuf** packets, uint16_t count) override {
    uint16_t n = 0;
    for (; n < count && takes != 0; ++n, --takes) {
      require(packets[n]->nb_segs == 1 && packets[n]->data_len == packets[n]->pkt_len, "frames are whole");
      const auto* octets = rte_pktmbuf_mtod(packets[n], const uint8_t*);
      sent.emplace_back(octets, octets + packets[n]->data_len);
      rte_pktmbuf_free(packets[n]);
    }
    return n;
  }
  int descriptor() const override { return -1; }

  uint32_t packets_out() const { return rte_mempool_in_use_count(pool_.get()); }
  rte_mbuf* packet_of(const Octets& frame) {
    rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_.get());
    require(mbuf != nullptr, "packets come back to their pool");
    const auto length = static_cast<uint16_t>(std::min<size_t>(frame.size(), kLongestReceived));
    std::copy_n(frame.data(), length, rte_pktmbuf_append(mbuf, length));
    return mbuf;
  }

  std::deque<Octets> received, sent;
  uint64_t takes = UINT64_MAX;  // how many more frames it accepts

 private:
  PortInfo info_;
  Pool pool_;
};

// Initializes DPDK for this process.
inline void enter_environment() {
  enter_eal({2048, {}, false});
}

}  // namespace psp::fuzz
