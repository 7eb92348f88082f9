// SPDX-License-Identifier: Apache-2.0
// Admits exactly what was offered: under this SPI, version and mode, which ingress_decrypt compared, this
// cookie, this inner source and this inner destination. A peer thus cannot send one flow under the key of
// another. Where the configuration turns that off, whatever is authentic passes to any VIP of ours, and what
// would not have is counted. The first packet of an SPI is told upwards; packets that pass are what counts as
// seen.
#include "engine/software/pipes.h"
#include "engine/software/worker.h"

namespace psp {

namespace {

enum class Edge : uint8_t { kDeliver, kDeliverAll, kAclMiss };

bool is_as_offered(const Worker& worker, const Packet& packet) {
  const ReceiveSpi& spi = worker.receive_spis[packet.receive_spi];
  const FlowKey& offered = worker.receive_spis.flow_of(packet.receive_spi).key;
  // Cookie 0 means that none was offered.
  if (packet.has_cookie != (spi.cookie != 0) || packet.cookie != spi.cookie) return false;
  return FlowKey{packet.ip.source, packet.ip.destination} == offered;
}

Edge choose(const Worker& worker, const Packet& packet) {
  if (is_as_offered(worker, packet)) return Edge::kDeliver;
  const bool passes =
      !worker.config.ingress_acl && worker.peers.owner(packet.ip.destination) == Peers::kLocal;
  return passes ? Edge::kDeliverAll : Edge::kAclMiss;
}

void note_seen(Worker& worker, const Packet& packet) {
  const uint32_t number = packet.receive_spi;
  const uint16_t peer = worker.receive_spis.flow_of(number).peer;
  worker.counters.peers[peer].count_ingress(packet.ip.length, worker.now_ms);
  if (!worker.receive_spis.seen(number, packet.ip.length, worker.now_ms)) return;
  const SeenEvent event{worker.receive_spis.flow_of(number).key, worker.receive_spis[number].spi};
  // What a full ring does not take is told with the SPI's next packet.
  if (worker.tell(event)) worker.receive_spis.told(number);
}

}  // namespace

void ingress_acl(Worker& worker, Burst& burst) {
  for (uint16_t i = 0; i < burst.count; ++i) {
    Packet& packet = burst.packets[i];
    switch (choose(worker, packet)) {
      case Edge::kDeliverAll:
        worker.counters[Value::kAclBypassed].add();
        [[fallthrough]];
      case Edge::kDeliver:
        worker.counters.hit(Pipe::kIngressAcl);
        note_seen(worker, packet);
        deliver(worker, packet);
        break;
      case Edge::kAclMiss:
        worker.counters.miss(Pipe::kIngressAcl);
        worker.drop(packet, Drop::kIngressAclMiss);
        break;
    }
  }
  burst.count = 0;
}

}  // namespace psp
