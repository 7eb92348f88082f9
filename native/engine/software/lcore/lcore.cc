// SPDX-License-Identifier: Apache-2.0
// Construction, and what every lcore does alike when a link changes or a packet is sampled.
#include "engine/software/lcore/lcore.h"

#include <algorithm>
#include <utility>

namespace psp {

namespace {

constexpr uint32_t kControlFrames = 2048, kControlOctets = RTE_PKTMBUF_HEADROOM + 256;
constexpr uint32_t kFragmentFrames = 2048;

bool any_transport(const std::vector<PeerConfig>& peers) {
  return std::ranges::any_of(peers, [](const PeerConfig& peer) { return peer.mode == Mode::kTransport; });
}

// Whether an address of these lies in a peer's prefix.
bool any_of_peers(const Peers& peers, const std::vector<Prefix>& prefixes) {
  return std::ranges::any_of(
      prefixes, [&](const Prefix& prefix) { return peers.owner(prefix.address) < Peers::kLocal; });
}

}  // namespace

Shared::Shared(const EngineConfig& config, uint32_t longest_frame)
    : control_pool("control", kControlFrames, kControlOctets),
      fragment_pool("fragment", kFragmentFrames, RTE_PKTMBUF_HEADROOM + longest_frame + kIcvLength),
      peers(config.vips, config.peers),
      capture_limit(config.capture) {}

Lcore::Lcore(const Parts& parts, std::shared_ptr<Shared> all, uint32_t flow_records, uint32_t spi_records)
    : config(parts.config),
      aead(parts.aead),
      counters(parts.counters),
      samples(parts.samples),
      shared(std::move(all)),
      peers(shared->peers),
      unsecured(parts.unsecured, counters.unsecured),
      secured(parts.secured, counters.secured),
      unsecured_rules(peers, config.gateways, unsecured.info.mac),
      secured_rules(config.secured_address, config.secured_gateway, secured.info.mac),
      bypass(config.bypass),
      vips_on_wire(any_transport(config.peers) || !config.bypass.empty()),
      gateway_among_peers(any_of_peers(peers, config.gateways)),
      flows(flow_records, shared->ivs),
      egress_keys(aead, config.max_flows),
      sampling(parts.seed, config.sampling, config.peers),
      outer_header(outer_of(config)),
      egress_tally(counters.peers, &PeerCounters::count_egress),
      spis(spi_records),
      ingress_keys(aead, config.max_flows * 2),
      ingress_tally(counters.peers, &PeerCounters::count_ingress),
      capture(config.capture, config.sampling.snap_bytes, shared->capture_limit) {
  counters.peers = std::vector<PeerCounters>(config.peers.size());
  counters.bypass = std::vector<BypassCounters>(config.bypass.size());
}

void Lcore::report_sample(SampleFacts& facts, const Packet& packet, const uint8_t* octets, uint32_t length) {
  facts.at_ns = now_ns;
  facts.protocol = packet.ip.protocol;
  facts.source_port = packet.ports.source;
  facts.destination_port = packet.ports.destination;
  const bool taken = samples.push(facts, octets, length);
  counters[taken ? Value::kSamplesTaken : Value::kSamplesLost].add();
}

// What depends on the MTU by flow (EgressFlow::plain_length) is checked again where it is used.
void Lcore::use_link(bool is_secured, bool up, uint16_t mtu, const MacAddress& mac) {
  Side& side = is_secured ? secured : unsecured;
  side.tx.set_up(up);
  side.info.mtu = mtu;
  if (side.info.mac == mac) return;
  side.info.mac = mac;
  side.ethernet = EthernetAddress(mac);
  if (is_secured) {
    secured_rules.change_mac(mac);
  } else {
    unsecured_rules.change_mac(mac);
  }
}

Outer outer_of(const EngineConfig& config) {
  Outer outer;
  outer.source = config.secured_address.address;
  outer.hop_limit = config.outer.hop_limit;
  outer.dscp = config.outer.dscp;
  return outer;
}

}  // namespace psp
