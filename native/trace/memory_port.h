// SPDX-License-Identifier: Apache-2.0
// A port in memory: one frame goes in at a time, whatever comes out is kept.
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
  // Throws EngineError when memory does not suffice.
  explicit MemoryPort(PortInfo info)
      : info_(info), room_(room_for(info.mtu)), pool_("trace", kPackets, room_ + RTE_PKTMBUF_HEADROOM) {}

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

  // An mbuf with the frame, cut to the room for one of the port's MTU; null when all are in use.
  rte_mbuf* packet_of(std::span<const uint8_t> frame) {
    rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_.get());
    if (mbuf == nullptr) return nullptr;
    const auto length = static_cast<uint16_t>(std::min<size_t>(frame.size(), room_));
    std::copy_n(frame.data(), length, rte_pktmbuf_append(mbuf, length));
    return mbuf;
  }
  // The frame that the next burst brings; the one before was taken. False: all mbufs are in use.
  bool receive(std::span<const uint8_t> frame) {
    rte_mbuf* mbuf = packet_of(frame);
    if (mbuf != nullptr) received_ = mbuf;
    return mbuf != nullptr;
  }

  std::vector<std::vector<uint8_t>> sent;

 private:
  // As many as neighbours and queues may keep, and some.
  static constexpr uint32_t kPackets = 2048;
  static constexpr uint32_t kTags = 8;  // two VLAN tags

  static uint32_t room_for(uint16_t mtu) {
    const uint32_t frame = mtu + kEthernetLength + kTags + uint32_t{kIcvLength};
    return std::min<uint32_t>(frame, UINT16_MAX - RTE_PKTMBUF_HEADROOM);
  }

  const PortInfo info_;
  const uint32_t room_;
  Pool pool_;
  std::optional<rte_mbuf*> received_;
};

}  // namespace psp
