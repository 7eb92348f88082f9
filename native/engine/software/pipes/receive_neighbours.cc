// SPDX-License-Identifier: Apache-2.0
// ARP and neighbour discovery of both sides, which the table of the side's neighbours learns from and
// answers.
#include "engine/neighbours/neighbour_frames.h"
#include "engine/software/pipes/edge.h"
#include "engine/software/pipes/entry.h"
#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

namespace {

// Of messages from hosts (egress) or from the wire (ingress).
template <Direction from>
struct EdgesOf {
  enum class Edge : uint8_t {
    kConsumed = kNextEdge,
    kMalformed = drops(from, Drop::kEgressMalformed, Drop::kIngressMalformed),
  };
};

std::optional<NeighbourMessage> read(const Packet& packet) {
  if (load_u16(packet.frame() + 12) == kEtherTypeArp)
    return read_arp(packet.layer3(), packet.layer3_length());
  return read_neighbour_discovery(packet.ip, packet.layer3());
}

template <typename Edge>
Edge choose(MainLcore& lcore, Neighbours& neighbours, const Packet& packet) {
  std::optional<NeighbourMessage> message = read(packet);
  if (!message) return Edge::kMalformed;
  // A solicitation may leave its sender's MAC address to the frame.
  if (message->request && message->mac == MacAddress{}) {
    std::memcpy(message->mac.data(), packet.frame() + 6, 6);
  }
  message->unicast = (packet.frame()[0] & 1) == 0;
  neighbours.receive(*message, lcore.now_ms);
  return Edge::kConsumed;
}

template <Direction from>
void receive(MainLcore& lcore, Neighbours& neighbours, Burst& messages) {
  using Edge = typename EdgesOf<from>::Edge;
  for (const Packet& packet : messages) {
    const Edge edge = choose<Edge>(lcore, neighbours, packet);
    if (is_drop(edge)) {
      lcore.drop(Pipe::kIngressRoot, packet, reason_of(edge));
      continue;
    }
    lcore.counters.hit(Pipe::kIngressRoot);
    lcore.consume(packet);
  }
  messages.count = 0;
}

}  // namespace

void receive_neighbours(MainLcore& lcore, const Side& from, Burst& messages) {
  if (&from == &lcore.unsecured) return receive<Direction::kEgress>(lcore, lcore.hosts, messages);
  receive<Direction::kIngress>(lcore, lcore.next_hops, messages);
}

}  // namespace psp
