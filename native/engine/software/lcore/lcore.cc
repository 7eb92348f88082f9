// SPDX-License-Identifier: Apache-2.0
// Construction, and what every lcore does alike when a link changes or a packet is sampled.
#include "engine/software/lcore/lcore.h"

#include <algorithm>
#include <utility>

namespace psp {

namespace {

constexpr uint32_t kControlFrames = 2048, kControlOctets = RTE_PKTMBUF_HEADROOM + 256;
constexpr uint32_t kFragmentFrames = 2048;

// Peers that there may be.
uint32_t peer_slots(const EngineConfig& config) {
  return std::max(config.max_peers, static_cast<uint32_t>(config.peers.size()));
}

}  // namespace

Shared::Shared(const EngineConfig& config, uint32_t longest_frame)
    : control_pool("control", kControlFrames, kControlOctets),
      fragment_pool("fragment", kFragmentFrames, RTE_PKTMBUF_HEADROOM + longest_frame + kIcvLength),
      topology(std::make_shared<Topology>(config.gateways, config.vips, config.peers, config.bypass)),
      capture_limit(config.capture) {}

Lcore::Lcore(const Parts& parts, std::shared_ptr<Shared> all, uint32_t flow_records, uint32_t spi_records)
    : config(parts.config),
      aead(parts.aead),
      counters(parts.counters),
      samples(parts.samples),
      shared(std::move(all)),
      topology(shared->topology.get()),
      unsecured(parts.unsecured, counters.unsecured),
      secured(parts.secured, counters.secured),
      unsecured_rules(topology->peers, config.gateways, unsecured.info.mac),
      secured_rules(config.secured_address, config.secured_gateway, secured.info.mac),
      flows(flow_records, shared->ivs),
      egress_keys(aead, config.max_flows),
      sampling(parts.seed, config.sampling, config.peers, peer_slots(config)),
      outer_header(outer_of(config)),
      egress_tally(counters.peers, &PeerCounters::count_egress),
      spis(spi_records),
      ingress_keys(aead, config.max_flows * 2),
      ingress_tally(counters.peers, &PeerCounters::count_ingress),
      capture(config.capture, config.sampling.snap_bytes, shared->capture_limit) {
  counters.peers = std::vector<PeerCounters>(peer_slots(config));
  counters.bypass = std::vector<BypassCounters>(kBypassRulesAtMost);
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

void Lcore::use_topology(const Topology& next) {
  topology = &next;
  unsecured_rules.use_peers(next.peers);
}

Outer outer_of(const EngineConfig& config) {
  Outer outer;
  outer.source = config.secured_address.address;
  outer.hop_limit = config.outer.hop_limit;
  outer.dscp = config.outer.dscp;
  return outer;
}

}  // namespace psp
