// SPDX-License-Identifier: Apache-2.0
// The one table of the engine's named values: gauges and counters that are neither of a pipe, a drop reason,
// a port nor a peer.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace psp {

// enumerator, name. Gauges first, then counters.
#define PSP_VALUES(X)                            \
  X(kHeld, "held")                               \
  X(kWanted, "wanted")                           \
  X(kKeyed, "keyed")                             \
  X(kInboundFlows, "inboundFlows")               \
  X(kReceiveSpis, "receiveSpis")                 \
  X(kFragmentsWaiting, "fragmentsWaiting")       \
  X(kNeighbours, "neighbours")                   \
  X(kNeighbourQueued, "neighbourQueued")         \
  X(kMissesWaiting, "missesWaiting")             \
  X(kHeldTotal, "heldTotal")                     \
  X(kResubmitted, "resubmitted")                 \
  X(kForwardedEgress, "forwardedEgress")         \
  X(kForwardedIngress, "forwardedIngress")       \
  X(kConsumed, "consumed")                       \
  X(kMissEvents, "missEvents")                   \
  X(kEventsLost, "eventsLost")                   \
  X(kEventsDelayed, "eventsDelayed")             \
  X(kSamplesTaken, "samplesTaken")               \
  X(kSamplesLost, "samplesLost")                 \
  X(kCapturesTaken, "capturesTaken")             \
  X(kCapturesLost, "capturesLost")               \
  X(kCapturesSuppressed, "capturesSuppressed")   \
  X(kCommands, "commands")                       \
  X(kCommandsRefused, "commandsRefused")         \
  X(kSpisRetired, "spisRetired")                 \
  X(kSpisEvicted, "spisEvicted")                 \
  X(kKeyCacheMisses, "keyCacheMisses")           \
  X(kChecksumsCompleted, "checksumsCompleted")   \
  X(kGsoPacketsSegmented, "gsoPacketsSegmented") \
  X(kGroPacketsMade, "groPacketsMade")           \
  X(kFramesRefused, "framesRefused")             \
  X(kFramesMissed, "framesMissed")               \
  X(kSolicitations, "solicitations")             \
  X(kIcmpSent, "icmpSent")                       \
  X(kIcmpSuppressed, "icmpSuppressed")           \
  X(kEchoAnswered, "echoAnswered")               \
  X(kEchoSuppressed, "echoSuppressed")           \
  X(kReassembled, "reassembled")                 \
  X(kFragmentsJoined, "fragmentsJoined")         \
  X(kAclBypassed, "aclBypassed")                 \
  X(kHandedOff, "handedOff")                     \
  X(kPacketsFragmented, "packetsFragmented")     \
  X(kFragmentsMade, "fragmentsMade")             \
  X(kRxPackets, "rxPackets")                     \
  X(kRxBytes, "rxBytes")                         \
  X(kRxAuthFail, "rxAuthFail")                   \
  X(kRxError, "rxError")                         \
  X(kRxBad, "rxBad")                             \
  X(kTxPackets, "txPackets")                     \
  X(kTxBytes, "txBytes")                         \
  X(kTxError, "txError")                         \
  X(kTooBigLearned, "tooBigLearned")             \
  X(kPolls, "polls")                             \
  X(kSleeps, "sleeps")

enum class Value : uint8_t {
#define X(enumerator, name) enumerator,
  PSP_VALUES(X)
#undef X
};

inline constexpr std::array kValueNames = {
#define X(enumerator, name) std::string_view{name},
    PSP_VALUES(X)
#undef X
};

}  // namespace psp
