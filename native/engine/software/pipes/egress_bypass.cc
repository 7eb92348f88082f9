// SPDX-License-Identifier: Apache-2.0
// What the configuration lets pass in the clear: to the next hop of its own destination, as it is, hop limit
// untouched. The wire's MTU holds for it as it does at a router: cut, or told.
#include "engine/software/pipes/oversize_packets.h"
#include "engine/software/pipes/pipes.h"
#include "engine/software/worker.h"

namespace psp {

namespace {

void send(Worker& worker, const Address& hop, rte_mbuf* mbuf, bool ipv6) {
  worker.secured.ethernet.write_source(rte_pktmbuf_mtod(mbuf, uint8_t*), ipv6);
  worker.next_hops.send(hop, mbuf, worker.now_ms);
}

}  // namespace

void egress_bypass(Worker& worker, uint32_t rule, Packet& packet) {
  Address hop;
  if (!next_hop(worker, packet.ip.destination, &hop)) {
    worker.drop(packet, Drop::kEgressNoNextHop);
    return;
  }
  complete_checksum(worker, packet);
  const bool ipv6 = packet.ip.version == 6;
  const Fitting fitting = fit_clear(to_fit(worker, packet), worker.secured.info.mtu);
  Fragments fragments;
  switch (fitting.fit) {
    case Fit::kWhole:
      send(worker, hop, packet.mbuf, ipv6);
      break;
    case Fit::kCut:
    case Fit::kCutSealed:
      if (!cut(worker, packet, fitting.mtu, &fragments)) return;
      for (uint32_t i = 0; i < fragments.count; ++i) send(worker, hop, fragments.mbufs[i], ipv6);
      break;
    case Fit::kTooBig:
      drop_too_big(worker, packet, fitting.mtu);
      return;
  }
  worker.counters.bypass[rule].egress_packets.add();
}

}  // namespace psp
