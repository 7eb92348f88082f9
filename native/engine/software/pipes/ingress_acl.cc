// SPDX-License-Identifier: Apache-2.0
// Admits exactly what was offered: under this SPI, version and mode, which ingress_decrypt compared, this
// cookie, this inner source and this inner destination. A peer thus cannot send one flow under the key of
// another. Where the configuration turns that off, whatever is authentic passes to any VIP of ours, and what
// would not have is counted. The first packet of an SPI is told upwards; packets that pass are what counts as
// seen.
#include "engine/software/pipes/pipes.h"
#include "engine/software/worker.h"

namespace psp {

namespace {

enum class Edge : uint8_t { kDeliver, kDeliverAll, kAclMiss };

struct Offered {
  const FlowKey& flow;
  uint64_t cookie;
};

bool is_as_offered(const Offered& offered, const Packet& packet) {
  // Cookie 0 means that none was offered.
  if (packet.has_cookie != (offered.cookie != 0) || packet.cookie != offered.cookie) return false;
  return is_same(packet.ip.source, offered.flow.source) &&
         is_same(packet.ip.destination, offered.flow.destination);
}

Edge choose(const Worker& worker, const Offered& offered, const Packet& packet) {
  if (is_as_offered(offered, packet)) return Edge::kDeliver;
  const bool passes =
      !worker.config.ingress_acl && worker.peers.owner(packet.ip.destination) == Peers::kLocal;
  return passes ? Edge::kDeliverAll : Edge::kAclMiss;
}

// Packets of one SPI passed.
void note_seen(Worker& worker, uint32_t number, uint16_t packets, uint64_t octets) {
  worker.counters.hit(Pipe::kIngressAcl, packets);
  worker.ingress_tally.add(worker.receive_spis.flow_of(number).peer, packets, octets, worker.now_ms);
  if (!worker.receive_spis.seen(number, packets, octets, worker.now_ms)) return;
  const SeenEvent event{worker.receive_spis.flow_of(number).key, worker.receive_spis[number].spi};
  // What a full ring does not take is told with the SPI's next packet.
  if (worker.tell(event)) worker.receive_spis.told(number);
}

// Packets of one SPI in a row, from `first` to before the one that is returned.
Packet* judge(Worker& worker, Packet* first, const Packet* end) {
  const uint32_t number = first->receive_spi;
  const Offered offered{worker.receive_spis.flow_of(number).key, worker.receive_spis[number].cookie};
  Packet* at = first;
  uint16_t passed = 0;
  uint64_t octets = 0;
  for (; at != end && at->receive_spi == number; ++at) {
    Packet& packet = *at;
    switch (choose(worker, offered, packet)) {
      case Edge::kDeliverAll:
        worker.counters[Value::kAclBypassed].add();
        [[fallthrough]];
      case Edge::kDeliver:
        ++passed;
        octets += packet.ip.length;
        deliver(worker, packet);
        break;
      case Edge::kAclMiss:
        worker.counters.miss(Pipe::kIngressAcl);
        worker.drop(packet, Drop::kIngressAclMiss);
        break;
    }
  }
  if (passed != 0) note_seen(worker, number, passed, octets);
  return at;
}

}  // namespace

void ingress_acl(Worker& worker, Burst& burst) {
  for (Packet* next = burst.begin(); next != burst.end();) next = judge(worker, next, burst.end());
  deliver_gathered(worker);
  worker.ingress_tally.flush(worker.now_ms);
  if (worker.other) worker.other->spis.tell();
  burst.count = 0;
}

}  // namespace psp
