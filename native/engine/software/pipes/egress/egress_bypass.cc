// SPDX-License-Identifier: Apache-2.0
// Passes packets that a bypass rule names in the clear: to the next hop of their own destination, as they
// are, hop limit untouched. The MTU of the wire applies to them as at a router: a packet that is too long is
// fragmented, or its source receives an ICMP error.
#include "engine/software/pipes/edge.h"
#include "engine/software/pipes/egress/egress.h"
#include "engine/software/pipes/egress/path.h"
#include "engine/software/pipes/oversize_packets.h"

namespace psp {

namespace {

enum class Edge : uint8_t {
  kWire = kNextEdge,
  kFragment,  // to the wire, in fragments
  kNoNextHop = drops(Drop::kEgressNoNextHop),
  kTooBig = drops(Drop::kEgressTooBig),
};

// *hop: for the wire. *mtu: of the fragments; for kTooBig of the ICMP error.
Edge choose(Lcore& lcore, Packet& packet, Address* hop, uint16_t* mtu) {
  if (!next_hop(lcore, packet.ip.destination, hop)) return Edge::kNoNextHop;
  complete_checksum(lcore, packet);
  const Oversize oversize = oversize_clear(length_of(lcore, packet), lcore.secured.info.mtu);
  switch (oversize.action) {
    case OversizeAction::kFits:
      return Edge::kWire;
    case OversizeAction::kFragment:
    case OversizeAction::kSealThenFragment:
      *mtu = oversize.mtu;
      return Edge::kFragment;
    case OversizeAction::kDrop:
      break;
  }
  *mtu = oversize.error_mtu;
  return Edge::kTooBig;
}

void send(Lcore& lcore, const Address& hop, rte_mbuf* mbuf, bool ipv6) {
  lcore.secured.ethernet.write_source(rte_pktmbuf_mtod(mbuf, uint8_t*), ipv6);
  lcore.to_wire.add(hop, mbuf);
}

void pass(Lcore& lcore, Packet& packet) {
  Address hop;
  uint16_t mtu = 0;
  const Edge edge = choose(lcore, packet, &hop, &mtu);
  const bool ipv6 = packet.ip.version == 6;
  Fragments fragments;
  switch (edge) {
    case Edge::kWire:
      send(lcore, hop, packet.mbuf, ipv6);
      break;
    case Edge::kFragment:
      if (!fragment(lcore, packet, mtu, &fragments)) return;
      for (uint32_t i = 0; i < fragments.count; ++i) send(lcore, hop, fragments.mbufs[i], ipv6);
      break;
    case Edge::kTooBig:
      report_too_big(lcore, packet, mtu);
      [[fallthrough]];
    default:
      return lcore.drop(packet, reason_of(edge));
  }
  lcore.counters.bypass[packet.bypass_rule].egress_packets.add();
}

}  // namespace

void egress_bypass(Lcore& lcore, Burst& clear) {
  for (Packet& packet : clear) pass(lcore, packet);
  clear.count = 0;
}

}  // namespace psp
