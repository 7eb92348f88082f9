// SPDX-License-Identifier: Apache-2.0
// Passes adjacent packets to the port in runs, and counts what it took.
#include "engine/ports/tx_queue.h"

#include <algorithm>

namespace psp {

namespace {
constexpr uint32_t kRun = 32;
}

TxQueue::~TxQueue() {
  for (; head_ != tail_; ++head_) rte_pktmbuf_free(packets_[head_ % kCapacity]);
}

void TxQueue::flush() {
  while (waits()) {
    const uint32_t at = head_ % kCapacity;
    const uint32_t run = std::min({tail_ - head_, kCapacity - at, kRun});
    // A packet that was taken may be freed already, and the others may have another order.
    uint64_t octets = 0;
    for (uint32_t i = 0; i < run; ++i) octets += packets_[at + i]->pkt_len;
    const uint16_t sent = port_.tx_burst(&packets_[at], static_cast<uint16_t>(run));
    for (uint32_t i = sent; i < run; ++i) octets -= packets_[at + i]->pkt_len;
    counters_.tx_packets.add(sent);
    counters_.tx_bytes.add(octets);
    head_ += sent;
    if (sent < run) return;
  }
}

}  // namespace psp
