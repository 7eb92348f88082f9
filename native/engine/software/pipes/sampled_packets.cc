// SPDX-License-Identifier: Apache-2.0
// A sampled packet carries the flow that it was sealed or opened for, not what its headers claim.
#include "engine/software/pipes/sampled_packets.h"

namespace psp {

namespace {

SampleFacts facts_of(const Lcore& lcore, const Packet& packet, SamplePoint point) {
  const EgressFlow& flow = lcore.flows[packet.flow];
  SampleFacts facts;
  facts.flow = flow.key;
  facts.peer = flow.peer;
  facts.spi = flow.spi;
  facts.point = point;
  facts.rate_log2 = lcore.sampling.log2(flow.peer);
  return facts;
}

}  // namespace

void copy_plain(Lcore& lcore, const uint8_t* inner, Packet& packet) {
  packet.ports = read_ports(packet.ip, inner);
  if (!lcore.config.sampling.plain) return;
  SampleFacts facts = facts_of(lcore, packet, SamplePoint::kEgressPlain);
  lcore.report_sample(facts, packet, inner, packet.ip.length);
}

void copy_sealed(Lcore& lcore, const Address& hop, Packet& packet) {
  if (!lcore.config.sampling.sealed) return;
  // The frame leaves with the address that the hop has by then; an unknown one is zero in the copy.
  const MacAddress destination = lcore.next_hop_mac(hop);
  std::memcpy(packet.frame(), destination.data(), destination.size());
  SampleFacts facts = facts_of(lcore, packet, SamplePoint::kEgressSealed);
  lcore.report_sample(facts, packet, packet.frame(), packet.mbuf->data_len);
}

void copy_opened(Lcore& lcore, Packet& packet) {
  packet.ports = read_ports(packet.ip, packet.inner);
  SampleFacts facts;
  facts.flow = {packet.ip.source, packet.ip.destination};
  facts.peer = lcore.spis.flow_of(packet.receive_spi).peer;
  facts.spi = lcore.spis[packet.receive_spi].spi;
  facts.point = SamplePoint::kIngressOpened;
  lcore.report_sample(facts, packet, packet.inner, packet.ip.length);
}

}  // namespace psp
