// SPDX-License-Identifier: Apache-2.0
// egress_acl on an lcore that is not the first: flows with a key are sealed by the copy of their record. What
// has none, what must wait, and what would overtake a packet that the first lcore still has goes to that one
// as it came.
#include "engine/software/pipes/pipes.h"
#include "engine/software/worker.h"
#include "engine/software/worker_lcore.h"

namespace psp {

namespace {

// The place of the flow's copy, or 0: the packet is the first lcore's.
uint32_t find(Worker& worker, const Packet& packet, uint32_t hash) {
  WorkerState& other = *worker.other;
  if (other.lanes.is_behind(Handoff::kFromHosts, hash)) return 0;
  bool renewed = false;
  const uint32_t place = other.flows.find({packet.ip.source, packet.ip.destination}, hash, &renewed);
  if (renewed) prepare(worker, place);
  const bool joins = place != 0 && packet.ip.fragment && worker.flows[place].mode == Mode::kTransport;
  return joins ? 0 : place;
}

}  // namespace

void egress_copied(Worker& worker, Burst& burst) {
  WorkerState& other = *worker.other;
  std::array<uint32_t, kBurst> hashes;
  for (uint16_t i = 0; i < burst.count; ++i) {
    const IpPacket& ip = burst.packets[i].ip;
    hashes[i] = burst.packets[i].as_before ? hashes[i - 1] : worker.flows.hash({ip.source, ip.destination});
    if (!burst.packets[i].as_before) other.flows.prefetch(hashes[i]);
  }
  std::array<uint32_t, kBurst> likely;
  for (uint16_t i = 0; i < burst.count; ++i) {
    likely[i] = burst.packets[i].as_before ? 0 : other.flows.prefetch_copy(hashes[i]);
  }
  for (uint16_t i = 0; i < burst.count; ++i) {
    if (likely[i] != 0) other.flows.prefetch_rest(likely[i], burst.packets[i].ip.length);
  }
  uint16_t keyed = 0;
  for (uint16_t i = 0, next; i < burst.count; i = next) {
    Packet& packet = burst.packets[i];
    const uint32_t place = find(worker, packet, hashes[i]);
    next = i + 1;
    if (place == 0) {
      worker.counters.unhit(Pipe::kIngressRoot);
      worker.counters.unhit(Pipe::kEgressRoot);
      worker.hand_off(Direction::kEgress, hashes[i], packet);
      continue;
    }
    // Packets of one flow in a row go on together; a fragment is looked at by itself.
    const auto joins = [&](const Packet& one) {
      return one.ip.fragment && worker.flows[place].mode == Mode::kTransport;
    };
    while (next < burst.count && burst.packets[next].as_before && !joins(burst.packets[next])) ++next;
    keyed += next - i;
    egress_keyed(worker, place, {&packet, static_cast<size_t>(next - i)});
  }
  seal_gathered(worker);
  other.flows.tell();
  worker.counters.hit(Pipe::kEgressAcl, keyed);
  burst.count = 0;
}

}  // namespace psp
