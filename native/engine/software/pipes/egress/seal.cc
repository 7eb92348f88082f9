// SPDX-License-Identifier: Apache-2.0
// Seals packets in their flow's mode, each under the next IV. Here is the common path: tunnel mode, and
// nothing to decide about the path, for packets of one flow in a row. All others take seal_oversize.cc, which
// also decides what becomes of packets that do not fit their path.
#include <span>

#include "engine/software/pipes/edge.h"
#include "engine/software/pipes/egress/egress.h"
#include "engine/software/pipes/egress/seal_oversize.h"
#include "engine/software/pipes/egress/seal_packet.h"
#include "engine/software/pipes/oversize_packets.h"

namespace psp {

namespace {

enum class Edge : uint8_t {
  kWire = kNextEdge,
  kSealOversize,
};

// Octets in front of a packet for the wire and after it, in its buffer.
bool has_room(const rte_mbuf* mbuf, size_t front) {
  return rte_pktmbuf_headroom(mbuf) >= front && rte_pktmbuf_tailroom(mbuf) >= kIcvLength;
}

// `longest`: the longest packet of the flow that takes the common path now.
Edge choose(const Packet& packet, uint32_t longest, uint16_t front) {
  if (packet.ip.length > longest || packet.sampled || packet.reassembled) return Edge::kSealOversize;
  return has_room(packet.mbuf, front) ? Edge::kWire : Edge::kSealOversize;
}

// Seals packets of one flow from the first on, as long as they take the common path. Returns how many.
size_t seal_plain(Lcore& lcore, std::span<Packet> packets) {
  const uint32_t index = packets.front().flow;
  EgressFlow& flow = lcore.flows[index];
  const auto front = static_cast<uint16_t>(tunnel_headroom(lcore.outer_header.ipv6(), flow.cookie != 0));
  // The port's MTU may be less than when the flow was prepared.
  const uint32_t longest =
      std::min<uint32_t>(flow.plain_length, length_within(lcore.secured.info.mtu, front + kIcvLength));
  if (packets.front().ip.length > longest) return 0;
  // The same for all of them.
  void* const key = expanded_key(lcore, index);
  const OuterHeader outer = lcore.outer_header.to(flow.outer_destination);
  const EthernetAddress ethernet = lcore.secured.ethernet;
  const AddressHash addresses{flow.entropy, flow.entropy_swapped};
  const Address& hop = flow.off_link ? *lcore.config.secured_gateway : flow.outer_destination;
  const bool completes_checksums = lcore.unsecured.info.completes_checksums;
  Header header = header_of(flow);
  header.next_header = tunnel_next_header(packets.front().ip);
  const SharedHeader shared(&header);
  Sealing& sealing = lcore.sealing;
  lcore.to_wire.begin_run(hop);

  size_t taken = 0;
  uint64_t octets = 0;
  for (; taken < packets.size(); ++taken) {
    Packet& packet = packets[taken];
    if (choose(packet, longest, front) != Edge::kWire) break;
    if (sealing.full()) seal_batch(lcore);
    uint8_t* const inner = packet.layer3();
    if (!completes_checksums && looks_partial(packet.ip, inner)) complete_checksum(lcore, packet);
    const uint64_t iv = lcore.flows.next_iv();
    const uint16_t source_port = udp_source(lcore.config.outer, addresses, packet.ip, inner);
    uint8_t* const udp = shared.lay_out(key, iv, source_port, inner, packet.ip.length, sealing.next_job());
    const size_t udp_length = static_cast<size_t>(inner - udp) + packet.ip.length + kIcvLength;
    uint8_t* const start = outer.write(packet.ip.traffic_class, udp_length, udp);
    ethernet.write_source(start - kEthernetLength, outer.ipv6());
    rte_mbuf& mbuf = *packet.mbuf;
    mbuf.data_off -= front;
    mbuf.data_len += front + kIcvLength;
    mbuf.pkt_len += front + kIcvLength;
    sealing.add();
    lcore.to_wire.append(&mbuf);
    octets += packet.ip.length;
  }
  sealing.octets += octets + taken * sealed_payload_octets(0, header.has_cookie);
  count_sealed(lcore, flow, taken, octets);
  return taken;
}

}  // namespace

void seal(Lcore& lcore, Burst& burst) {
  for (Packet* next = burst.begin(); next != burst.end();) {
    Packet* end = next + 1;
    while (end != burst.end() && end->flow == next->flow) ++end;
    while (next != end) {
      next += seal_plain(lcore, {next, end});
      if (next != end) seal_oversize(lcore, *next++);
    }
  }
  seal_batch(lcore);
  burst.count = 0;
}

}  // namespace psp
