// SPDX-License-Identifier: Apache-2.0
// The entry of both directions. Frames for others, of another VLAN and what is no IP end here; a tag of VLAN
// 0, which only gives a priority (IEEE 802.1Q), is taken off; ARP and neighbour discovery are heard and
// consumed; of IP packets the header is read and link padding is cut off.
#include "engine/neighbours/neighbour_frames.h"
#include "engine/software/pipes/pipes.h"
#include "engine/software/worker.h"
#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

namespace {

enum class Edge : uint8_t {
  kNext,  // egress_root or ingress_decrypt
  kConsumed,
  kMainLcore,
  kMalformed,
  kTruncated,
  kTooBig,
  kVlan,
  kOtherHost,
  kNotIp,
};

// The drop reasons of the edges from kMalformed on.
constexpr Drop kEgressDrops[] = {Drop::kEgressMalformed, Drop::kEgressTruncated, Drop::kEgressTooBig,
                                 Drop::kEgressVlan,      Drop::kEgressOtherHost, Drop::kEgressNotIp};
constexpr Drop kIngressDrops[] = {Drop::kIngressMalformed, Drop::kIngressTruncated, Drop::kIngressTooBig,
                                  Drop::kIngressVlan,      Drop::kIngressOtherHost, Drop::kIngressNotPsp};

constexpr int kTagsAtMost = 2;        // 802.1ad around 802.1Q
constexpr uint16_t kVlanId = 0x0fff;  // of a tag's control information

bool is_for(const uint8_t* frame, const EthernetAddress& ethernet) {
  return (frame[0] & 1) != 0 || ethernet.is_destination_of(frame);
}

bool is_tag(uint16_t type) {
  return type == kEtherTypeVlan || type == kEtherTypeServiceVlan;
}

// Takes tags of VLAN 0 off. False when the frame belongs to another VLAN, or carries more tags.
bool take_tags_off(rte_mbuf* mbuf) {
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

Edge read_layer3(const Worker::Side& side, uint16_t type, Packet& packet) {
  const uint8_t version = packet.layer3_length() > 0 ? packet.layer3()[0] >> 4 : 0;
  if (version != 0 && version != (type == kEtherTypeIpv4 ? 4 : 6)) return Edge::kMalformed;
  switch (read_ip(packet.layer3(), packet.layer3_length(), &packet.ip)) {
    case IpFault::kNone:
      break;
    case IpFault::kTruncated:
      // A super-frame that the port cut looks like this.
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

// What nearly every frame is: in one piece, to our own address, without tags and padding, and IPv4 without
// options. False where anything else must be asked; then nothing was done.
bool read_plain(const Worker::Side& side, Packet& packet) {
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

Edge hear(Worker& worker, Neighbours& neighbours, std::optional<NeighbourMessage> message,
          const Packet& packet) {
  if (worker.other) return Edge::kMainLcore;
  if (!message) return Edge::kMalformed;
  // A solicitation may leave its sender's MAC address to the frame.
  if (message->request && message->mac == MacAddress{}) {
    std::memcpy(message->mac.data(), packet.frame() + 6, 6);
  }
  message->unicast = (packet.frame()[0] & 1) == 0;
  neighbours.hear(*message, worker.now_ms);
  return Edge::kConsumed;
}

Edge choose(Worker& worker, const Worker::Side& side, Neighbours& neighbours, Packet& packet) {
  if (packet.mbuf->nb_segs != 1 && rte_pktmbuf_linearize(packet.mbuf) != 0) return Edge::kTooBig;
  if (packet.mbuf->ol_flags & RTE_MBUF_F_RX_LRO) return Edge::kTooBig;  // a super-frame that cannot be cut
  if (packet.mbuf->data_len < kEthernetLength) return Edge::kTruncated;
  if (!is_for(packet.frame(), side.ethernet)) return Edge::kOtherHost;
  if (!take_tags_off(packet.mbuf)) return Edge::kVlan;
  const uint16_t type = load_u16(packet.frame() + 12);
  if (type == kEtherTypeArp) {
    return hear(worker, neighbours, read_arp(packet.layer3(), packet.layer3_length()), packet);
  }
  if (type != kEtherTypeIpv4 && type != kEtherTypeIpv6) return Edge::kNotIp;
  const Edge read = read_layer3(side, type, packet);
  if (read != Edge::kNext || packet.ip.protocol != kProtocolIcmpv6) return read;
  if (!is_neighbour_discovery(packet.ip, packet.layer3())) return read;
  return hear(worker, neighbours, read_neighbour_discovery(packet.ip, packet.layer3()), packet);
}

}  // namespace

void ingress_root(Worker& worker, Direction direction, Burst& burst) {
  const bool egress = direction == Direction::kEgress;
  const Worker::Side& side = egress ? worker.unsecured : worker.secured;
  Neighbours& neighbours = egress ? worker.hosts : worker.next_hops;
  Packet* kept = burst.begin();
  for (Packet& packet : burst) {
    const Edge edge = read_plain(side, packet) ? Edge::kNext : choose(worker, side, neighbours, packet);
    switch (edge) {
      [[likely]] case Edge::kNext : kept = Burst::keep(kept, packet);
      break;
      case Edge::kConsumed:
        worker.counters.hit(Pipe::kIngressRoot);
        worker.counters[Value::kConsumed].add();
        rte_pktmbuf_free(packet.mbuf);
        break;
      case Edge::kMainLcore:
        worker.hand_off(direction, 0, packet);
        break;
      default: {
        const auto reason = static_cast<size_t>(edge) - static_cast<size_t>(Edge::kMalformed);
        worker.counters.miss(Pipe::kIngressRoot);
        worker.drop(packet, egress ? kEgressDrops[reason] : kIngressDrops[reason]);
      }
    }
  }
  worker.counters.hit(Pipe::kIngressRoot, burst.end_at(kept));
}

}  // namespace psp
