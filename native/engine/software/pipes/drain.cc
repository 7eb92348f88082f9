// SPDX-License-Identifier: Apache-2.0
// Packets that were held re-enter once their key is there, oldest first and before any later one of their
// flow, as fast as the secured port takes them and two bursts in a turn. What they need (mode, path MTU) is
// known only now. Flows take turns: one whose next packet needs more places than the port has left keeps no
// other waiting.
#include <algorithm>

#include "engine/ip/oversize.h"
#include "engine/memory/inplace_vector.h"
#include "engine/software/pipes/pipes.h"
#include "engine/software/worker.h"

namespace psp {

namespace {

constexpr uint32_t kMaxDrainedFlows = 64;
// Packets of one turn. Two bursts: twice what can arrive meanwhile, so that the queues do get empty.
constexpr uint32_t kMaxDrained = 2 * kBurst;
// Sealing and the headers of a fragment add no more to each frame.
constexpr uint32_t kAddedAtMost = 256;
constexpr uint32_t kLeastRoom = 8;  // of a fragment

// Frames that a packet may become: none when it is a fragment that waits for others.
uint32_t frames_at_most(const Worker& worker, const Packet& packet, Mode mode, uint16_t mtu) {
  const bool joins = mode == Mode::kTransport && packet.ip.fragment;
  const uint32_t length = joins ? worker.egress_reassembly.completes(packet) : packet.ip.length;
  const uint32_t room = std::max<uint32_t>(room_beside(mtu, kAddedAtMost), kLeastRoom);
  if (length <= room) return length == 0 ? 0 : 1;
  // A port never has more; what is cut into more is dropped.
  return std::min(2 + length / room, TxQueue::kCapacity);
}

// Drains one flow as far as the port takes it, by so many packets at most.
void drain_flow(Worker& worker, uint32_t number, uint32_t& left) {
  EgressFlow& flow = worker.flows[number];
  Address hop;
  const bool has_hop = next_hop(worker, flow.outer_destination, &hop);
  const auto reach = has_hop ? worker.next_hops.reach(hop, worker.now_ms) : Neighbours::Reach::kUnreachable;
  if (reach == Neighbours::Reach::kAsked) return;
  if (reach == Neighbours::Reach::kUnreachable) {
    left -= worker.hold.drop(flow.held, Drop::kEgressNoNextHop, left);
    return;
  }
  const uint16_t mtu = path_mtu(worker, number);
  while (!flow.held.empty() && left > 0) {
    Packet packet;
    packet.mbuf = worker.hold.oldest(flow.held);
    packet.peer = flow.peer;
    // It was read when it came; the copy is of our own.
    read_ip(packet.layer3(), packet.layer3_length(), &packet.ip);
    if (worker.secured.tx.room() < frames_at_most(worker, packet, flow.mode, mtu)) return;
    worker.hold.pop(flow.held);
    --left;
    worker.counters[Value::kResubmitted].add();
    worker.counters.hit(Pipe::kEgressAcl);
    egress_keyed(worker, number, {&packet, 1});
    seal_gathered(worker);  // the port's room counts only what left
  }
}

}  // namespace

void drain(Worker& worker) {
  FlowTable& flows = worker.flows;
  TxQueue& tx = worker.secured.tx;
  const uint32_t count = std::min(flows.draining().count, kMaxDrainedFlows);
  if (count == 0) return;
  InplaceVector<uint32_t, kMaxDrainedFlows> drained;
  uint32_t packets = kMaxDrained;
  for (uint32_t left = count; left > 0 && !tx.full(); --left) {
    const uint32_t number = flows.draining().head;
    if (!flows[number].held.empty()) drain_flow(worker, number, packets);
    if (flows[number].held.empty()) {
      if (!flows[number].drained) flows.set_drained(number, tx.position());
      drained.push_back(number);
    } else if (packets == 0) {
      break;
    }
    flows.rotate_draining();
  }
  // At once, or what arrives in this turn would find the queue full.
  tx.flush();
  // Only now may other lcores send for these flows. Before the port has taken what was held, their packets
  // would overtake it.
  for (const uint32_t number : drained) {
    if (tx.has_passed(flows.drained_at(number))) flows.set_draining(number, false);
  }
}

}  // namespace psp
