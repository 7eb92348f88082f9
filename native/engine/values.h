// SPDX-License-Identifier: Apache-2.0
// The one table of the engine's named values: gauges and counters that are neither of a pipe, a drop reason,
// a port nor a peer. Meanings are Markdown; docs/operations.md is generated from them.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace psp {

// enumerator, name, meaning. Gauges first, then counters. Gauges are also listed in
// services/shared/contracts.ts.
#define PSP_VALUES(X)                                                                                        \
  X(kHeld, "held", "Packets that are held now.")                                                             \
  X(kWanted, "wanted", "Egress flows that wait for a key.")                                                  \
  X(kKeyed, "keyed", "Egress flows that have a key.")                                                        \
  X(kInboundFlows, "inboundFlows", "Flows that peers may send to this gateway.")                             \
  X(kReceiveSpis, "receiveSpis", "Live SPIs of inbound flows.")                                              \
  X(kFragmentsWaiting, "fragmentsWaiting", "Fragments that wait for the rest of their packet.")              \
  X(kNeighbours, "neighbours", "Neighbours on both ports, known or being resolved.")                         \
  X(kNeighbourQueued, "neighbourQueued", "Packets that wait for a neighbour's MAC address.")                 \
  X(kMissesWaiting, "missesWaiting", "Flows whose miss waits because the event ring was full.")              \
  X(kUnlockedBytes, "unlockedBytes",                                                                         \
    "Octets of secret memory, in use or reserved, that could not be locked. Each lcore reserves 1 KiB for "  \
    "each flow and receive SPI that the tables have space for.")                                             \
  X(kHeldTotal, "heldTotal", "Packets that were ever held.")                                                 \
  X(kResubmitted, "resubmitted", "Held packets that were sent after their key was installed.")               \
  X(kForwardedEgress, "forwardedEgress", "Packets sealed and sent.")                                         \
  X(kForwardedIngress, "forwardedIngress", "Packets opened and delivered.")                                  \
  X(kConsumed, "consumed", "ARP, neighbour discovery and pings that the gateway processed itself.")          \
  X(kMissEvents, "missEvents", "Misses reported to the control side.")                                       \
  X(kEventsLost, "eventsLost", "Receive SPIs that ended before their first packet could be reported.")       \
  X(kEventsDelayed, "eventsDelayed",                                                                         \
    "Attempts to report a flow or an SPI that found the event ring full and were repeated.")                 \
  X(kSamplesTaken, "samplesTaken", "Packets copied as samples.")                                             \
  X(kSamplesLost, "samplesLost", "Selected packets that were not copied, because the sample ring was full.") \
  X(kCapturesTaken, "capturesTaken", "Packets that could not be sealed or opened, and were copied.")         \
  X(kCapturesLost, "capturesLost",                                                                           \
    "Packets that could not be sealed or opened, and were not copied because the capture ring was full.")    \
  X(kCapturesSuppressed, "capturesSuppressed",                                                               \
    "Packets that could not be sealed or opened, and were not copied because of `capture.perSecond`.")       \
  X(kCommands, "commands", "Commands that the main lcore carried out.")                                      \
  X(kCommandsRefused, "commandsRefused",                                                                     \
    "Commands that found the command ring full. They are answered with `ENGINE_BUSY`, and their sender "     \
    "repeats them if it still needs them.")                                                                  \
  X(kSpisRetired, "spisRetired", "SPIs that retired.")                                                       \
  X(kSpisEvicted, "spisEvicted", "SPIs that a newer one of their flow evicted.")                             \
  X(kKeyCacheMisses, "keyCacheMisses", "Packets whose key had to be derived.")                               \
  X(kChecksumsCompleted, "checksumsCompleted", "Packets whose checksum the host had left to its interface.") \
  X(kGsoPacketsSegmented, "gsoPacketsSegmented", "GSO packets that were received and segmented.")            \
  X(kGroPacketsMade, "groPacketsMade", "GRO packets that were built on transmission.")                       \
  X(kFramesRefused, "framesRefused",                                                                         \
    "Frames that the kernel did not accept for transmission: stopped by a fence, no space, a link that had " \
    "just gone down. The port's counters count them as sent.")                                               \
  X(kFramesMissed, "framesMissed",                                                                           \
    "Frames that found a port's receive queue full, because the gateway was too slow or stood still. No "    \
    "other counter includes them.")                                                                          \
  X(kSolicitations, "solicitations", "Requests (ARP, neighbour discovery) that the gateway sent.")           \
  X(kIcmpSent, "icmpSent",                                                                                   \
    "ICMP errors about packets that were too big, sent to their source: a host of ours or of a peer.")       \
  X(kIcmpSuppressed, "icmpSuppressed",                                                                       \
    "Packets that were too big without an ICMP error, because of the rate limit or because none may be "     \
    "sent about such a packet.")                                                                             \
  X(kEchoAnswered, "echoAnswered", "Pings of hosts to `unsecured.gateway` that were answered.")              \
  X(kEchoSuppressed, "echoSuppressed",                                                                       \
    "Pings of hosts to `unsecured.gateway` that were not answered because of the rate limit.")               \
  X(kReassembled, "reassembled", "Packets that were reassembled.")                                           \
  X(kFragmentsJoined, "fragmentsJoined", "Fragments that reassembled packets arrived in.")                   \
  X(kAclBypassed, "aclBypassed",                                                                             \
    "Packets that the ingress ACL would have dropped, with `ingressAcl: false`.")                            \
  X(kHandedOff, "handedOff",                                                                                 \
    "Packets that worker lcores handed off to the main lcore: without a key, under an SPI not seen before, " \
    "in fragments, for an unknown neighbour, or ARP.")                                                       \
  X(kPacketsFragmented, "packetsFragmented", "Packets that were fragmented because they did not fit.")       \
  X(kFragmentsMade, "fragmentsMade", "Fragments that fragmented packets became.")                            \
  X(kRxPackets, "rxPackets", "Packets received and authenticated.")                                          \
  X(kRxBytes, "rxBytes", "Octets of packets received and authenticated, after the IV and without the ICV.")  \
  X(kRxAuthFail, "rxAuthFail", "Packets received whose authentication failed.")                              \
  X(kRxError, "rxError", "Packets received with a length or framing error.")                                 \
  X(kRxBad, "rxBad", "Packets received of an unknown version or under no valid master key.")                 \
  X(kTxPackets, "txPackets", "Packets sealed and sent.")                                                     \
  X(kTxBytes, "txBytes", "Octets of packets sealed and sent, after the IV and without the ICV.")             \
  X(kTxError, "txError", "Packets that could not be sealed.")                                                \
  X(kTooBigLearned, "tooBigLearned", "ICMP messages from the wire that lowered the path MTU of a tunnel.")   \
  X(kPolls, "polls", "Turns of the lcores.")                                                                 \
  X(kSleeps, "sleeps",                                                                                       \
    "Times that lcores slept. Each lcore is a thread named `psp polling`; the oldest one is the main "       \
    "lcore.")

enum class Value : uint8_t {
#define X(enumerator, name, meaning) enumerator,
  PSP_VALUES(X)
#undef X
};

struct ValueName {
  std::string_view name;
  std::string_view meaning;
};

inline constexpr std::array kValues = {
#define X(enumerator, name, meaning) ValueName{name, meaning},
    PSP_VALUES(X)
#undef X
};

}  // namespace psp
