// SPDX-License-Identifier: Apache-2.0
// Drains at most two bursts in a turn. What a packet needs (mode, path MTU) is known only now. Flows take
// turns: one whose next packet needs more space than the port's queue has left keeps no other waiting.
#include <algorithm>

#include "engine/ip/oversize.h"
#include "engine/software/pipes/egress/egress.h"
#include "engine/software/pipes/egress/path.h"

namespace psp {

namespace {

// Packets of one turn. Two bursts: twice what can arrive meanwhile, so that the queues do get empty.
constexpr uint32_t kMaxDrained = 2 * kBurst;
// Sealing and the headers of a fragment add no more to each frame.
constexpr uint32_t kAddedAtMost = 256;
constexpr uint32_t kLeastLength = 8;  // of a fragment

// Frames that a packet may become: none when it is a fragment that waits for others.
uint32_t frames_at_most(const MainLcore& lcore, const Packet& packet, Mode mode, uint16_t mtu) {
  const bool reassembles = mode == Mode::kTransport && packet.ip.fragment;
  const uint32_t length = reassembles ? lcore.egress_reassembly.completes(packet) : packet.ip.length;
  const uint32_t longest = std::max<uint32_t>(length_within(mtu, kAddedAtMost), kLeastLength);
  if (length <= longest) return length == 0 ? 0 : 1;
  // A queue never has more space; a packet of more fragments is dropped.
  return std::min(2 + length / longest, TxQueue::kCapacity);
}

// Whether packets of the flow may leave now. Drops them where there is no way to the peer.
bool has_way(MainLcore& lcore, EgressFlow& flow, uint32_t& packets_left) {
  Address hop;
  const bool has_hop = next_hop(lcore, flow.outer_destination, &hop);
  const auto reach = has_hop ? lcore.next_hops.reach(hop, lcore.now_ms) : Neighbours::Reach::kUnreachable;
  if (reach == Neighbours::Reach::kUnreachable) {
    packets_left -= lcore.hold.drop(flow.held, Drop::kEgressNoNextHop, packets_left);
  }
  return reach == Neighbours::Reach::kKnown;
}

}  // namespace

Drain::Drain(MainLcore& lcore)
    : lcore_(lcore),
      flows_left_(std::min(lcore.flow_table.draining().count, kMaxFlows)),
      packets_left_(kMaxDrained) {}

bool Drain::next(Burst& burst) {
  if (flows_left_ == 0 && drained_.empty()) return false;
  FlowTable& table = lcore_.flow_table;
  TxQueue& tx = lcore_.secured.tx;
  while (flows_left_ > 0) {
    const uint32_t index = table.draining().head;
    EgressFlow& flow = lcore_.flows[index];
    const bool begins = !std::exchange(begun_, true);
    if (begins && tx.full()) break;
    const bool drains = !flow.held.empty() && (!begins || has_way(lcore_, flow, packets_left_));
    if (drains && next_of(index, burst)) return true;
    if (flow.held.empty()) {
      if (!flow.drained) table.set_drained(index, tx.position());
      drained_.push_back(index);
    } else if (packets_left_ == 0) {
      break;
    }
    table.rotate_draining();
    --flows_left_;
    begun_ = false;
  }
  flows_left_ = 0;
  finish();
  return false;
}

// The flow's oldest packet, unless it must stay for now.
bool Drain::next_of(uint32_t index, Burst& burst) {
  EgressFlow& flow = lcore_.flows[index];
  if (packets_left_ == 0) return false;
  Packet& packet = burst.packets[0];
  packet.begin(lcore_.hold.oldest(flow.held));
  packet.flow = index;
  packet.peer = flow.peer;
  packet.as_before = false;
  // It was read when it came; the copy is of our own.
  read_ip(packet.layer3(), packet.layer3_length(), &packet.ip);
  if (lcore_.secured.tx.room() < frames_at_most(lcore_, packet, flow.mode, path_mtu(lcore_, index)))
    return false;
  lcore_.hold.pop(flow.held);
  --packets_left_;
  burst.count = 1;
  burst.has_fragments = packet.ip.fragment;
  lcore_.counters[Value::kResubmitted].add();
  lcore_.counters.hit(Pipe::kEgressAcl);
  return true;
}

void Drain::finish() {
  TxQueue& tx = lcore_.secured.tx;
  // At once, or what arrives in this turn would find the queue full.
  tx.flush();
  // Only now may worker lcores send for these flows: before the port has taken the packets that were held,
  // theirs would overtake them.
  for (const uint32_t index : drained_) {
    if (tx.has_passed(lcore_.flow_table.drained_at(index))) lcore_.flow_table.set_draining(index, false);
  }
  drained_.clear();
}

}  // namespace psp
