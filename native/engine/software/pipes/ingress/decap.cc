// SPDX-License-Identifier: Apache-2.0
// Carries congestion that was marked on the way inward (RFC 6040), strips all that precedes the inner packet,
// and passes the packet on to its host. No hop limit is decremented on the way, so neighbour discovery from
// afar would be taken for that of the hosts' own segment: it is dropped here. A packet longer than the MTU of
// the hosts' port is fragmented where IP allows it, otherwise its source receives an ICMP error through the
// tunnel (oversize.h has the rules).
#include <optional>

#include "engine/ip/fragment.h"
#include "engine/software/pipes/edge.h"
#include "engine/software/pipes/ingress/ingress.h"
#include "engine/software/pipes/oversize_packets.h"
#include "psp/ecn.h"
#include "psp/octets.h"
#include "psp/protocols.h"
#include "psp/transport.h"

namespace psp {

namespace {

enum class Edge : uint8_t {
  kHost = kNextEdge,
  kFragment,  // to the host, in fragments
  kNeighbourDiscovery = drops(Drop::kIngressNeighbourDiscovery),
  kTooBig = drops(Drop::kIngressTooBig),
  kCongestion = drops(Drop::kIngressCongestion),
};

// A first fragment counts too, and so does one that leaves its type to the next (RFC 6980); a later one has
// no type, and is useless without the first.
bool is_discovery(const IpPacket& ip, const uint8_t* inner) {
  if (ip.version != 6 || ip.protocol != kProtocolIcmpv6 || ip.later_fragment) return false;
  if (ip.length <= ip.payload_offset) return ip.fragment;
  const uint8_t type = inner[ip.payload_offset];
  return type >= kDiscoveryFirst && type <= kDiscoveryLast;
}

Oversize check_length(const Lcore& lcore, const Packet& packet) {
  const bool clear = packet.receive_spi == 0;
  const Mode mode = clear ? Mode::kTunnel : lcore.spis[packet.receive_spi].mode;
  PacketLength length;
  length.length = packet.ip.length;
  length.ipv6 = packet.ip.version == 6;
  length.dont_fragment = !length.ipv6 && (load_u16(packet.inner + 6) & kDontFragment) != 0;
  length.reassembled = packet.reassembled && (clear || mode == Mode::kTransport);
  return oversize_opened(length, lcore.unsecured.info.mtu, mode);
}

// *error_mtu: of the ICMP error that the source receives; 0: none.
Edge choose(const Lcore& lcore, Packet& packet, uint16_t* error_mtu) {
  if (is_discovery(packet.ip, packet.inner)) return Edge::kNeighbourDiscovery;
  const uint8_t ecn = packet.ip.traffic_class & kEcnMask;
  if (packet.outer_ecn != ecn) {
    const std::optional<uint8_t> carried = decapsulated_ecn(packet.outer_ecn, ecn);
    if (!carried) return Edge::kCongestion;
    if (*carried != ecn) set_ecn(*carried, &packet.ip, packet.inner);
  }
  if (packet.ip.length <= lcore.unsecured.info.mtu) return Edge::kHost;
  const Oversize oversize = check_length(lcore, packet);
  *error_mtu = oversize.error_mtu;
  return oversize.action == OversizeAction::kDrop ? Edge::kTooBig : Edge::kFragment;
}

// Makes a frame of the packet inside the mbuf.
void strip(const Lcore& lcore, Packet& packet) {
  rte_mbuf& mbuf = *packet.mbuf;
  uint8_t* const frame = packet.inner - kEthernetLength;
  const uint32_t length = kEthernetLength + packet.ip.length;
  mbuf.data_off = static_cast<uint16_t>(frame - static_cast<uint8_t*>(mbuf.buf_addr));
  mbuf.pkt_len = length;
  mbuf.data_len = static_cast<uint16_t>(length);
  lcore.unsecured.ethernet.write_source(frame, packet.ip.version == 6);
}

FragmentFault fragment(Lcore& lcore, const Packet& packet, Fragments* fragments) {
  const uint16_t mtu = lcore.unsecured.info.mtu;
  rte_mempool* const pool = lcore.shared->fragment_pool.get();
  if (packet.ip.version == 4) return fragment_ipv4(packet.mbuf, mtu, pool, fragments);
  TransportLayout front;
  if (read_transport_layout(packet.ip, packet.layer3(), &front) == TransportFault::kFragment) {
    return FragmentFault::kUnfragmentable;
  }
  return fragment_ipv6(packet.mbuf, mtu, {front.header_length, front.protocol_offset},
                       lcore.shared->identifications.next(), pool, fragments);
}

bool deliver(Lcore& lcore, Packet& packet) {
  if (packet.reassembled && !leave_reassembly(lcore, packet)) {
    lcore.drop(packet, Drop::kIngressNoMemory);
    return false;
  }
  lcore.to_hosts.add(packet.ip.destination, packet.mbuf);
  return true;
}

bool deliver_in_fragments(Lcore& lcore, Packet& packet) {
  Fragments fragments;
  const FragmentFault fault = fragment(lcore, packet, &fragments);
  if (fault != FragmentFault::kNone) {
    lcore.drop(packet, reason_of(fault, lcore.to_hosts, lcore.unsecured.tx, Drop::kIngressTooBig,
                                 Drop::kIngressNoMemory, Drop::kIngressTxFull));
    return false;
  }
  rte_pktmbuf_free(packet.mbuf);
  lcore.counters[Value::kPacketsFragmented].add();
  lcore.counters[Value::kFragmentsMade].add(fragments.count);
  for (uint32_t i = 0; i < fragments.count; ++i)
    lcore.to_hosts.add(packet.ip.destination, fragments.mbufs[i]);
  return true;
}

}  // namespace

bool decap(Lcore& lcore, Packet& packet) {
  uint16_t error_mtu = 0;
  const Edge edge = choose(lcore, packet, &error_mtu);
  if (error_mtu != 0) report_too_big_to_peer(lcore, packet, error_mtu);
  if (is_drop(edge)) {
    lcore.drop(packet, reason_of(edge));
    return false;
  }
  strip(lcore, packet);
  return edge == Edge::kHost ? deliver(lcore, packet) : deliver_in_fragments(lcore, packet);
}

void decap(Lcore& lcore, Burst& burst) {
  for (Packet& packet : burst) decap(lcore, packet);
  burst.count = 0;
}

}  // namespace psp
