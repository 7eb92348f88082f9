// SPDX-License-Identifier: Apache-2.0
// A capture does not contain which SPIs the gateway offered and for which flows. The master keys allow to
// derive it: an SPI counts as offered for the flow of the first packet that opens under it. An SPI under
// which no packet opens counts as offered for a placeholder flow that no packet has, so that the engine
// itself finds the fault of its packets. This takes two passes over a file: the first scans every frame, the
// second makes each offer when its SPI first appears.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "engine/ip/peers.h"
#include "engine/ip/reassembly.h"
#include "engine/software/tables/receive_spis.h"
#include "pcap/keys.h"
#include "trace/dissection.h"
#include "trace/memory_port.h"

namespace psp {

class Offers {
 public:
  // `versions`: by peer, the PSP versions that the node file allows. Frames are opened in mbufs of `port`.
  // All arguments are borrowed. Throws EngineError or std::bad_alloc.
  Offers(const EngineConfig& config, const Peers& peers, const std::vector<std::vector<uint8_t>>& versions,
         CaptureKeys& keys, MemoryPort& port);

  // First pass: reads an Ethernet frame from the wire. Returns the inner packet if the frame opens, or if it
  // is the last fragment of a datagram that opens.
  std::optional<InnerDissection> scan(std::span<const uint8_t> frame, uint64_t now_ms);
  // Second pass: the offer to admit before this frame runs, if its SPI appears for the first time. There is
  // none for a reserved SPI, and none for a version that the node file does not allow with the peer. An SPI
  // whose flow does not lead from a peer to a local host gets a placeholder flow, as a gateway would never
  // have offered it.
  std::optional<Admission> offer_for(const Dissection& frame);
  // Whether an SPI was offered for a real flow rather than a placeholder.
  bool has_flow(uint32_t spi) const { return spis_with_flow_.contains(spi); }

 private:
  struct Opened {
    FlowKey flow;
    uint64_t cookie;
    uint8_t version;
  };
  std::optional<InnerDissection> open(Packet& packet);
  bool is_tunnel_end(const Address& destination) const;
  Admission placeholder(const Dissection& frame) const;

  const EngineConfig& config_;
  const Peers& peers_;
  const std::vector<std::vector<uint8_t>>& versions_;
  CaptureKeys& keys_;
  Counters unused_;
  MemoryPort& port_;
  Reassembly reassembly_;
  std::unordered_map<uint32_t, Opened> opened_;  // by SPI
  std::unordered_set<uint32_t> offered_, spis_with_flow_;
};

}  // namespace psp
