// SPDX-License-Identifier: Apache-2.0
// Copies opened packets that carry S, from the inner IP header on, before the ACL judges them: only what
// passed its ICV comes here, so nothing that a peer did not seal is ever copied (PSP knows no replay
// protection). With S, D asks that the packet end here; D alone means nothing. Hit: carried S; miss: did not.
#include "engine/software/pipes/pipes.h"
#include "engine/software/worker.h"

namespace psp {

namespace {

enum class Edge : uint8_t { kIngressAcl, kSampledDrop };

void copy_opened(Worker& worker, Packet& packet) {
  packet.ports = read_ports(packet.ip, packet.inner);
  SampleFacts facts;
  facts.flow = {packet.ip.source, packet.ip.destination};
  facts.peer = worker.receive_spis.flow_of(packet.receive_spi).peer;
  facts.spi = worker.receive_spis[packet.receive_spi].spi;
  facts.point = SamplePoint::kIngressOpened;
  worker.tell_sample(facts, packet, packet.inner, packet.ip.length);
}

Edge choose(Worker& worker, Packet& packet) {
  if (!packet.sampled) return Edge::kIngressAcl;
  worker.counters.hit(Pipe::kIngressSampling);
  copy_opened(worker, packet);
  return packet.marked_drop ? Edge::kSampledDrop : Edge::kIngressAcl;
}

}  // namespace

void ingress_sampling(Worker& worker, Burst& burst) {
  worker.counters.miss(Pipe::kIngressSampling, burst.count - worker.opening.sampled);
  if (worker.opening.sampled == 0) return;
  Packet* kept = burst.begin();
  for (Packet& packet : burst) {
    switch (choose(worker, packet)) {
      case Edge::kIngressAcl:
        kept = Burst::keep(kept, packet);
        break;
      case Edge::kSampledDrop:
        worker.drop(packet, Drop::kIngressSampledDrop);
        break;
    }
  }
  burst.end_at(kept);
}

}  // namespace psp
