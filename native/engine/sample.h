// SPDX-License-Identifier: Apache-2.0
// A sampled packet on its way to the control side: what was read of it, and the front of it as a copy. The
// copies are tenants' data and lie nowhere else in the engine.
#pragma once

#include <array>
#include <cstdint>

#include "psp/address.h"

namespace psp {

// What a batch holds at most, and for how long a sample waits for one to fill.
inline constexpr uint32_t kSampleBatch = 256;
inline constexpr uint32_t kSampleWaitMs = 5;
inline constexpr uint16_t kSnapAtMost = 1024;
inline constexpr uint8_t kRateAtMost = 16;    // log2
inline constexpr uint8_t kRateUnknown = 255;  // at ingress, where the sender drew
inline constexpr uint8_t kNoReason = 255;

enum class SamplePoint : uint8_t {
  kEgressSealed = 1,   // the finished frame
  kIngressOpened = 2,  // the inner packet
  kEgressPlain = 3,    // the inner packet, before it is sealed
  kIngressFailed = 4,  // captured: a frame from the wire that did not open
  kEgressFailed = 5,   // captured: an inner packet that could not be sealed
};

inline constexpr bool is_capture(SamplePoint point) {
  return point == SamplePoint::kIngressFailed || point == SamplePoint::kEgressFailed;
}

struct SampleFacts {
  uint64_t at_ns = 0;  // monotonic
  FlowKey flow;        // of the inner packet, as its ports are; kIngressFailed: of the outer one
  uint32_t spi = 0;
  uint32_t original_length = 0;  // of the copy, were it not cut
  uint16_t peer = 0;
  uint16_t source_port = 0, destination_port = 0;
  uint16_t copied = 0;
  SamplePoint point = SamplePoint::kEgressSealed;
  uint8_t protocol = 0;
  uint8_t rate_log2 = kRateUnknown;
  uint8_t reason = kNoReason;  // captured: the drop reason
};

struct Sample : SampleFacts {
  std::array<uint8_t, kSnapAtMost> octets;  // the first `copied` count
};

}  // namespace psp
