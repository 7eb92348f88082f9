// SPDX-License-Identifier: Apache-2.0
// What leaves a queue is counted once, whatever the port takes and in which order.
#include "engine/ports/tx_queue.h"

#include <gtest/gtest.h>

#include "gateway.h"

namespace psp {
namespace {

// Takes the last packets of a burst first, as a port that joins packets of one flow may do.
class TurningPort : public FakePort {
 public:
  using FakePort::FakePort;
  uint16_t tx_burst(rte_mbuf** packets, uint16_t count) override {
    std::reverse(packets, packets + count);
    return FakePort::tx_burst(packets, count);
  }
};

TEST(TxQueue, CountsTheOctetsOfWhatThePortTook) {
  enter_eal(kTestEal);
  Pool pool("queued", 64, 2048 + RTE_PKTMBUF_HEADROOM);
  TurningPort port({kSecuredMac, 1500});
  PortCounters counters;
  TxQueue queue(port, counters);
  for (const uint16_t length : {100, 200, 400}) {
    rte_mbuf* const packet = rte_pktmbuf_alloc(pool.get());
    rte_pktmbuf_append(packet, length);
    ASSERT_TRUE(queue.push(packet));
  }
  port.takes = 1;
  queue.flush();
  EXPECT_EQ(counters.tx_packets.value(), 1u);
  EXPECT_EQ(counters.tx_bytes.value(), 400u);
  EXPECT_TRUE(queue.waits());
  port.takes = UINT64_MAX;
  queue.flush();
  EXPECT_EQ(counters.tx_packets.value(), 3u);
  EXPECT_EQ(counters.tx_bytes.value(), 700u);
  EXPECT_TRUE(queue.empty());
}

TEST(TxQueue, KeepsItsOrderRoundTheEndOfItsArrayAndTakesWhatFits) {
  enter_eal(kTestEal);
  Pool pool("queued", 2 * TxQueue::kCapacity, 64 + RTE_PKTMBUF_HEADROOM);
  FakePort port({kSecuredMac, 1500});
  PortCounters counters;
  TxQueue queue(port, counters);
  std::vector<rte_mbuf*> packets(TxQueue::kCapacity + 1);
  uint8_t next = 0;
  const auto fill = [&](uint32_t count) {
    ASSERT_EQ(rte_pktmbuf_alloc_bulk(pool.get(), packets.data(), count), 0);
    for (uint32_t i = 0; i < count; ++i) *rte_pktmbuf_append(packets[i], 1) = static_cast<char>(next++);
  };
  for (const uint32_t count : {100u, 100u, 100u, TxQueue::kCapacity}) {
    const auto first = static_cast<uint8_t>(next);
    fill(count);
    ASSERT_EQ(queue.push(packets.data(), count), count);
    EXPECT_EQ(queue.room(), TxQueue::kCapacity - count);
    queue.flush();
    ASSERT_EQ(port.sent.size(), count);
    for (uint32_t i = 0; i < count; ++i) EXPECT_EQ(port.sent[i], Frame(1, static_cast<uint8_t>(first + i)));
    port.sent.clear();
  }
  fill(TxQueue::kCapacity + 1);
  EXPECT_EQ(queue.push(packets.data(), TxQueue::kCapacity + 1), TxQueue::kCapacity);
  EXPECT_TRUE(queue.full());
  EXPECT_FALSE(queue.push(packets.back()));
  rte_pktmbuf_free(packets.back());
}

}  // namespace
}  // namespace psp
