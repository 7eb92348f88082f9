// SPDX-License-Identifier: Apache-2.0
// State of the captures of packets that failed, for diagnosis: frames from the wire that did not open, and
// packets of hosts that could not be sealed. So many a second of all lcores are copied, more are only
// counted. A packet is opened in place, and what opening a forged one leaves there is worthless plaintext; so
// the front of each frame is kept before it is opened, as long as one more may be captured. That costs a copy
// of snap_bytes per packet while captures of the wire are on, and one branch while they are off.
#pragma once

#include <algorithm>
#include <array>

#include "engine/config.h"
#include "engine/ip/icmp_error.h"
#include "engine/memory/inplace_vector.h"
#include "engine/ports/packet.h"

namespace psp {

// How many packets are captured, of all lcores.
class CaptureLimit : public TokenBucket {
 public:
  explicit CaptureLimit(const CaptureConfig& config)
      : TokenBucket(std::max(config.per_second, 1u), std::max(config.per_second / kBurstsPerSecond, 1u)) {}

 private:
  static constexpr uint32_t kBurstsPerSecond = 10;  // a burst is the share of a tenth of a second
};

class Capture {
 public:
  // The limit outlives it.
  Capture(const CaptureConfig& config, uint16_t snap_bytes, CaptureLimit& limit)
      : ingress_(config.ingress && config.per_second > 0),
        egress_(config.egress && config.per_second > 0),
        snap_bytes_(std::min(snap_bytes, kSnapAtMost)),
        limit_(limit) {}

  bool ingress() const { return ingress_; }
  bool egress() const { return egress_; }
  // Permission to capture one packet, if there is one.
  bool take(uint64_t now_ns) { return limit_.take(now_ns); }

  // A frame of this burst whose front was kept.
  struct Kept {
    const rte_mbuf* frame;
    SampleFacts facts;
    uint32_t length;  // of the whole frame
    std::array<uint8_t, kSnapAtMost> octets;
  };
  // Keeps the front of a frame and what its headers say, unless it could not be captured anyway.
  void keep(const Packet& packet, uint16_t peer, uint32_t spi, uint64_t now_ns);
  // What was kept of this packet's frame, or null.
  const Kept* kept(const Packet& packet) const;
  // The burst ends.
  void clear() { kept_.clear(); }

 private:
  const bool ingress_, egress_;
  const uint16_t snap_bytes_;
  CaptureLimit& limit_;
  InplaceVector<Kept, kBurst> kept_;
};

}  // namespace psp
