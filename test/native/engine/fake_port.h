// SPDX-License-Identifier: Apache-2.0
// A port in memory: frames go in as octets and come out as octets; how many it takes at a time can be set,
// and in what shape received ones come.
#pragma once

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <utility>
#include <vector>

#include "engine/ports/pool.h"
#include "engine/ports/port.h"

namespace psp {

using Frame = std::vector<uint8_t>;

class FakePort : public Port {
 public:
  explicit FakePort(PortInfo info) : info_(info), pool_("fake", 4096, 16384 + RTE_PKTMBUF_HEADROOM) {}
  PortInfo info() const override { return info_; }
  uint16_t rx_burst(rte_mbuf** packets, uint16_t count) override {
    uint16_t n = 0;
    for (; n < count && !received.empty(); ++n, received.pop_front()) {
      packets[n] = packet_of(received.front());
    }
    return n;
  }
  uint16_t tx_burst(rte_mbuf** packets, uint16_t count) override {
    if (const auto first = std::exchange(before_sending, nullptr)) first();
    uint16_t n = 0;
    for (; n < count && takes != 0; ++n, --takes) {
      const auto* octets = rte_pktmbuf_mtod(packets[n], const uint8_t*);
      sent.emplace_back(octets, octets + packets[n]->data_len);
      rte_pktmbuf_free(packets[n]);
    }
    return n;
  }
  int descriptor() const override { return -1; }
  std::deque<Frame> received, sent;
  uint64_t takes = UINT64_MAX;           // how many more frames it takes
  std::function<void()> before_sending;  // what happens, once, as the next frames reach it
  uint64_t flags = 0;                    // of received packets
  uint16_t vlan = 0;                     // the tag that the port took off them, by its flags
  size_t segment = SIZE_MAX;             // octets in each segment of received packets

 private:
  rte_mbuf* packet_of(const Frame& frame) {
    rte_mbuf* first = nullptr;
    size_t at = 0;
    do {
      const size_t length = std::min(segment, frame.size() - at);
      rte_mbuf* next = rte_pktmbuf_alloc(pool_.get());
      std::memcpy(rte_pktmbuf_append(next, static_cast<uint16_t>(length)), frame.data() + at, length);
      if (first == nullptr) {
        first = next;
      } else {
        rte_pktmbuf_chain(first, next);
      }
      at += length;
    } while (at < frame.size());
    first->ol_flags |= flags;
    first->vlan_tci = vlan;
    return first;
  }

  PortInfo info_;
  Pool pool_;
};

}  // namespace psp
