// SPDX-License-Identifier: Apache-2.0
// Opens packets with the same functions as ingress_decrypt and keeps what an offer needs.
#include "trace/offers.h"

#include <algorithm>

#include "pcap/link.h"
#include "psp/header.h"
#include "psp/octets.h"
#include "psp/protocols.h"
#include "psp/transport.h"
#include "psp/tunnel.h"

namespace psp {

namespace {

constexpr Reassembly::Drops kUncounted = {Drop::kIngressFragmentTimeout, Drop::kIngressFragmentOverlap,
                                          Drop::kIngressFragmentDuplicate, Drop::kIngressFragmentTableFull,
                                          Drop::kIngressFragmentMalformed};

// The UDP payload of an unfragmented packet to UDP port 1000; empty for other packets.
std::span<uint8_t> psp_of(const Packet& packet) {
  uint8_t* const udp = packet.layer3() + packet.ip.payload_offset;
  const size_t there = packet.ip.length - packet.ip.payload_offset;
  if (packet.ip.protocol != kProtocolUdp || there < kUdpHeaderLength || load_u16(udp + 2) != kUdpPort) {
    return {};
  }
  const size_t length = load_u16(udp + 4);
  if (length < kUdpHeaderLength || length > there) return {};
  return {udp + kUdpHeaderLength, length - kUdpHeaderLength};
}

}  // namespace

Offers::Offers(const EngineConfig& config, const Peers& peers,
               const std::vector<std::vector<uint8_t>>& versions, CaptureKeys& keys, MemoryPort& port)
    : config_(config),
      peers_(peers),
      versions_(versions),
      keys_(keys),
      port_(port),
      reassembly_(kUncounted, unused_) {}

std::optional<InnerDissection> Offers::scan(std::span<const uint8_t> frame, uint64_t now_ms) {
  const auto link = read_link(kEthernetLink, frame);
  if (!link || link->ip_version == 0) return std::nullopt;
  Packet packet;
  packet.mbuf = port_.packet_of(frame);
  if (packet.mbuf == nullptr) return std::nullopt;
  rte_pktmbuf_adj(packet.mbuf, static_cast<uint16_t>(link->length - kEthernetLength));
  Budget all = Budget::unlimited();
  reassembly_.tick(now_ms, all);
  const bool is_ip = read_ip(packet.layer3(), packet.layer3_length(), &packet.ip) == IpFault::kNone;
  if (is_ip && packet.ip.fragment && !reassembly_.add(packet, now_ms)) return std::nullopt;
  const auto inner = is_ip ? open(packet) : std::nullopt;
  rte_pktmbuf_free(packet.mbuf);
  return inner;
}

std::optional<InnerDissection> Offers::open(Packet& packet) {
  const std::span<uint8_t> psp = psp_of(packet);
  Header header;
  if (read_header(psp.data(), psp.size(), &header) != HeaderFault::kNone) return std::nullopt;
  if (!is_known_version(header.version) || is_reserved_spi(header.spi)) return std::nullopt;
  void* const key = keys_.expanded(header.spi, header.version);
  const IpPacket outer = packet.ip;
  const OpenFault fault =
      is_tunnel_end(outer.destination)
          ? open_tunnel(keys_.aead(), key, &header, psp.data(), psp.size(), &packet.inner, &packet.ip)
          : open_transport(keys_.aead(), key, &header, outer, packet.layer3(), psp.size(), &packet.inner,
                           &packet.ip);
  if (fault != OpenFault::kNone) return std::nullopt;
  const FlowKey flow{packet.ip.source, packet.ip.destination};
  opened_.emplace(header.spi, Opened{flow, header.cookie, header.version});
  return InnerDissection{packet.ip, read_ports(packet.ip, packet.inner)};
}

std::optional<Admission> Offers::offer_for(const Dissection& frame) {
  if (!frame.psp || is_reserved_spi(frame.psp->spi) || config_.peers.empty()) return std::nullopt;
  if (!offered_.insert(frame.psp->spi).second) return std::nullopt;
  const auto found = opened_.find(frame.psp->spi);
  if (found == opened_.end()) return placeholder(frame);
  const Opened& opened = found->second;
  const uint16_t peer = peers_.owner(opened.flow.source);
  const bool to_local = peers_.owner(opened.flow.destination) == Peers::kLocal;
  if (!to_local || peer >= config_.peers.size()) return placeholder(frame);
  if (std::ranges::find(versions_[peer], opened.version) == versions_[peer].end()) return std::nullopt;
  spis_with_flow_.insert(found->first);
  const PeerConfig& config = config_.peers[peer];
  return Admission{opened.flow, found->first, opened.version, config.cookie ? opened.cookie : 0,
                   peer,        config.mode};
}

bool Offers::is_tunnel_end(const Address& destination) const {
  return destination == config_.secured_address.address;
}

// An offer for a flow that no packet has.
Admission Offers::placeholder(const Dissection& frame) const {
  Admission entry{};
  entry.spi = frame.psp->spi;
  entry.version = frame.psp->version;
  store_u32(entry.inbound.source.data(), entry.spi);
  entry.mode = is_tunnel_end(frame.ip->destination) ? Mode::kTunnel : Mode::kTransport;
  return entry;
}

}  // namespace psp
