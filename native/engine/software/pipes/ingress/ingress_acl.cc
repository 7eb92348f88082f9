// SPDX-License-Identifier: Apache-2.0
// Admits exactly what was offered: under this SPI, version and mode, which find_spis compared, this cookie,
// this inner source and this inner destination. So a peer cannot send one flow under the key of another.
// Where the configuration turns that off, packets that authenticate are admitted to any VIP of ours, and
// those that would not have been are counted. Packets that pass are what counts as seen.
#include "engine/software/pipes/edge.h"
#include "engine/software/pipes/ingress/ingress.h"

namespace psp {

namespace {

enum class Edge : uint8_t {
  kDecap = kNextEdge,
  kDecapUnchecked,  // not as offered, but the ACL is off
  kAclMiss = drops(Drop::kIngressAclMiss),
};

struct Offered {
  const FlowKey& flow;
  uint64_t cookie;
};

bool is_as_offered(const Offered& offered, const Packet& packet) {
  // Cookie 0 means that none was offered.
  const Header& header = packet.header;
  if (header.has_cookie != (offered.cookie != 0) || header.cookie != offered.cookie) return false;
  return is_same(packet.ip.source, offered.flow.source) &&
         is_same(packet.ip.destination, offered.flow.destination);
}

Edge choose(const Lcore& lcore, const Offered& offered, const Packet& packet) {
  if (is_as_offered(offered, packet)) return Edge::kDecap;
  const bool passes =
      !lcore.config.ingress_acl && lcore.topology->peers.owner(packet.ip.destination) == Peers::kLocal;
  return passes ? Edge::kDecapUnchecked : Edge::kAclMiss;
}

// Packets of one SPI passed.
void count(Lcore& lcore, uint32_t spi, uint16_t packets, uint64_t octets) {
  lcore.counters.hit(Pipe::kIngressAcl, packets);
  lcore.ingress_tally.add(lcore.spis.flow_of(spi).peer, packets, octets, lcore.now_ms);
  if (lcore.spis.count(spi, packets, octets, lcore.now_ms)) lcore.first_seen.push_back(spi);
}

}  // namespace

void ingress_acl(Lcore& lcore, Burst& burst) {
  Packet* kept = burst.begin();
  for (Packet* next = burst.begin(); next != burst.end();) {
    // Packets of one SPI in a row.
    const uint32_t spi = next->receive_spi;
    const Offered offered{lcore.spis.flow_of(spi).key, lcore.spis[spi].cookie};
    uint16_t passed = 0;
    uint64_t octets = 0;
    for (; next != burst.end() && next->receive_spi == spi; ++next) {
      const Edge edge = choose(lcore, offered, *next);
      if (is_drop(edge)) {
        lcore.drop(Pipe::kIngressAcl, *next, reason_of(edge));
        continue;
      }
      if (edge == Edge::kDecapUnchecked) lcore.counters[Value::kAclBypassed].add();
      ++passed;
      octets += next->ip.length;
      kept = Burst::keep(kept, *next);
    }
    if (passed != 0) count(lcore, spi, passed, octets);
  }
  burst.end_at(kept);
  lcore.ingress_tally.flush(lcore.now_ms);
}

}  // namespace psp
