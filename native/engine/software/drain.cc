// SPDX-License-Identifier: Apache-2.0
// Packets that were held re-enter once their key is there, oldest first and before any later one of their
// flow, as fast as the secured port takes them. What they need (mode, path MTU) is known only now.
#include "engine/fit.h"
#include "engine/software/pipes.h"
#include "engine/software/worker.h"

namespace psp {

namespace {

constexpr uint32_t kMaxDrainedFlows = 64;
// Sealing and the headers of a fragment add no more to each frame.
constexpr uint32_t kAddedAtMost = 160;

// Frames that a packet may become. A fragment may complete a long packet.
uint32_t frames_at_most(const Packet& packet, Mode mode, uint16_t mtu) {
  if (mode == Mode::kTransport && packet.ip.fragment) return kFragmentsAtMost;
  const uint32_t room = mtu - kAddedAtMost;
  return packet.ip.length <= room ? 1 : 2 + packet.ip.length / room;
}

// Drains one flow as far as the port takes it. False when the port is full.
bool drain_flow(Worker& worker, uint32_t number) {
  EgressFlow& flow = worker.flows[number];
  Address hop;
  const bool has_hop = next_hop(worker, flow.outer_destination, &hop);
  const auto reach = has_hop ? worker.next_hops.reach(hop, worker.now_ms) : Neighbours::Reach::kUnreachable;
  if (reach == Neighbours::Reach::kAsked) return true;
  if (reach == Neighbours::Reach::kUnreachable) {
    worker.hold.drop(flow.held, Drop::kEgressNoNextHop);
    return true;
  }
  const uint16_t mtu = path_mtu(worker, number);
  while (!flow.held.empty()) {
    Packet packet;
    packet.mbuf = worker.hold.oldest(flow.held);
    packet.peer = flow.peer;
    // It was read when it came; the copy is of our own.
    read_ip(packet.layer3(), packet.layer3_length(), &packet.ip);
    if (worker.secured.tx.room() < frames_at_most(packet, flow.mode, mtu)) return false;
    worker.hold.pop(flow.held);
    worker.counters[Value::kResubmitted].add();
    worker.counters.hit(Pipe::kEgressAcl);
    egress_keyed(worker, number, packet);
  }
  return true;
}

}  // namespace

void drain(Worker& worker) {
  for (uint32_t left = kMaxDrainedFlows; left > 0 && !worker.flows.draining().empty(); --left) {
    const uint32_t number = worker.flows.draining().head;
    const bool room = drain_flow(worker, number);
    if (worker.flows[number].held.empty()) {
      worker.flows.set_draining(number, false);
    } else if (room) {
      worker.flows.rotate_draining();
    }
    if (!room) return;
  }
}

}  // namespace psp
