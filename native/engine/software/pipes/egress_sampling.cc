// SPDX-License-Identifier: Apache-2.0
// Draws which packets are sampled before they are sealed, because S stands in the authenticated part of the
// PSP header. Copies are made only of what could be sealed, of each PSP packet one at each configured point:
// the inner packet right before the seal, its checksum complete, and the finished frame. Packets that were
// held or put together are drawn when they leave. One that must be cut is drawn once: cut before the seal,
// each of its fragments carries S and is copied as the packet that it is then, as at the other end; cut
// after it, the frame is copied whole. Hit: drawn; miss: passed by while packets towards its peer are
// sampled. While they are not, nothing is drawn or counted.
#include "engine/software/pipes/pipes.h"
#include "engine/software/worker.h"

namespace psp {

namespace {

SampleFacts facts_of(const Worker& worker, uint32_t number, SamplePoint point) {
  const EgressFlow& flow = worker.flows[number];
  SampleFacts facts;
  facts.flow = flow.key;
  facts.peer = flow.peer;
  facts.spi = flow.spi;
  facts.point = point;
  facts.rate_log2 = worker.draw.log2(flow.peer);
  return facts;
}

void draw(Worker& worker, uint16_t peer, Packet& packet) {
  packet.sampled = worker.draw.next(peer);
  if (packet.sampled) {
    worker.counters.hit(Pipe::kEgressSampling);
  } else {
    worker.counters.miss(Pipe::kEgressSampling);
  }
}

}  // namespace

void egress_sampling(Worker& worker, uint32_t flow, std::span<Packet> packets) {
  const uint16_t peer = worker.flows[flow].peer;
  if (worker.draw.on() && worker.draw.on(peer)) {
    for (Packet& packet : packets) draw(worker, peer, packet);
  }
  seal(worker, flow, packets);
}

void copy_plain(Worker& worker, uint32_t flow, const uint8_t* inner, Packet& packet) {
  packet.ports = read_ports(packet.ip, inner);
  if (!worker.config.sampling.plain) return;
  SampleFacts facts = facts_of(worker, flow, SamplePoint::kEgressPlain);
  worker.tell_sample(facts, packet, inner, packet.ip.length);
}

void copy_sealed(Worker& worker, uint32_t flow, const Address& hop, Packet& packet) {
  if (!worker.config.sampling.sealed) return;
  // The frame leaves with the address that the hop has by then; an unknown one is zero in the copy.
  const MacAddress destination = worker.next_hops.mac_of(hop, worker.now_ms);
  std::memcpy(packet.frame(), destination.data(), destination.size());
  SampleFacts facts = facts_of(worker, flow, SamplePoint::kEgressSealed);
  worker.tell_sample(facts, packet, packet.frame(), packet.mbuf->data_len);
}

}  // namespace psp
