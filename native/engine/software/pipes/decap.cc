// SPDX-License-Identifier: Apache-2.0
// What lies between ingress_acl and the unsecured port: congestion marked on the way is carried inward
// (RFC 6040), what lies in front of the packet is cut off, and it goes to its host. No hop limit is
// decremented on the way, so neighbour discovery from afar would pass for that of the hosts' own segment: it
// ends here. A packet longer than the MTU of the hosts' port is fragmented where IP allows it, otherwise its
// source receives an ICMP error through the tunnel (fit.h has the rules).
#include <optional>

#include "engine/ip/fragment.h"
#include "engine/software/pipes/oversize_packets.h"
#include "engine/software/pipes/pipes.h"
#include "engine/software/worker.h"
#include "psp/ecn.h"
#include "psp/octets.h"
#include "psp/protocols.h"
#include "psp/transport.h"

namespace psp {

namespace {

enum class Edge : uint8_t { kHost, kCut, kNeighbourDiscovery, kTooBig, kCongestion };

// A first fragment counts too, and more so one that leaves its type to the next (RFC 6980); a later one does
// not hold the type, and is nothing without the first.
bool is_discovery(const IpPacket& ip, const uint8_t* inner) {
  if (ip.version != 6 || ip.protocol != kProtocolIcmpv6 || ip.later_fragment) return false;
  if (ip.length <= ip.payload_offset) return ip.fragment;
  const uint8_t type = inner[ip.payload_offset];
  return type >= kDiscoveryFirst && type <= kDiscoveryLast;
}

Fitting fit(const Worker& worker, const Packet& packet) {
  const bool clear = packet.receive_spi == 0;
  const Mode mode = clear ? Mode::kTunnel : worker.receive_spis[packet.receive_spi].mode;
  ToFit question;
  question.length = packet.ip.length;
  question.ipv6 = packet.ip.version == 6;
  question.dont_fragment = !question.ipv6 && (load_u16(packet.inner + 6) & kDontFragment) != 0;
  question.reassembled = packet.reassembled && (clear || mode == Mode::kTransport);
  return fit_opened(question, worker.unsecured.info.mtu, mode);
}

// *mtu: what the source is to be told; 0: nothing.
Edge choose(const Worker& worker, Packet& packet, uint16_t* mtu) {
  if (is_discovery(packet.ip, packet.inner)) return Edge::kNeighbourDiscovery;
  const uint8_t ecn = packet.ip.traffic_class & kEcnMask;
  if (packet.outer_ecn != ecn) {
    const std::optional<uint8_t> carried = decapsulated_ecn(packet.outer_ecn, ecn);
    if (!carried) return Edge::kCongestion;
    if (*carried != ecn) set_ecn(*carried, &packet.ip, packet.inner);
  }
  if (packet.ip.length <= worker.unsecured.info.mtu) return Edge::kHost;
  const Fitting fitting = fit(worker, packet);
  const bool drops = fitting.fit == Fit::kTooBig;
  *mtu = drops ? fitting.mtu : fitting.told;
  return drops ? Edge::kTooBig : Edge::kCut;
}

// Makes a frame of the packet inside the mbuf.
void uncover(const Worker& worker, Packet& packet) {
  rte_mbuf& mbuf = *packet.mbuf;
  uint8_t* const frame = packet.inner - kEthernetLength;
  const uint32_t length = kEthernetLength + packet.ip.length;
  mbuf.data_off = static_cast<uint16_t>(frame - static_cast<uint8_t*>(mbuf.buf_addr));
  mbuf.pkt_len = length;
  mbuf.data_len = static_cast<uint16_t>(length);
  worker.unsecured.ethernet.write_source(frame, packet.ip.version == 6);
}

FragmentFault cut(Worker& worker, const Packet& packet, Fragments* fragments) {
  const uint16_t mtu = worker.unsecured.info.mtu;
  rte_mempool* const pool = worker.fragment_pool.get();
  if (packet.ip.version == 4) return fragment_ipv4(packet.mbuf, mtu, pool, fragments);
  TransportLayout front;
  if (read_transport_layout(packet.ip, packet.layer3(), &front) == TransportFault::kFragment) {
    return FragmentFault::kUnfragmentable;
  }
  return fragment_ipv6(packet.mbuf, mtu, {front.header_length, front.protocol_offset},
                       worker.identifications.next(), pool, fragments);
}

bool send_whole(Worker& worker, Packet& packet) {
  if (packet.reassembled && !leave_reassembly(worker, packet)) {
    worker.drop(packet, Drop::kIngressNoMemory);
    return false;
  }
  Delivery& delivery = worker.delivery;
  if (delivery.mbufs.full() || !is_same(delivery.host, packet.ip.destination)) {
    deliver_gathered(worker);
    delivery.host = packet.ip.destination;
  }
  delivery.mbufs.push_back(packet.mbuf);
  return true;
}

bool send_in_fragments(Worker& worker, Packet& packet) {
  Fragments fragments;
  const FragmentFault fault = cut(worker, packet, &fragments);
  if (fault != FragmentFault::kNone) {
    worker.drop(packet, fault == FragmentFault::kNoMemory ? Drop::kIngressNoMemory : Drop::kIngressTooBig);
    return false;
  }
  deliver_gathered(worker);
  rte_pktmbuf_free(packet.mbuf);
  worker.counters[Value::kPacketsFragmented].add();
  worker.counters[Value::kFragmentsMade].add(fragments.count);
  for (uint32_t i = 0; i < fragments.count; ++i) {
    worker.hosts.send(packet.ip.destination, fragments.mbufs[i], worker.now_ms);
  }
  return true;
}

}  // namespace

void deliver_gathered(Worker& worker) {
  Delivery& delivery = worker.delivery;
  if (!delivery.mbufs.empty()) {
    const auto count = static_cast<uint32_t>(delivery.mbufs.size());
    worker.hosts.send(delivery.host, delivery.mbufs.data(), count, worker.now_ms);
  }
  delivery.mbufs.clear();
}

bool deliver(Worker& worker, Packet& packet) {
  Drop reason{};
  uint16_t mtu = 0;
  const Edge edge = choose(worker, packet, &mtu);
  if (mtu != 0) send_too_big_to_peer(worker, packet, mtu);
  switch (edge) {
    case Edge::kHost:
      uncover(worker, packet);
      return send_whole(worker, packet);
    case Edge::kCut:
      uncover(worker, packet);
      return send_in_fragments(worker, packet);
    case Edge::kNeighbourDiscovery:
      reason = Drop::kIngressNeighbourDiscovery;
      break;
    case Edge::kTooBig:
      reason = Drop::kIngressTooBig;
      break;
    case Edge::kCongestion:
      reason = Drop::kIngressCongestion;
      break;
  }
  worker.drop(packet, reason);
  return false;
}

}  // namespace psp
