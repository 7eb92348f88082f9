// SPDX-License-Identifier: Apache-2.0
// Finds the peer. The source must be a local VIP, the destination a peer's, both by longest prefix; any other
// address costs a look-up and nothing else. What the bypass names leaves in the clear before a peer is looked
// for, but never towards a VIP of our own. Link-local addresses are never carried, whatever the prefixes say:
// at the other end they would mean another host.
#include "engine/software/pipes/edge.h"
#include "engine/software/pipes/egress/egress.h"

namespace psp {

namespace {

enum class Edge : uint8_t {
  kEgressAcl = kNextEdge,
  kEgressBypass,
  kAnswerEcho,
  kMulticast = drops(Drop::kEgressMulticast),
  kNotLocalSource = drops(Drop::kEgressNotLocalSource),
  kLocalDestination = drops(Drop::kEgressLocalDestination),
  kNoPeer = drops(Drop::kEgressNoPeer),
};

bool is_multicast(const Address& address) {
  if (!is_ipv4(address)) return address[0] == 0xff;
  return address[12] >= 224;  // the broadcast address too
}

Edge choose(const Lcore& lcore, Packet& packet) {
  if ((packet.frame()[0] & 1) != 0 || is_multicast(packet.ip.destination)) return Edge::kMulticast;
  if (is_link_local(packet.ip.source)) return Edge::kNotLocalSource;
  if (lcore.topology->peers.owner(packet.ip.source) != Peers::kLocal) return Edge::kNotLocalSource;
  packet.peer = lcore.topology->peers.owner(packet.ip.destination);
  const bool may_be_gateway = packet.peer >= Peers::kLocal || lcore.topology->gateway_among_peers;
  if (may_be_gateway && lcore.unsecured_rules.is_own(packet.ip.destination)) return Edge::kAnswerEcho;
  if (is_link_local(packet.ip.destination)) return Edge::kNoPeer;
  if (packet.peer == Peers::kLocal) return Edge::kLocalDestination;
  if (!lcore.topology->bypass.empty()) {
    if (const auto rule = lcore.topology->bypass.matches_to_wire(packet.ip, packet.layer3())) {
      packet.bypass_rule = *rule;
      return Edge::kEgressBypass;
    }
  }
  if (packet.peer == Peers::kNobody) return Edge::kNoPeer;
  return Edge::kEgressAcl;
}

// A packet between the same addresses as the one before it that was kept leaves by the same edge. A bypass
// rule matches more than addresses.
bool is_as_before(const Packet& before, const Packet& packet) {
  return is_same(before.ip.destination, packet.ip.destination) &&
         is_same(before.ip.source, packet.ip.source) && (packet.frame()[0] & 1) == 0;
}

}  // namespace

void egress_root(Lcore& lcore, Burst& burst) {
  const bool bypasses = !lcore.topology->bypass.empty();
  Packet* kept = burst.begin();
  burst.firsts.clear();
  for (Packet& packet : burst) {
    packet.as_before = kept != burst.begin() && !bypasses && is_as_before(kept[-1], packet);
    if (packet.as_before) {
      packet.peer = kept[-1].peer;
      kept = Burst::keep(kept, packet);
      continue;
    }
    const Edge edge = choose(lcore, packet);
    switch (edge) {
      case Edge::kEgressAcl:
        burst.firsts.push_back(kept);
        kept = Burst::keep(kept, packet);
        break;
      case Edge::kEgressBypass:
        lcore.counters.hit(Pipe::kEgressRoot);
        lcore.clear.add(packet);
        break;
      case Edge::kAnswerEcho:
        lcore.to_gateway.add(packet);
        break;
      default:
        lcore.drop(Pipe::kEgressRoot, packet, reason_of(edge));
    }
  }
  lcore.counters.hit(Pipe::kEgressRoot, burst.end_at(kept));
}

}  // namespace psp
