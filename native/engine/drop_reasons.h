// SPDX-License-Identifier: Apache-2.0
// The one table of reasons for which a received frame is dropped: name, direction, cause, and remedy. Every
// received frame is forwarded, held, consumed (ARP and neighbour discovery for the gateway) or counted under
// exactly one of these.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "engine/values.h"

namespace psp {

enum class Direction : uint8_t { kEgress, kIngress };

// Reasons that no counter of the PSP specification counts.
inline constexpr std::optional<Value> kNone{};

// enumerator, name, direction, counter of the PSP specification, cause, remedy
#define PSP_DROP_REASONS(X)                                                                                  \
  X(kEgressMalformed, "malformed", kEgress, kNone,                                                           \
    "A host's frame has impossible lengths, fields or checksums.",                                           \
    "Check the sending host. The gateway needs no change.")                                                  \
  X(kEgressTruncated, "truncated", kEgress, kNone, "A host's frame is shorter than its headers say.",        \
    "Check the sending host's interface and driver.")                                                        \
  X(kEgressVlan, "vlan", kEgress, kNone, "A host's frame has a VLAN tag with a VLAN ID other than 0.",       \
    "Remove the tag before the unsecured port.")                                                             \
  X(kEgressOtherHost, "other_host", kEgress, kNone,                                                          \
    "A unicast frame for another MAC address arrived at the port.",                                          \
    "Harmless on a shared segment. Otherwise clear stale neighbour entries of the hosts.")                   \
  X(kEgressNotIp, "not_ip", kEgress, kNone, "The frame is neither IPv4, IPv6 nor ARP.",                      \
    "The gateway carries only IP. Keep other protocols off the port.")                                       \
  X(kEgressMulticast, "multicast", kEgress, kNone, "The destination is a multicast or broadcast address.",   \
    "PSP tunnels are unicast. Hosts send such frames on their own; this is mostly harmless.")                \
  X(kEgressNotLocalSource, "not_local_source", kEgress, kNone,                                               \
    "The source address is not a VIP of this gateway.",                                                      \
    "Add the address to vips, or look for a host that spoofs addresses or routes.")                          \
  X(kEgressLocalDestination, "local_destination", kEgress, kNone,                                            \
    "The destination is behind this gateway, or is the gateway itself.",                                     \
    "Connect these hosts directly to each other. The gateway does not switch between them.")                 \
  X(kEgressNoPeer, "no_peer", kEgress, kNone, "No peer has the destination among its vips.",                 \
    "Add the prefix to the peer's vips, or stop the scan.")                                                  \
  X(kEgressTableFull, "table_full", kEgress, kNone, "The flow table is full.", "Raise engine.maxFlows.")     \
  X(kEgressWantLimit, "want_limit", kEgress, kNone, "Too many flows to this peer wait for keys.",            \
    "Look for a scan of the peer's prefix, or for a peer that does not answer.")                             \
  X(kEgressHeldOverflowFlow, "held_overflow_flow", kEgress, kNone,                                           \
    "The limit of held packets per flow was reached; the oldest one was dropped.",                           \
    "Expected if a host sends fast before the first key exchange is complete.")                              \
  X(kEgressHeldOverflowSource, "held_overflow_source", kEgress, kNone,                                       \
    "The limit of held packets per source was reached; the oldest one was dropped.",                         \
    "Look for a scan by that host.")                                                                         \
  X(kEgressHeldOverflowTotal, "held_overflow_total", kEgress, kNone,                                         \
    "The limit of all held packets was reached; the oldest one was dropped.",                                \
    "Check key exchange: peers answer slowly.")                                                              \
  X(kEgressNoAnswer, "no_answer", kEgress, kNone,                                                            \
    "The packet was held until engine.holdMs was over, and the peer had not answered.",                      \
    "Check the peer in psp status: reachability, certificate, circuit breaker.")                             \
  X(kEgressRefused, "refused", kEgress, kNone, "The packet was held, and then the peer refused the flow.",   \
    "Compare the vips of both gateways. The log has the peer's reason.")                                     \
  X(kEgressRemoved, "removed", kEgress, kNone, "The packet was held, and then a command removed the flow.",  \
    "None. The removal was requested.")                                                                      \
  X(kEgressKeyWorn, "key_worn", kEgress, kNone,                                                              \
    "The flow's key has sealed as many packets as one key may seal, and no newer key arrived.",              \
    "Check the peer in psp status: it has not answered for a long time.")                                    \
  X(kEgressHoldDown, "hold_down", kEgress, kNone,                                                            \
    "The flow is in hold-down, because it was refused or not answered shortly before.",                      \
    "As for refused and no_answer. The flow is retried automatically.")                                      \
  X(kEgressTooBig, "too_big", kEgress, Value::kTxError,                                                      \
    "The packet is too long for the path once sealed and must not or cannot be fragmented, or it is a GSO "  \
    "packet that cannot be segmented: in a host's tunnel of an unsupported kind, or on a DPDK port.",        \
    "Hosts receive an ICMP error. Raise the wire's MTU, or turn tso and gso off on the host that sends "     \
    "such packets.")                                                                                         \
  X(kEgressTransportIpInIp, "transport_ip_in_ip", kEgress, Value::kTxError,                                  \
    "IP in IP (protocol 4 or 41) to a peer in transport mode, where it would be taken for tunnel mode.",     \
    "Set mode: tunnel for the peer, on both sides.")                                                         \
  X(kEgressTransportUnsealable, "transport_unsealable", kEgress, Value::kTxError,                            \
    "Transport mode cannot carry the packet: it is longer than 65535 octets once sealed, or has more than "  \
    "3 extension headers or 200 octets of them that must stay readable.",                                    \
    "Set mode: tunnel for the peer, on both sides, or let hosts send shorter packets.")                      \
  X(kEgressFragmentTimeout, "fragment_timeout", kEgress, kNone,                                              \
    "Fragments to a peer in transport mode waited for the rest of their packet, which never arrived.",       \
    "Check the sending host, or set mode: tunnel for the peer, where fragments are sent one by one.")        \
  X(kEgressFragmentOverlap, "fragment_overlap", kEgress, kNone,                                              \
    "Fragments of one packet to a peer in transport mode overlap; the whole packet is dropped (RFC 5722).",  \
    "Treat the sending host as compromised.")                                                                \
  X(kEgressFragmentDuplicate, "fragment_duplicate", kEgress, kNone,                                          \
    "A fragment to a peer in transport mode arrived twice.",                                                 \
    "Harmless. If there are many, look for a loop.")                                                         \
  X(kEgressFragmentTableFull, "fragment_table_full", kEgress, kNone,                                         \
    "Too many packets wait for reassembly, in total or from one host; the oldest one was dropped.",          \
    "Set mode: tunnel for the peer, or make its hosts send packets that fit their MTU.")                     \
  X(kEgressFragmentMalformed, "fragment_malformed", kEgress, kNone,                                          \
    "A fragment to a peer in transport mode has an impossible offset or length.",                            \
    "Check the sending host. The gateway needs no change.")                                                  \
  X(kEgressNoNextHop, "no_next_hop", kEgress, Value::kTxError,                                               \
    "The next hop on the wire is unknown: there is no gateway, or no answer to ARP or neighbour discovery.", \
    "Check secured.gateway, and that the next hop answers.")                                                 \
  X(kEgressNoMemory, "no_memory", kEgress, kNone,                                                            \
    "No packet memory was left to fragment a packet, or to queue a reassembled one.",                        \
    "Check what packets wait for: a wire slower than the hosts, next hops and hosts that do not answer.")    \
  X(kEgressHandoffFull, "handoff_full", kEgress, kNone,                                                      \
    "The handoff queue from a worker lcore to the main lcore was full: too many packets without a key, or "  \
    "in fragments.",                                                                                         \
    "As for want_limit and held_overflow_total. If these do not occur, use fewer engine.lcores.")            \
  X(kEgressTxFull, "tx_full", kEgress, kNone, "The transmit queue of the secured port was full.",            \
    "The wire is slower than the hosts; expected under overload.")                                           \
  X(kEgressPortDown, "port_down", kEgress, kNone, "The secured port's link is down.",                        \
    "Bring the interface and its other end up.")                                                             \
  X(kIngressMalformed, "malformed", kIngress, Value::kRxError,                                               \
    "A frame from the wire has impossible lengths or checksums.", "Check the path between the gateways.")    \
  X(kIngressTruncated, "truncated", kIngress, kNone,                                                         \
    "A frame from the wire is shorter than its headers say.", "Check the path between the gateways.")        \
  X(kIngressVlan, "vlan", kIngress, kNone, "A frame from the wire has a VLAN tag.",                          \
    "Remove the tag before the secured port.")                                                               \
  X(kIngressOtherHost, "other_host", kIngress, kNone,                                                        \
    "A unicast frame for another MAC address arrived at the port.", "Harmless on a shared segment.")         \
  X(kIngressNotPsp, "not_psp", kIngress, kNone,                                                              \
    "The packet is not UDP to port 1000. Plaintext is not accepted from the wire.",                          \
    "None, unless hosts should reach each other unencrypted.")                                               \
  X(kIngressNotForUs, "not_for_us", kIngress, kNone,                                                         \
    "The outer destination is neither our secured address nor a VIP with a peer in transport mode.",         \
    "Compare secured.address with what peers use. Multicast on the wire is harmless.")                       \
  X(kIngressFragmentTimeout, "fragment_timeout", kIngress, kNone,                                            \
    "Fragments from the wire waited two seconds for the rest of their datagram.",                            \
    "A few are caused by lost packets. Many are an attack, or a path that loses fragments.")                 \
  X(kIngressFragmentOverlap, "fragment_overlap", kIngress, kNone,                                            \
    "Fragments from the wire overlap or contradict each other; their datagram is dropped.",                  \
    "Find their sender: they are forged, or it is broken.")                                                  \
  X(kIngressFragmentDuplicate, "fragment_duplicate", kIngress, kNone,                                        \
    "A fragment from the wire arrived twice.", "The network duplicates packets; harmless.")                  \
  X(kIngressFragmentTableFull, "fragment_table_full", kIngress, kNone,                                       \
    "Too many datagrams from the wire wait for reassembly, in total or from one source; the oldest one was " \
    "dropped.",                                                                                              \
    "Avoid fragments by the MTU of the path. Otherwise it is an attack.")                                    \
  X(kIngressFragmentMalformed, "fragment_malformed", kIngress, kNone,                                        \
    "A fragment from the wire has an impossible offset or length, or its datagram is too long or "           \
    "malformed.",                                                                                            \
    "Check their sender.")                                                                                   \
  X(kIngressUdpChecksum, "udp_checksum", kIngress, Value::kRxError,                                          \
    "The UDP checksum of a PSP packet is not zero and is wrong.", "Check the path between the gateways.")    \
  X(kIngressIcmp, "icmp", kIngress, kNone,                                                                   \
    "An ICMP message from the wire other than fragmentation needed and packet too big.",                     \
    "None. A gateway does not answer ping on the wire.")                                                     \
  X(kIngressIcmpUnproven, "icmp_unproven", kIngress, kNone,                                                  \
    "A fragmentation needed or packet too big message that quotes no packet of a live flow of ours, or "     \
    "does not lower the known path MTU.",                                                                    \
    "Expected for a moment after a rotation, and for packets in flight while an MTU is learned. Many are "   \
    "an attack on the path MTU.")                                                                            \
  X(kIngressHeaderTruncated, "header_truncated", kIngress, Value::kRxError,                                  \
    "The packet is too short for a PSP header and its ICV.", "Look for other senders to UDP port 1000.")     \
  X(kIngressHeaderMalformed, "header_malformed", kIngress, Value::kRxError,                                  \
    "The fields of the PSP header contradict each other.", "Look for other senders to UDP port 1000.")       \
  X(kIngressHeaderCryptOffset, "header_crypt_offset", kIngress, Value::kRxError,                             \
    "The crypt offset is past the payload.", "Check the sending gateway's version.")                         \
  X(kIngressUnknownVersion, "unknown_version", kIngress, Value::kRxBad, "The PSP version is not 0 to 3.",    \
    "Configure a common version on both gateways.")                                                          \
  X(kIngressUnknownSpi, "unknown_spi", kIngress, kNone,                                                      \
    "No live offer of ours has this SPI in this version.",                                                   \
    "Expected after a restart of this gateway: the peer keeps sending under its old key until a host "       \
    "behind this gateway sends on the reverse flow, or until the peer rotates its master key. Otherwise "    \
    "somebody guesses SPIs.")                                                                                \
  X(kIngressWrongMode, "wrong_mode", kIngress, kNone,                                                        \
    "The SPI belongs to transport mode and the packet came to our own address, or it belongs to tunnel "     \
    "mode and the packet came to a VIP.",                                                                    \
    "Check the sending gateway: it must use the mode of the offer.")                                         \
  X(kIngressNoKey, "no_key", kIngress, Value::kRxBad, "The master key slot of this SPI is empty.",           \
    "As for unknown_spi.")                                                                                   \
  X(kIngressIcvFailure, "icv_failure", kIngress, Value::kRxAuthFail,                                         \
    "Authentication failed: the packet is damaged, forged, or under another key.",                           \
    "A few are damage on the path. Many are an attack.")                                                     \
  X(kIngressBadTrailer, "bad_trailer", kIngress, Value::kRxError,                                            \
    "The packet authenticates, but its payload is not an IP packet.",                                        \
    "Check the sending gateway: its mode may differ.")                                                       \
  X(kIngressSampledDrop, "sampled_drop", kIngress, kNone,                                                    \
    "The packet authenticates, was copied as a sample, and is marked to be dropped afterwards (S and D).",   \
    "None. The sender requested it. This gateway never sets D.")                                             \
  X(kIngressAclMiss, "acl_miss", kIngress, kNone,                                                            \
    "The packet authenticates, but its flow or cookie is not the one that this SPI was offered for.",        \
    "The peer sends a flow under the key of another flow: treat it as compromised.")                         \
  X(kIngressNeighbourDiscovery, "inner_nd", kIngress, kNone,                                                 \
    "An authenticated inner packet is neighbour discovery (router or neighbour messages, redirect), or a "   \
    "first fragment of ICMPv6 that does not show its type.",                                                 \
    "A host or gateway at the peer sends messages that belong to its own segment: treat it as compromised.") \
  X(kIngressCongestion, "congestion_marked", kIngress, kNone,                                                \
    "Congestion was marked on the outer header of a packet whose end hosts do not support ECN (RFC 6040).",  \
    "The path should drop such packets instead of marking them.")                                            \
  X(kIngressTooBig, "too_big", kIngress, kNone,                                                              \
    "The packet is longer than the unsecured port's MTU and must not be fragmented, or its frame was "       \
    "longer than the secured port's MTU.",                                                                   \
    "Its source receives an ICMP error through the tunnel, which firewalls there must accept. Give hosts "   \
    "on both sides the same MTU. Turn receive offloads off at a secured port that DPDK drives.")             \
  X(kIngressNeighbourUnresolved, "neighbour_unresolved", kIngress, kNone,                                    \
    "The host does not answer ARP or neighbour discovery.",                                                  \
    "Check that the host is running and has the VIP.")                                                       \
  X(kIngressNoMemory, "no_memory", kIngress, kNone,                                                          \
    "No packet memory was left to fragment a packet, or to queue a reassembled one.",                        \
    "Check what packets wait for: hosts slower than the wire, hosts and next hops that do not answer.")      \
  X(kIngressHandoffFull, "handoff_full", kIngress, kNone,                                                    \
    "The handoff queue from a worker lcore to the main lcore was full: too many packets under SPIs not "     \
    "seen before, or in fragments.",                                                                         \
    "A flood of forged or fragmented packets. If there is none, use fewer engine.lcores.")                   \
  X(kIngressTxFull, "tx_full", kIngress, kNone, "The transmit queue of the unsecured port was full.",        \
    "The host is slower than the wire; expected under overload.")                                            \
  X(kIngressPortDown, "port_down", kIngress, kNone, "The unsecured port's link is down.",                    \
    "Bring the interface and its other end up.")

enum class Drop : uint8_t {
#define X(enumerator, name, direction, psp_value, cause, remedy) enumerator,
  PSP_DROP_REASONS(X)
#undef X
};

struct DropReason {
  std::string_view name;
  Direction direction;
  // The counter of the PSP specification ("Statistics") that a packet feeds too when it is a PSP packet, or
  // was to become one.
  std::optional<Value> psp_value;
  std::string_view cause;
  std::string_view remedy;
};

inline constexpr std::array kDropReasons = {
#define X(enumerator, name, direction, psp_value, cause, remedy) \
  DropReason{name, Direction::direction, psp_value, cause, remedy},
    PSP_DROP_REASONS(X)
#undef X
};

inline constexpr size_t kDropReasonCount = kDropReasons.size();

inline constexpr std::optional<Value> psp_value_of(Drop reason) {
  return kDropReasons[static_cast<size_t>(reason)].psp_value;
}

inline constexpr std::string_view direction_name(Direction direction) {
  return direction == Direction::kEgress ? "egress" : "ingress";
}

}  // namespace psp
