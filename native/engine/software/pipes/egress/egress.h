// SPDX-License-Identifier: Apache-2.0
// The pipes from hosts to the wire, in the order in which a burst passes them; ingress_root (entry.h)
// precedes them. Each pipe keeps in the burst, in order, the packets that go on to the next. All others left
// it by another edge: into another burst, into an lcore's outgoing frames, or they were held, consumed or
// dropped.
#pragma once

#include "engine/software/lcore/main_lcore.h"
#include "engine/software/lcore/worker_lcore.h"

namespace psp {

// Finds the peer of the destination. Packets for a gateway address of ours go to lcore.to_gateway, packets
// that a bypass rule names to lcore.clear.
void egress_root(Lcore& lcore, Burst& burst);
// Answers echo requests to a gateway address. Empties the burst.
void answer_echo(Lcore& lcore, Burst& to_gateway);
// Passes packets in the clear to their next hop. Empties the burst.
void egress_bypass(Lcore& lcore, Burst& clear);
// Finds the flow's record, which is noted in the packet. Packets of a flow without a key are held.
void egress_acl(MainLcore& lcore, Burst& burst);
// The same by copies of records. Packets that have none, or must wait, are handed off.
void egress_acl(WorkerLcore& lcore, Burst& burst);
// Reassembles fragments of flows in transport mode; all other packets go on as they are.
void egress_reassembly(MainLcore& lcore, Burst& burst);
// Decides which packets are sampled.
void egress_sampling(Lcore& lcore, Burst& burst);
// Seals the packets into lcore.to_wire. Empties the burst.
void seal(Lcore& lcore, Burst& burst);

// Held packets whose key has come. They re-enter after egress_acl, oldest first, as far as the secured port
// takes them.
class Drain {
 public:
  explicit Drain(MainLcore& lcore);
  // The next packet, alone in the burst, once the one before was sent. False: there is none; then packets
  // that were drained have left the queue as far as the port takes them.
  bool next(Burst& burst);

 private:
  static constexpr uint32_t kMaxFlows = 64;

  bool next_of(uint32_t index, Burst& burst);
  void finish();

  MainLcore& lcore_;
  uint32_t flows_left_, packets_left_;
  bool begun_ = false;  // the first of the draining flows was looked at
  InplaceVector<uint32_t, kMaxFlows> drained_;
};

}  // namespace psp
