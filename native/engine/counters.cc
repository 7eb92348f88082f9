// SPDX-License-Identifier: Apache-2.0
// Converts the counters into the rows that the engine reports.
#include "engine/counters.h"

#include <algorithm>

namespace psp {

EngineCounts Counters::read() const {
  EngineCounts counts;
  counts.pipes.reserve(kPipeCount);
  for (size_t i = 0; i < kPipeCount; ++i) {
    counts.pipes.push_back({kPipes[i].name, pipes[i].hit.value(), pipes[i].miss.value()});
  }
  counts.drops.reserve(kDropReasonCount);
  for (size_t i = 0; i < kDropReasonCount; ++i) {
    counts.drops.push_back(
        {kDropReasons[i].name, direction_name(kDropReasons[i].direction), drops[i].value()});
  }
  counts.values.reserve(kValues.size());
  for (size_t i = 0; i < kValues.size(); ++i) counts.values.push_back({kValues[i].name, values[i].value()});
  counts.unsecured = unsecured.read();
  counts.secured = secured.read();
  counts.peers.reserve(peers.size());
  for (const PeerCounters& peer : peers) counts.peers.push_back(peer.read());
  counts.bypass.reserve(bypass.size());
  for (const BypassCounters& rule : bypass) {
    counts.bypass.push_back({rule.egress_packets.value(), rule.ingress_packets.value()});
  }
  counts.lcores.push_back({counts.unsecured.rx_packets + counts.secured.rx_packets,
                           counts.unsecured.tx_packets + counts.secured.tx_packets});
  return counts;
}

void EngineCounts::add(const EngineCounts& other) {
  const auto add_port = [](PortCount& to, const PortCount& from) {
    to.rx_packets += from.rx_packets, to.rx_bytes += from.rx_bytes;
    to.tx_packets += from.tx_packets, to.tx_bytes += from.tx_bytes;
  };
  for (size_t i = 0; i < pipes.size(); ++i) {
    pipes[i].hit += other.pipes[i].hit;
    pipes[i].miss += other.pipes[i].miss;
  }
  for (size_t i = 0; i < drops.size(); ++i) drops[i].packets += other.drops[i].packets;
  add_port(unsecured, other.unsecured);
  add_port(secured, other.secured);
  for (size_t i = 0; i < peers.size(); ++i) {
    PeerCount& to = peers[i];
    const PeerCount& from = other.peers[i];
    to.egress_packets += from.egress_packets, to.egress_bytes += from.egress_bytes;
    to.ingress_packets += from.ingress_packets, to.ingress_bytes += from.ingress_bytes;
    to.last_egress_ms = std::max(to.last_egress_ms, from.last_egress_ms);
    to.last_ingress_ms = std::max(to.last_ingress_ms, from.last_ingress_ms);
    to.keyed_flows += from.keyed_flows, to.inbound_flows += from.inbound_flows;
  }
  for (size_t i = 0; i < bypass.size(); ++i) {
    bypass[i].egress_packets += other.bypass[i].egress_packets;
    bypass[i].ingress_packets += other.bypass[i].ingress_packets;
  }
  for (size_t i = 0; i < values.size(); ++i) values[i].value += other.values[i].value;
  lcores.insert(lcores.end(), other.lcores.begin(), other.lcores.end());
}

}  // namespace psp
