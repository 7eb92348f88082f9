// SPDX-License-Identifier: Apache-2.0
// The one table of reasons for which a received frame goes no further: name, direction, cause, and what an
// operator does about it. Every received frame is forwarded, held, consumed (ARP and neighbour discovery for
// us) or counted under exactly one of these.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace psp {

enum class Direction : uint8_t { kEgress, kIngress };

// enumerator, name, direction, cause, remedy
#define PSP_DROP_REASONS(X)                                                                                  \
  X(kEgressMalformed, "malformed", kEgress, "A host's frame has impossible lengths, fields or checksums.",   \
    "Look at the sending host; nothing at the gateway.")                                                     \
  X(kEgressTruncated, "truncated", kEgress, "A host's frame is shorter than its headers say.",               \
    "Look at the sending host's interface and driver.")                                                      \
  X(kEgressVlan, "vlan", kEgress, "A host's frame carries a VLAN tag other than 0 (a mere priority).",       \
    "Take the tag off before the unsecured port.")                                                           \
  X(kEgressOtherHost, "other_host", kEgress, "A unicast frame for another MAC address reached the port.",    \
    "Harmless on a shared segment; otherwise clear stale neighbour entries of the hosts.")                   \
  X(kEgressNotIp, "not_ip", kEgress, "The frame is neither IPv4, IPv6 nor ARP.",                             \
    "Only IP is carried; keep other protocols off the port.")                                                \
  X(kEgressMulticast, "multicast", kEgress, "The destination is multicast or broadcast.",                    \
    "PSP tunnels are unicast; hosts send such frames by themselves, mostly harmless.")                       \
  X(kEgressNotLocalSource, "not_local_source", kEgress, "The source address is no VIP of this gateway.",     \
    "Add the address to vips, or look for a host that forges or routes.")                                    \
  X(kEgressLocalDestination, "local_destination", kEgress,                                                   \
    "The destination lies behind this same gateway, or is the gateway itself.",                              \
    "Connect these hosts with one another directly; the gateway is no switch.")                              \
  X(kEgressNoPeer, "no_peer", kEgress, "No peer has the destination among its vips.",                        \
    "Add the prefix to the peer's vips, or stop the scan.")                                                  \
  X(kEgressTableFull, "table_full", kEgress, "The flow table has no room for one more flow.",                \
    "Raise maxFlows.")                                                                                       \
  X(kEgressWantLimit, "want_limit", kEgress, "Too many flows towards this peer wait for keys.",              \
    "Look for a scan of the peer's prefix, or a peer that does not answer.")                                 \
  X(kEgressHeldOverflowFlow, "held_overflow_flow", kEgress,                                                  \
    "More packets of one flow were held than heldPerFlow; the oldest went.",                                 \
    "Expected when a host sends fast before the first key exchange is over.")                                \
  X(kEgressHeldOverflowSource, "held_overflow_source", kEgress,                                              \
    "More packets of one source were held than heldPerSource; the oldest went.",                             \
    "Look for a scan by that host.")                                                                         \
  X(kEgressHeldOverflowTotal, "held_overflow_total", kEgress,                                                \
    "More packets were held than heldTotal; the oldest went.", "Look at key exchange: peers answer slowly.") \
  X(kEgressNoAnswer, "no_answer", kEgress, "Held until holdMs was over, and the peer had not answered.",     \
    "See psp status for the peer: reachability, certificate, breaker.")                                      \
  X(kEgressRefused, "refused", kEgress, "Held, then the peer refused the flow.",                             \
    "Compare both gateways' vips; the log names the peer's reason.")                                         \
  X(kEgressRemoved, "removed", kEgress, "Held, then the flow was removed by command.",                       \
    "None; it was asked for.")                                                                               \
  X(kEgressHoldDown, "hold_down", kEgress, "The flow was refused or unanswered a moment ago.",               \
    "As for refused and no_answer; it is tried again by itself.")                                            \
  X(kEgressTooBig, "too_big", kEgress,                                                                       \
    "The packet is too long for the path once sealed and must not or cannot be cut, or a GSO packet that "   \
    "cannot be segmented: in a host's tunnel of an unsupported kind, or on a DPDK port.",                    \
    "Hosts are told by ICMP; raise the wire's MTU, or turn tso and gso off at the host that sends such "     \
    "packets.")                                                                                              \
  X(kEgressTransportIpInIp, "transport_ip_in_ip", kEgress,                                                   \
    "IP in IP (protocol 4 or 41) towards a peer in transport mode, where it would pass for tunnel mode.",    \
    "Set mode: tunnel for the peer, on both sides.")                                                         \
  X(kEgressTransportUnsealable, "transport_unsealable", kEgress,                                             \
    "Transport mode has no form for the packet: longer than 65535 octets once sealed, or more than 3 "       \
    "extension headers or 200 octets of them that must stay readable.",                                      \
    "Set mode: tunnel for the peer, on both sides, or let hosts send shorter packets.")                      \
  X(kEgressFragmentTimeout, "fragment_timeout", kEgress,                                                     \
    "Fragments towards a peer in transport mode waited for the rest of their packet, which never came.",     \
    "Look at the sending host, or set mode: tunnel for the peer: there fragments pass one by one.")          \
  X(kEgressFragmentOverlap, "fragment_overlap", kEgress,                                                     \
    "Fragments of one packet towards a peer in transport mode overlap; all of it is dropped (RFC 5722).",    \
    "Treat the sending host as misbehaving.")                                                                \
  X(kEgressFragmentDuplicate, "fragment_duplicate", kEgress,                                                 \
    "A fragment towards a peer in transport mode came twice.",                                               \
    "Harmless; look for loops if there are many.")                                                           \
  X(kEgressFragmentTableFull, "fragment_table_full", kEgress,                                                \
    "Too many packets in fragments wait for their rest, in all or of one host; the oldest went.",            \
    "Set mode: tunnel for the peer, or lower what its hosts send to the MTU.")                               \
  X(kEgressFragmentMalformed, "fragment_malformed", kEgress,                                                 \
    "A fragment towards a peer in transport mode has impossible offsets or lengths.",                        \
    "Look at the sending host; nothing at the gateway.")                                                     \
  X(kEgressNoNextHop, "no_next_hop", kEgress,                                                                \
    "The next hop on the wire is not known: no gateway, or no answer to ARP or neighbour discovery.",        \
    "Check secured.gateway and that the next hop answers.")                                                  \
  X(kEgressNoMemory, "no_memory", kEgress,                                                                   \
    "No packet memory was left to cut a packet, or to let one wait that was put together.",                  \
    "Look at what waits: a wire slower than the hosts, next hops and hosts that do not answer.")             \
  X(kEgressHandoffFull, "handoff_full", kEgress,                                                             \
    "An lcore left more packets to the first one than that takes: without a key, or in fragments.",          \
    "As for want_limit and held_overflow_total; if all is well there, use fewer engine.lcores.")             \
  X(kEgressTxFull, "tx_full", kEgress, "The secured port took no more packets.",                             \
    "The wire is slower than the hosts; expected under overload.")                                           \
  X(kEgressPortDown, "port_down", kEgress, "The secured port's link is down.",                               \
    "Bring the interface and its other end up.")                                                             \
  X(kIngressMalformed, "malformed", kIngress, "A frame from the wire has impossible lengths or checksums.",  \
    "Look at the path between the gateways.")                                                                \
  X(kIngressTruncated, "truncated", kIngress, "A frame from the wire is shorter than its headers say.",      \
    "Look at the path between the gateways.")                                                                \
  X(kIngressVlan, "vlan", kIngress, "A frame from the wire carries a VLAN tag.",                             \
    "Take the tag off before the secured port.")                                                             \
  X(kIngressOtherHost, "other_host", kIngress, "A unicast frame for another MAC address reached the port.",  \
    "Harmless on a shared segment.")                                                                         \
  X(kIngressNotPsp, "not_psp", kIngress, "Not UDP to port 1000; plaintext is not let in from the wire.",     \
    "None, unless hosts were expected to reach each other unencrypted.")                                     \
  X(kIngressNotForUs, "not_for_us", kIngress,                                                                \
    "The outer destination is not our secured address, nor a VIP under a transport mode peer.",              \
    "Check secured.address against what peers are told; multicast on the wire is harmless.")                 \
  X(kIngressFragmentTimeout, "fragment_timeout", kIngress,                                                   \
    "Fragments from the wire waited two seconds for the rest of their datagram.",                            \
    "A few are lost packets; many are an attack or a path that loses fragments.")                            \
  X(kIngressFragmentOverlap, "fragment_overlap", kIngress,                                                   \
    "Fragments from the wire overlap or contradict each other; their datagram ended.",                       \
    "Look for their sender: forged, or broken.")                                                             \
  X(kIngressFragmentDuplicate, "fragment_duplicate", kIngress, "A fragment from the wire came twice.",       \
    "The network repeats packets; harmless.")                                                                \
  X(kIngressFragmentTableFull, "fragment_table_full", kIngress,                                              \
    "Too many datagrams from the wire in fragments at once, in all or of one source; the oldest went.",      \
    "Avoid fragments: look at the MTU of the path; otherwise it is an attack.")                              \
  X(kIngressFragmentMalformed, "fragment_malformed", kIngress,                                               \
    "A fragment from the wire has an impossible place or length, or its datagram is too long or malformed.", \
    "Look at their sender.")                                                                                 \
  X(kIngressUdpChecksum, "udp_checksum", kIngress,                                                           \
    "The UDP checksum of a PSP packet is not zero, and wrong.", "Look at the path between the gateways.")    \
  X(kIngressIcmp, "icmp", kIngress,                                                                          \
    "ICMP from the wire; of it only fragmentation needed and packet too big are listened to.",               \
    "None; a gateway does not answer ping.")                                                                 \
  X(kIngressIcmpUnproven, "icmp_unproven", kIngress,                                                         \
    "A fragmentation needed or packet too big that quotes no packet of a live flow of ours, or tells no "    \
    "less than is known.",                                                                                   \
    "Expected for a moment after a rotation, and of packets under way as an MTU is learned; many are an "    \
    "attack on the path MTU.")                                                                               \
  X(kIngressHeaderTruncated, "header_truncated", kIngress, "Too short for a PSP header and its ICV.",        \
    "Look for other senders to UDP port 1000.")                                                              \
  X(kIngressHeaderMalformed, "header_malformed", kIngress, "The PSP header contradicts itself.",             \
    "Look for other senders to UDP port 1000.")                                                              \
  X(kIngressHeaderCryptOffset, "header_crypt_offset", kIngress, "The crypt offset points past the payload.", \
    "Look at the sending gateway's version.")                                                                \
  X(kIngressUnknownVersion, "unknown_version", kIngress, "A PSP version other than 0 to 3.",                 \
    "Give both gateways a version in common.")                                                               \
  X(kIngressUnknownSpi, "unknown_spi", kIngress, "No live offer of ours has this SPI in this version.",      \
    "Expected after a restart of this gateway: the peer keeps sending under its old key until a host "       \
    "behind this gateway sends on the reverse flow, or until the peer rotates its master key. "              \
    "Otherwise somebody guesses SPIs.")                                                                      \
  X(kIngressWrongMode, "wrong_mode", kIngress,                                                               \
    "The SPI is one of transport mode and the packet came to our own address, or of tunnel mode and it "     \
    "came to a VIP.",                                                                                        \
    "Look at the sending gateway: mode must be that of the offer.")                                          \
  X(kIngressNoKey, "no_key", kIngress, "The master key slot of this SPI is empty.", "As for unknown_spi.")   \
  X(kIngressIcvFailure, "icv_failure", kIngress, "Authentication failed: damaged, forged, or another key.",  \
    "A few are damage on the path; many are an attack.")                                                     \
  X(kIngressBadTrailer, "bad_trailer", kIngress, "Authentic, but what it carries is no IP packet.",          \
    "Look at the sending gateway: the mode may differ.")                                                     \
  X(kIngressSampledDrop, "sampled_drop", kIngress,                                                           \
    "Authentic, copied as a sample, and marked to be dropped then (S and D).",                               \
    "None; the sender asked for it. This gateway never sets D.")                                             \
  X(kIngressAclMiss, "acl_miss", kIngress, "Authentic, but not the flow (or cookie) this SPI was made for.", \
    "The peer sends a flow under a key of another one: treat as misbehaviour.")                              \
  X(kIngressNeighbourDiscovery, "inner_nd", kIngress,                                                        \
    "An authentic inner packet is neighbour discovery (router or neighbour messages, redirect), or a first " \
    "fragment of ICMPv6 that does not show its type.",                                                       \
    "A host or gateway at the peer sends what belongs to its own segment: treat as misbehaviour.")           \
  X(kIngressCongestion, "congestion_marked", kIngress,                                                       \
    "Congestion was marked outside a packet whose ends do not speak ECN (RFC 6040).",                        \
    "The path marks packets that it should drop.")                                                           \
  X(kIngressTooBig, "too_big", kIngress,                                                                     \
    "The packet is longer than the unsecured port's MTU and must not be fragmented, or its frame was "       \
    "longer than the secured port's MTU.",                                                                   \
    "Its source receives an ICMP error through the tunnel, which firewalls there must let in; give hosts "   \
    "on both sides the same MTU. Turn receive offloads off at a secured port that DPDK drives.")             \
  X(kIngressNeighbourUnresolved, "neighbour_unresolved", kIngress,                                           \
    "The host does not answer ARP or neighbour discovery.", "Check that the host is up and has the VIP.")    \
  X(kIngressNoMemory, "no_memory", kIngress,                                                                 \
    "No packet memory was left to cut a packet, or to let one wait that was put together.",                  \
    "Look at what waits: hosts slower than the wire, hosts and next hops that do not answer.")               \
  X(kIngressHandoffFull, "handoff_full", kIngress,                                                           \
    "An lcore left more packets to the first one than that takes: of SPIs not seen before, or in "           \
    "fragments.",                                                                                            \
    "A storm of forged or cut packets; if there is none, use fewer engine.lcores.")                          \
  X(kIngressTxFull, "tx_full", kIngress, "The unsecured port took no more packets.",                         \
    "The host is slower than the wire; expected under overload.")                                            \
  X(kIngressPortDown, "port_down", kIngress, "The unsecured port's link is down.",                           \
    "Bring the interface and its other end up.")

enum class Drop : uint8_t {
#define X(enumerator, name, direction, cause, remedy) enumerator,
  PSP_DROP_REASONS(X)
#undef X
};

struct DropReason {
  std::string_view name;
  Direction direction;
  std::string_view cause;
  std::string_view remedy;
};

inline constexpr std::array kDropReasons = {
#define X(enumerator, name, direction, cause, remedy) DropReason{name, Direction::direction, cause, remedy},
    PSP_DROP_REASONS(X)
#undef X
};

inline constexpr size_t kDropReasonCount = kDropReasons.size();

inline constexpr std::string_view direction_name(Direction direction) {
  return direction == Direction::kEgress ? "egress" : "ingress";
}

}  // namespace psp
