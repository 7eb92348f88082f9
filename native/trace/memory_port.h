// SPDX-License-Identifier: Apache-2.0
// A port in memory: it receives one frame at a time and keeps every frame that is sent.
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <vector>

#include "engine/ports/packet.h"
#include "engine/ports/pool.h"
#include "engine/ports/port.h"
#include "psp/aead.h"
#include "psp/protocols.h"

namespace psp {

class MemoryPort : public Port {
 public:
  // Throws EngineError when there is not enough memory.
  explicit MemoryPort(PortInfo info)
      : info_(info),
        max_frame_length_(max_frame_length(info.mtu)),
        pool_("trace", kPackets, max_frame_length_ + RTE_PKTMBUF_HEADROOM) {}

  PortInfo info() const override { return info_; }
  uint16_t rx_burst(rte_mbuf** packets, uint16_t count) override {
    if (!received_ || count == 0) return 0;
    *packets = *received_;
    received_.reset();
    return 1;
  }
  uint16_t tx_burst(rte_mbuf** packets, uint16_t count) override {
    for (uint16_t i = 0; i < count; ++i) {
      const auto* octets = rte_pktmbuf_mtod(packets[i], const uint8_t*);
      sent.emplace_back(octets, octets + packets[i]->data_len);
      rte_pktmbuf_free(packets[i]);
    }
    return count;
  }
  int descriptor() const override { return -1; }

  // Returns an mbuf with the frame, truncated to the longest frame of the port's MTU. Null when the pool is
  // empty.
  rte_mbuf* packet_of(std::span<const uint8_t> frame) {
    rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_.get());
    if (mbuf == nullptr) return nullptr;
    const auto length = static_cast<uint16_t>(std::min<size_t>(frame.size(), max_frame_length_));
    std::copy_n(frame.data(), length, rte_pktmbuf_append(mbuf, length));
    return mbuf;
  }
  // Sets the frame that the next receive burst returns. The previous frame must have been received. Returns
  // false when the pool is empty.
  bool receive(std::span<const uint8_t> frame) {
    rte_mbuf* mbuf = packet_of(frame);
    if (mbuf != nullptr) received_ = mbuf;
    return mbuf != nullptr;
  }

  std::vector<std::vector<uint8_t>> sent;

 private:
  // Enough for all packets that the neighbour queues can hold, and the transmit queues.
  static constexpr uint32_t kPackets = 2048;
  static constexpr uint32_t kVlanTags = 8;  // octets of two tags

  static uint32_t max_frame_length(uint16_t mtu) {
    const uint32_t frame = mtu + kEthernetLength + kVlanTags + uint32_t{kIcvLength};
    return std::min<uint32_t>(frame, UINT16_MAX - RTE_PKTMBUF_HEADROOM);
  }

  const PortInfo info_;
  const uint32_t max_frame_length_;
  Pool pool_;
  std::optional<rte_mbuf*> received_;
};

}  // namespace psp
