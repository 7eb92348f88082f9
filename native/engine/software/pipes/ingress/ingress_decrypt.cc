// SPDX-License-Identifier: Apache-2.0
// Accepts UDP/1000 to our own address and, in transport mode, to a VIP. Everything else ends here, before any
// AES, except what a bypass rule names and ICMP errors that prove themselves. The record of the SPI
// (find_spis) says how a packet is opened and where it may arrive; nothing in the packet does.
#include "engine/software/pipes/edge.h"
#include "engine/software/pipes/ingress/ingress.h"
#include "psp/encapsulation.h"
#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

namespace {

enum class Edge : uint8_t {
  kFindSpis = kNextEdge,
  kReceiveIcmp,
  kIngressBypass,
  kNotForUs = drops(Drop::kIngressNotForUs),
  kNotPsp = drops(Drop::kIngressNotPsp),
  // PSP packets.
  kMalformed = drops(Drop::kIngressMalformed),
  kUdpChecksum = drops(Drop::kIngressUdpChecksum),
  kHeaderTruncated = drops(Drop::kIngressHeaderTruncated),
  kHeaderMalformed = drops(Drop::kIngressHeaderMalformed),
  kHeaderCryptOffset = drops(Drop::kIngressHeaderCryptOffset),
  kUnknownVersion = drops(Drop::kIngressUnknownVersion),
};

bool is_psp(const Packet& packet) {
  if (packet.ip.protocol != kProtocolUdp) return false;
  if (packet.ip.length - packet.ip.payload_offset < kUdpHeaderLength) return false;
  return load_u16(packet.layer3() + packet.ip.payload_offset + 2) == kUdpPort;
}

bool is_icmp(const IpPacket& ip) {
  return ip.protocol == (ip.version == 4 ? kProtocolIcmp : kProtocolIcmpv6);
}

Edge read_psp(Packet& packet) {
  uint8_t* const udp = packet.layer3() + packet.ip.payload_offset;
  const size_t claimed = load_u16(udp + 4);
  if (claimed < kUdpHeaderLength || claimed > packet.ip.length - packet.ip.payload_offset) {
    return Edge::kMalformed;
  }
  const bool none = load_u16(udp + 6) == 0;
  const bool known_good = packet.mbuf->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_GOOD;
  if (!none && !known_good && !udp_checksum_ok(packet.ip, packet.layer3())) return Edge::kUdpChecksum;

  packet.psp = udp + kUdpHeaderLength;
  packet.psp_length = claimed - kUdpHeaderLength;
  switch (read_header(packet.psp, packet.psp_length, &packet.header)) {
    case HeaderFault::kNone:
      break;
    case HeaderFault::kTruncated:
      return Edge::kHeaderTruncated;
    case HeaderFault::kMalformed:
      return Edge::kHeaderMalformed;
    case HeaderFault::kCryptOffset:
      return Edge::kHeaderCryptOffset;
  }
  return is_known_version(packet.header.version) ? Edge::kFindSpis : Edge::kUnknownVersion;
}

Edge choose(const Lcore& lcore, Packet& packet) {
  if (!is_for_us(lcore, packet)) return Edge::kNotForUs;
  if (is_psp(packet)) return read_psp(packet);
  if (is_icmp(packet.ip)) return Edge::kReceiveIcmp;
  return passes_in_the_clear(lcore, packet) ? Edge::kIngressBypass : Edge::kNotPsp;
}

// Of the same SPI, and to be found and opened in the same way.
bool is_as_before(const Packet& before, const Packet& packet) {
  return packet.header.spi == before.header.spi && packet.header.version == before.header.version &&
         packet.to_us == before.to_us;
}

}  // namespace

bool is_for_us(const Lcore& lcore, Packet& packet) {
  packet.to_us = is_same(packet.ip.destination, lcore.config.secured_address.address);
  return packet.to_us || (lcore.topology->vips_on_wire &&
                          lcore.topology->peers.owner(packet.ip.destination) == Peers::kLocal);
}

// Nobody on the wire has an address of ours, and link-local addresses mean other hosts there.
bool passes_in_the_clear(const Lcore& lcore, Packet& packet) {
  if (packet.to_us || is_link_local(packet.ip.source)) return false;
  if (lcore.topology->peers.owner(packet.ip.source) == Peers::kLocal) return false;
  const auto rule = lcore.topology->bypass.matches_from_wire(packet.ip, packet.layer3());
  if (rule) packet.bypass_rule = *rule;
  return rule.has_value();
}

void ingress_decrypt(Lcore& lcore, Burst& burst) {
  Packet* kept = burst.begin();
  burst.firsts.clear();
  for (Packet& packet : burst) {
    const Edge edge = choose(lcore, packet);
    switch (edge) {
      [[likely]] case Edge::kFindSpis : packet.as_before =
          kept != burst.begin() && is_as_before(kept[-1], packet);
      if (!packet.as_before) burst.firsts.push_back(kept);
      kept = Burst::keep(kept, packet);
      break;
      case Edge::kReceiveIcmp:
        lcore.slow_path.add(packet);
        break;
      case Edge::kIngressBypass:
        lcore.counters.miss(Pipe::kIngressDecrypt);
        lcore.clear.add(packet);
        break;
      case Edge::kNotForUs:
      case Edge::kNotPsp:
        lcore.drop(Pipe::kIngressDecrypt, packet, reason_of(edge));
        break;
      default:
        lcore.counters.miss(Pipe::kIngressDecrypt);
        lcore.drop_psp(packet, reason_of(edge));
    }
  }
  burst.end_at(kept);
}

}  // namespace psp
