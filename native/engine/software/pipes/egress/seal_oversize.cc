// SPDX-License-Identifier: Apache-2.0
// The path is determined first; the edge then says whether the packet leaves whole, in fragments, or not at
// all.
#include "engine/software/pipes/egress/seal_oversize.h"

#include "engine/software/pipes/edge.h"
#include "engine/software/pipes/egress/path.h"
#include "engine/software/pipes/egress/seal_packet.h"
#include "engine/software/pipes/failed_packets.h"
#include "engine/software/pipes/oversize_packets.h"

namespace psp {

namespace {

enum class Edge : uint8_t {
  kWire = kNextEdge,
  kFragmentThenSeal,
  kSealThenFragment,
  kTooBig = drops(Drop::kEgressTooBig),
  kNoNextHop = drops(Drop::kEgressNoNextHop),
  kTransportIpInIp = drops(Drop::kEgressTransportIpInIp),
  kTransportUnsealable = drops(Drop::kEgressTransportUnsealable),
};

// The edge of a packet, and what the edge needs to know.
struct Choice {
  Edge edge;
  uint16_t mtu = 0;        // of the fragments
  uint16_t error_mtu = 0;  // kTooBig: of the ICMP error
};

// Fragments an inner IPv4 packet in tunnel mode: each fragment is a packet of its own.
void fragment_then_seal(Lcore& lcore, const SealPath& path, Packet& packet, uint16_t mtu) {
  const Packet whole = packet;
  Fragments fragments;
  if (!fragment(lcore, packet, mtu, &fragments)) return;
  for (uint32_t i = 0; i < fragments.count; ++i) {
    Packet part = whole;
    part.mbuf = fragments.mbufs[i];
    read_ip(part.layer3(), part.layer3_length(), &part.ip);
    seal_whole(lcore, path, part);
  }
}

// An outer header of ours gets an identification of ours. In transport mode IPv4 keeps the host's: the host
// allowed fragments, or made them, so its identification is meaningful (RFC 6864), and the host alone numbers
// what leaves between these addresses. A different identification would reach the far host, which may
// authenticate it (AH).
void seal_then_fragment(Lcore& lcore, SealPath& path, Packet& packet, uint16_t mtu) {
  const bool tunnel = lcore.flows[packet.flow].mode == Mode::kTunnel;
  path.dont_fragment = false;
  if (!seal_at_once(lcore, path, packet)) return drop_unsealed(lcore, packet, Drop::kEgressTooBig);
  const Unfragmentable part =
      tunnel ? Unfragmentable{}
             : Unfragmentable{path.transport.header_length, path.transport.protocol_offset};
  Fragments fragments;
  const bool done = path.outer_ipv6 ? fragment(lcore, packet, mtu, part, &fragments)
                                    : fragment(lcore, packet, mtu, &fragments);
  if (!done) return;
  for (uint32_t i = 0; i < fragments.count; ++i) {
    lcore.to_wire.add(path.hop, fragments.mbufs[i]);
  }
}

// Whether the fence passes the sealed packet (services/dataplane/adapters/fence_rules.ts): the kernel finds
// UDP after so many octets and no more, and nobody would learn of a frame that the fence drops.
bool passes_fence(const TransportLayout& cut) {
  constexpr uint16_t kLongestFront = 240;
  constexpr uint8_t kMostExtensions = 3;
  return cut.header_length <= kLongestFront && cut.extensions <= kMostExtensions;
}

// An IPv6 packet in transport mode that its host fragmented, as its link takes no packet of this length. It
// leaves in fragments too, which is all that shows the far gateway that no error is to be reported.
bool must_show_fragments(const Lcore& lcore, const EgressFlow& flow, const Packet& packet) {
  return packet.reassembled && packet.ip.version == 6 && flow.mode == Mode::kTransport &&
         packet.ip.length > lcore.unsecured.info.mtu;
}

Edge read_transport_path(const Packet& packet, SealPath* path) {
  switch (read_transport_layout(packet.ip, packet.layer3(), &path->transport)) {
    case TransportFault::kNone:
      return passes_fence(path->transport) ? Edge::kWire : Edge::kTransportUnsealable;
    case TransportFault::kTunnelProtocol:
      return Edge::kTransportIpInIp;
    default:
      return Edge::kTransportUnsealable;
  }
}

Choice choose(Lcore& lcore, Packet& packet, SealPath* path) {
  const EgressFlow& flow = lcore.flows[packet.flow];
  forget_old_path_mtu(lcore, packet.flow);
  const bool tunnel = flow.mode == Mode::kTunnel;
  path->outer_ipv6 = tunnel ? lcore.outer_header.ipv6() : packet.ip.version == 6;
  if (!next_hop(lcore, flow.outer_destination, &path->hop)) return {Edge::kNoNextHop};
  complete_checksum(lcore, packet);
  if (!tunnel) {
    const Edge edge = read_transport_path(packet, path);
    if (edge != Edge::kWire) return {edge};
  }
  const bool cookie = flow.cookie != 0;
  path->front =
      static_cast<uint16_t>(tunnel ? tunnel_headroom(path->outer_ipv6, cookie) : transport_headroom(cookie));
  const uint32_t longest = length_within(path_mtu(lcore, packet.flow), path->front + kIcvLength);
  // The port's MTU is more than when the flow was prepared.
  if (flow.plain_length != 0 && flow.plain_length < longest) prepare(lcore, packet.flow);
  if (packet.ip.length <= longest) {
    if (!must_show_fragments(lcore, flow, packet)) return {Edge::kWire};
    return {Edge::kSealThenFragment, static_cast<uint16_t>(packet.ip.length)};
  }
  const Oversize oversize = oversize_sealed(length_of(lcore, packet), longest, flow.mode);
  switch (oversize.action) {
    case OversizeAction::kFits:
      return {Edge::kWire};
    case OversizeAction::kFragment:
      return {Edge::kFragmentThenSeal, oversize.mtu};
    case OversizeAction::kSealThenFragment:
      return {Edge::kSealThenFragment, path_mtu(lcore, packet.flow)};
    case OversizeAction::kDrop:
      break;
  }
  return {Edge::kTooBig, 0, oversize.error_mtu};
}

}  // namespace

void seal_oversize(Lcore& lcore, Packet& packet) {
  SealPath path;
  const Choice choice = choose(lcore, packet, &path);
  switch (choice.edge) {
    case Edge::kWire:
      return seal_whole(lcore, path, packet);
    case Edge::kFragmentThenSeal:
      return fragment_then_seal(lcore, path, packet, choice.mtu);
    case Edge::kSealThenFragment:
      return seal_then_fragment(lcore, path, packet, choice.mtu);
    case Edge::kTooBig:
      // Its source learns what fits, so this is no error in the sense of the PSP specification.
      capture_unsealed(lcore, packet, reason_of(choice.edge));
      report_too_big(lcore, packet, choice.error_mtu);
      return lcore.drop(packet, reason_of(choice.edge));
    default:
      return drop_unsealed(lcore, packet, reason_of(choice.edge));
  }
}

}  // namespace psp
