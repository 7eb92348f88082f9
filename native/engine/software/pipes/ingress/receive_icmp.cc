// SPDX-License-Identifier: Apache-2.0
// ICMP from the wire. The only message that a gateway accepts outside PSP reports that a packet of ours is
// too long for its next link (RFC 1191, RFC 8201). Anybody can write such a message, so it must quote what
// only a node on the path, or its sender, knows: outer addresses, UDP to port 1000, and the SPI of a live key
// towards that destination. The rest of a quote is not believed, and may be missing.
#include <algorithm>
#include <optional>

#include "engine/software/pipes/edge.h"
#include "engine/software/pipes/egress/path.h"
#include "engine/software/pipes/ingress/ingress.h"
#include "psp/encapsulation.h"
#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

namespace {

enum class Edge : uint8_t {
  kLearned = kNextEdge,  // the path MTU was lowered: consumed
  kIngressBypass,
  kMalformed = drops(Drop::kIngressMalformed),
  kIcmp = drops(Drop::kIngressIcmp),  // any other message
  // Too big, but it quotes no packet of a live flow of ours, or the MTU is not below what is known.
  kUnproven = drops(Drop::kIngressIcmpUnproven),
};

constexpr uint32_t kSpiOffset = 4;  // in the PSP header

// The front of a packet, which may end anywhere.
struct Quote {
  const uint8_t* octets;
  uint32_t length;
};

struct Quoted {
  Address source{}, destination{};
  uint32_t spi = 0;
};

// The offset of UDP in the quoted IPv4 packet.
std::optional<uint32_t> find_udp_ipv4(const Quote& quote, Quoted* quoted) {
  if (quote.length < kIpv4Header || quote.octets[0] >> 4 != 4) return std::nullopt;
  const uint32_t header = (quote.octets[0] & 0x0f) * 4u;
  const bool later_fragment = load_u16(quote.octets + 6) & kFragmentOffset;
  if (header < kIpv4Header || later_fragment || quote.octets[9] != kProtocolUdp) return std::nullopt;
  quoted->source = mapped(quote.octets + 12);
  quoted->destination = mapped(quote.octets + 16);
  return header;
}

// The same for IPv6, after the extension headers that may precede UDP.
std::optional<uint32_t> find_udp_ipv6(const Quote& quote, Quoted* quoted) {
  if (quote.length < kIpv6Header || quote.octets[0] >> 4 != 6) return std::nullopt;
  std::copy_n(quote.octets + 8, 16, quoted->source.begin());
  std::copy_n(quote.octets + 24, 16, quoted->destination.begin());
  uint8_t protocol = quote.octets[6];
  uint32_t at = kIpv6Header;
  for (int walked = 0; protocol != kProtocolUdp; ++walked) {
    const bool fragment = protocol == kProtocolFragment;
    if (!fragment && protocol != kProtocolHopByHop && protocol != kProtocolRouting &&
        protocol != kProtocolDestinationOptions) {
      return std::nullopt;
    }
    if (walked == kExtensionsAtMost || at + 8 > quote.length) return std::nullopt;
    const bool later_fragment = fragment && load_u16(quote.octets + at + 2) >> 3 != 0;
    if (later_fragment) return std::nullopt;
    protocol = quote.octets[at];
    at += fragment ? 8 : (quote.octets[at + 1] + 1u) * 8;
  }
  return at;
}

bool read_quote(const Quote& quote, bool ipv6, Quoted* quoted) {
  const auto udp = ipv6 ? find_udp_ipv6(quote, quoted) : find_udp_ipv4(quote, quoted);
  if (!udp || *udp + kUdpHeaderLength + kSpiOffset + 4 > quote.length) return false;
  if (load_u16(quote.octets + *udp + 2) != kUdpPort) return false;
  quoted->spi = load_u32(quote.octets + *udp + kUdpHeaderLength + kSpiOffset);
  return true;
}

// The MTU that the message reports; nothing when it reports something else.
std::optional<uint16_t> reported_mtu(const IpPacket& ip, const uint8_t* icmp) {
  if (ip.version == 4) {
    if (icmp[0] != kIcmpUnreachable || icmp[1] != kFragmentationNeeded) return std::nullopt;
    return load_u16(icmp + 6);
  }
  if (icmp[0] != kIcmpv6TooBig) return std::nullopt;
  return static_cast<uint16_t>(std::min<uint32_t>(load_u32(icmp + 4), UINT16_MAX));
}

bool checksum_holds(const IpPacket& ip, const uint8_t* icmp, uint32_t length) {
  const uint32_t pseudo = ip.version == 6 ? pseudo_header_sum(ip, length) : 0;
  return checksum_fold(checksum_add(icmp, length, pseudo)) == 0;
}

Edge read(MainLcore& lcore, const Packet& packet) {
  const uint8_t* icmp = packet.layer3() + packet.ip.payload_offset;
  const uint32_t length = packet.ip.length - packet.ip.payload_offset;
  if (length < kIcmpHeader || !checksum_holds(packet.ip, icmp, length)) return Edge::kMalformed;
  const auto mtu = reported_mtu(packet.ip, icmp);
  if (!mtu) return Edge::kIcmp;
  Quoted quoted;
  if (!read_quote({icmp + kIcmpHeader, length - kIcmpHeader}, packet.ip.version == 6, &quoted)) {
    return Edge::kUnproven;
  }
  // An error goes to the source of the packet that it is about.
  if (quoted.source != packet.ip.destination) return Edge::kUnproven;
  const bool learned = learn_path_mtu(lcore, quoted.source, quoted.destination, quoted.spi, *mtu);
  return learned ? Edge::kLearned : Edge::kUnproven;
}

Edge choose(MainLcore& lcore, Packet& packet) {
  const Edge edge = read(lcore, packet);
  const bool other = edge == Edge::kIcmp || edge == Edge::kUnproven;
  return other && passes_in_the_clear(lcore, packet) ? Edge::kIngressBypass : edge;
}

}  // namespace

void receive_icmp(MainLcore& lcore, Burst& icmp) {
  for (Packet& packet : icmp) {
    const Edge edge = choose(lcore, packet);
    lcore.counters.miss(Pipe::kIngressDecrypt);
    switch (edge) {
      case Edge::kLearned:
        lcore.counters[Value::kTooBigLearned].add();
        lcore.consume(packet);
        break;
      case Edge::kIngressBypass:
        lcore.clear.add(packet);
        break;
      default:
        lcore.drop(packet, reason_of(edge));
    }
  }
  icmp.count = 0;
}

}  // namespace psp
