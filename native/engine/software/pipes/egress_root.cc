// SPDX-License-Identifier: Apache-2.0
// Whose packet it is: the source must be a local VIP, the destination a peer's, both by longest prefix. An
// address that is nobody's costs a look-up and nothing else. Pings to a gateway address are answered. What
// the bypass names leaves in the clear before a peer is asked for, but never towards a VIP of our own.
// Link-local addresses are never carried, whatever the prefixes say: at the other end they would mean
// somebody else.
#include "engine/software/pipes/pipes.h"
#include "engine/software/worker.h"

namespace psp {

namespace {

enum class Edge : uint8_t {
  kEgressAcl,
  kBypass,
  kGateway,
  kMulticast,
  kNotLocalSource,
  kLocalDestination,
  kNoPeer
};

bool is_multicast(const Address& address) {
  if (!is_ipv4(address)) return address[0] == 0xff;
  return address[12] >= 224;  // the broadcast address too
}

// *rule: for kBypass.
Edge choose(const Worker& worker, Packet& packet, uint32_t* rule) {
  if ((packet.frame()[0] & 1) != 0 || is_multicast(packet.ip.destination)) return Edge::kMulticast;
  if (is_link_local(packet.ip.source)) return Edge::kNotLocalSource;
  if (worker.peers.owner(packet.ip.source) != Peers::kLocal) return Edge::kNotLocalSource;
  packet.peer = worker.peers.owner(packet.ip.destination);
  const bool may_be_gateway = packet.peer >= Peers::kLocal || worker.gateway_among_peers;
  if (may_be_gateway && worker.unsecured_rules.is_own(packet.ip.destination)) return Edge::kGateway;
  if (is_link_local(packet.ip.destination)) return Edge::kNoPeer;
  if (packet.peer == Peers::kLocal) return Edge::kLocalDestination;
  if (!worker.config.bypass.empty()) {
    if (const auto match = worker.bypass.matches_to_wire(packet.ip, packet.layer3())) {
      *rule = *match;
      return Edge::kBypass;
    }
  }
  if (packet.peer == Peers::kNobody) return Edge::kNoPeer;
  return Edge::kEgressAcl;
}

// A packet between the same addresses as the one before it that was kept takes the same edge. The bypass asks
// for more than addresses.
bool is_as_before(const Packet& before, const Packet& packet) {
  return is_same(before.ip.destination, packet.ip.destination) &&
         is_same(before.ip.source, packet.ip.source) && (packet.frame()[0] & 1) == 0;
}

}  // namespace

void egress_root(Worker& worker, Burst& burst) {
  const bool bypasses = !worker.config.bypass.empty();
  Packet* kept = burst.begin();
  for (Packet& packet : burst) {
    packet.as_before = kept != burst.begin() && !bypasses && is_as_before(kept[-1], packet);
    if (packet.as_before) {
      packet.peer = kept[-1].peer;
      kept = Burst::keep(kept, packet);
      continue;
    }
    uint32_t rule = 0;
    const Edge edge = choose(worker, packet, &rule);
    if (edge == Edge::kEgressAcl) {
      kept = Burst::keep(kept, packet);
      continue;
    }
    if (edge == Edge::kBypass) {
      worker.counters.hit(Pipe::kEgressRoot);
      egress_bypass(worker, rule, packet);
      continue;
    }
    if (edge == Edge::kGateway && answer_echo(worker, packet)) {
      worker.counters.hit(Pipe::kEgressRoot);
      continue;
    }
    worker.counters.miss(Pipe::kEgressRoot);
    switch (edge) {
      case Edge::kEgressAcl:
      case Edge::kBypass:
        break;
      case Edge::kMulticast:
        worker.drop(packet, Drop::kEgressMulticast);
        break;
      case Edge::kNotLocalSource:
        worker.drop(packet, Drop::kEgressNotLocalSource);
        break;
      case Edge::kGateway:
      case Edge::kLocalDestination:
        worker.drop(packet, Drop::kEgressLocalDestination);
        break;
      case Edge::kNoPeer:
        worker.drop(packet, Drop::kEgressNoPeer);
        break;
    }
  }
  worker.counters.hit(Pipe::kEgressRoot, burst.end_at(kept));
}

}  // namespace psp
