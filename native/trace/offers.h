// SPDX-License-Identifier: Apache-2.0
// A capture does not tell which SPIs the gateway offered, and for which flows. The master keys do: an SPI
// counts as offered for the flow of the first packet that opens under it, and one under which nothing opens
// for no flow at all, so that the engine finds out what is wrong with its packets. Two passes over a file:
// every frame is looked at first, then offers are made as their SPIs appear.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "engine/ip/peers.h"
#include "engine/ip/reassembly.h"
#include "pcap/keys.h"
#include "trace/dissection.h"
#include "trace/memory_port.h"

namespace psp {

class Offers {
 public:
  // `versions`: by peer, those that are spoken with it. Frames are opened in mbufs of `port`. All is
  // borrowed. Throws EngineError or std::bad_alloc.
  Offers(const EngineConfig& config, const Peers& peers, const std::vector<std::vector<uint8_t>>& versions,
         CaptureKeys& keys, MemoryPort& port);

  // Looks at an Ethernet frame from the wire. What it carries, or the datagram whose last fragment it is, if
  // it opens.
  std::optional<InnerDissection> scan(std::span<const uint8_t> frame, uint64_t now_ms);
  // The offer to be admitted before this frame arrives, if its SPI appears for the first time. Nothing where
  // its version is not spoken with its peer, and nothing for a reserved SPI. A flow that is not from a peer
  // to a host of ours was never offered anything: such an SPI is for no flow.
  std::optional<AdmitCommand::Entry> due(const Dissection& frame);
  // Whether an SPI was offered for a flow that packets have.
  bool is_for_a_flow(uint32_t spi) const { return for_a_flow_.contains(spi); }

 private:
  struct Opened {
    FlowKey flow;
    uint64_t cookie;
    uint8_t version;
  };
  std::optional<InnerDissection> open(Packet& packet);
  bool is_to_us(const Address& destination) const;
  AdmitCommand::Entry placeholder(const Dissection& frame) const;

  const EngineConfig& config_;
  const Peers& peers_;
  const std::vector<std::vector<uint8_t>>& versions_;
  CaptureKeys& keys_;
  Counters unused_;
  MemoryPort& port_;
  Reassembly reassembly_;
  std::unordered_map<uint32_t, Opened> opened_;  // by SPI
  std::unordered_set<uint32_t> made_, for_a_flow_;
};

}  // namespace psp
