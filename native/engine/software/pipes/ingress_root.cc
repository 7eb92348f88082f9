// SPDX-License-Identifier: Apache-2.0
// Frames for other hosts, of another VLAN and of other protocols than IP and ARP are dropped here. A tag of
// VLAN 0, which only gives a priority (IEEE 802.1Q), is removed; of IP packets the header is read and link
// padding is cut off.
#include "engine/neighbours/neighbour_frames.h"
#include "engine/software/pipes/edge.h"
#include "engine/software/pipes/entry.h"
#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

namespace {

// Of packets from hosts (egress) or from the wire (ingress).
template <Direction from>
struct EdgesOf {
  enum class Edge : uint8_t {
    kNext = kNextEdge,  // egress_root or ingress_decrypt
    kNeighbours,        // to receive_neighbours
    kMalformed = drops(from, Drop::kEgressMalformed, Drop::kIngressMalformed),
    kTruncated = drops(from, Drop::kEgressTruncated, Drop::kIngressTruncated),
    kTooBig = drops(from, Drop::kEgressTooBig, Drop::kIngressTooBig),
    kVlan = drops(from, Drop::kEgressVlan, Drop::kIngressVlan),
    kOtherHost = drops(from, Drop::kEgressOtherHost, Drop::kIngressOtherHost),
    kNotIp = drops(from, Drop::kEgressNotIp, Drop::kIngressNotPsp),
  };
};

constexpr int kTagsAtMost = 2;        // 802.1ad around 802.1Q
constexpr uint16_t kVlanId = 0x0fff;  // of a tag's control information

bool is_for(const uint8_t* frame, const EthernetAddress& ethernet) {
  return (frame[0] & 1) != 0 || ethernet.is_destination_of(frame);
}

bool is_tag(uint16_t type) {
  return type == kEtherTypeVlan || type == kEtherTypeServiceVlan;
}

// Removes tags of VLAN 0. False when the frame belongs to another VLAN, or carries more tags.
bool remove_tags(rte_mbuf* mbuf) {
  if (mbuf->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED && (mbuf->vlan_tci & kVlanId) != 0) return false;
  if (mbuf->ol_flags & RTE_MBUF_F_RX_QINQ_STRIPPED && (mbuf->vlan_tci_outer & kVlanId) != 0) return false;
  auto* frame = rte_pktmbuf_mtod(mbuf, uint8_t*);
  for (int taken = 0; is_tag(load_u16(frame + 12)); ++taken) {
    const bool whole = mbuf->data_len >= kEthernetLength + kVlanTag;
    if (!whole || taken == kTagsAtMost || (load_u16(frame + 14) & kVlanId) != 0) return false;
    std::memmove(frame + kVlanTag, frame, 12);
    rte_pktmbuf_adj(mbuf, kVlanTag);
    frame += kVlanTag;
  }
  return true;
}

// Octets that the IP header claims, which may be more than there are.
uint32_t claimed_length(const uint8_t* ip, uint32_t length) {
  if (length < 6) return 0;
  return ip[0] >> 4 == 4 ? load_u16(ip + 2) : 40u + load_u16(ip + 4);
}

template <typename Edge>
Edge read_layer3(const Side& side, uint16_t type, Packet& packet) {
  const uint8_t version = packet.layer3_length() > 0 ? packet.layer3()[0] >> 4 : 0;
  if (version != 0 && version != (type == kEtherTypeIpv4 ? 4 : 6)) return Edge::kMalformed;
  switch (read_ip(packet.layer3(), packet.layer3_length(), &packet.ip)) {
    case IpFault::kNone:
      break;
    case IpFault::kTruncated:
      // A GSO packet that the port cut off looks like this.
      return claimed_length(packet.layer3(), packet.layer3_length()) > side.info.mtu ? Edge::kTooBig
                                                                                     : Edge::kTruncated;
    case IpFault::kMalformed:
    case IpFault::kChecksum:
      return Edge::kMalformed;
  }
  if (packet.layer3_length() != packet.ip.length) {
    rte_pktmbuf_trim(packet.mbuf, static_cast<uint16_t>(packet.layer3_length() - packet.ip.length));
  }
  return Edge::kNext;
}

// Reads the kind of frame that nearly all are: in one segment, to our own address, without tags and padding,
// and IPv4 without options. False for all others, of which nothing was changed. All that it calls is inlined.
[[gnu::flatten]] bool read_plain(const Side& side, Packet& packet) {
  constexpr uint64_t kUnusual = RTE_MBUF_F_RX_LRO | RTE_MBUF_F_RX_VLAN_STRIPPED | RTE_MBUF_F_RX_QINQ_STRIPPED;
  const rte_mbuf& mbuf = *packet.mbuf;
  if (mbuf.nb_segs != 1 || (mbuf.ol_flags & kUnusual) != 0) return false;
  if (mbuf.data_len < kEthernetLength + kIpv4Header) return false;
  const uint8_t* const frame = packet.frame();
  if (!side.ethernet.is_destination_of(frame)) return false;
  if (load_u16(frame + 12) != kEtherTypeIpv4 || frame[kEthernetLength] != kPlainIpv4) return false;
  const uint32_t length = packet.layer3_length();
  return read_ipv4(packet.layer3(), length, kIpv4Header, &packet.ip) == IpFault::kNone &&
         packet.ip.length == length;
}

template <typename Edge>
Edge choose(const Side& side, Packet& packet) {
  if (packet.mbuf->nb_segs != 1 && rte_pktmbuf_linearize(packet.mbuf) != 0) return Edge::kTooBig;
  if (packet.mbuf->ol_flags & RTE_MBUF_F_RX_LRO)
    return Edge::kTooBig;  // a GSO packet that cannot be segmented
  if (packet.mbuf->data_len < kEthernetLength) return Edge::kTruncated;
  if (!is_for(packet.frame(), side.ethernet)) return Edge::kOtherHost;
  if (!remove_tags(packet.mbuf)) return Edge::kVlan;
  const uint16_t type = load_u16(packet.frame() + 12);
  if (type == kEtherTypeArp) return Edge::kNeighbours;
  if (type != kEtherTypeIpv4 && type != kEtherTypeIpv6) return Edge::kNotIp;
  const Edge read = read_layer3<Edge>(side, type, packet);
  if (read != Edge::kNext || packet.ip.protocol != kProtocolIcmpv6) return read;
  return is_neighbour_discovery(packet.ip, packet.layer3()) ? Edge::kNeighbours : Edge::kNext;
}

template <Direction from>
void ingress_root_of(Lcore& lcore, const Side& side, Burst& burst) {
  using Edge = typename EdgesOf<from>::Edge;
  burst.has_fragments = false;
  Packet* kept = burst.begin();
  for (Packet& packet : burst) {
    const Edge edge = read_plain(side, packet) ? Edge::kNext : choose<Edge>(side, packet);
    switch (edge) {
      [[likely]] case Edge::kNext : burst.has_fragments |= packet.ip.fragment;
      kept = Burst::keep(kept, packet);
      break;
      case Edge::kNeighbours:
        lcore.slow_path.add(packet);
        break;
      default:
        lcore.drop(Pipe::kIngressRoot, packet, reason_of(edge));
    }
  }
  lcore.counters.hit(Pipe::kIngressRoot, burst.end_at(kept));
}

}  // namespace

void ingress_root(Lcore& lcore, const Side& from, Burst& burst) {
  if (&from == &lcore.unsecured) return ingress_root_of<Direction::kEgress>(lcore, from, burst);
  ingress_root_of<Direction::kIngress>(lcore, from, burst);
}

}  // namespace psp
