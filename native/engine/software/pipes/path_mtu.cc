// SPDX-License-Identifier: Apache-2.0
// What is known of the path towards a peer: the secured port's MTU, what the configuration says of the peer,
// and what routers told within the last ten minutes. Only the first may lie below the least MTU of a family:
// it is what the wire takes.
#include <algorithm>

#include "engine/ip/oversize.h"
#include "engine/software/pipes/pipes.h"
#include "engine/software/worker.h"

namespace psp {

namespace {

constexpr uint32_t kLearnedForS = 600;  // RFC 8201 section 4

// Family of the outer header of the flow's packets.
bool outer_ipv6(const Worker& worker, const EgressFlow& flow) {
  return !is_ipv4(flow.mode == Mode::kTunnel ? worker.config.secured_address.address : flow.key.destination);
}

uint32_t find(const Worker& worker, const Address& source, const Address& destination, uint32_t spi) {
  if (source == worker.config.secured_address.address) return worker.flows.find_tunnel(destination, spi);
  const uint32_t number = worker.flows.find({source, destination});
  if (number == 0) return 0;
  const EgressFlow& flow = worker.flows[number];
  const bool sends = flow.state == EgressFlow::State::kKeyed && flow.mode == Mode::kTransport;
  return sends && flow.spi == spi ? number : 0;
}

}  // namespace

uint16_t path_mtu(const Worker& worker, uint32_t number) {
  const EgressFlow& flow = worker.flows[number];
  const uint16_t least = least_mtu(outer_ipv6(worker, flow));
  uint16_t mtu = worker.secured.info.mtu;
  const uint16_t configured = worker.config.peers[flow.peer].mtu;
  if (configured != 0) mtu = std::min(mtu, std::max(configured, least));
  if (flow.path_mtu != 0 && worker.now_ms / 1000 < flow.path_mtu_until_s) mtu = std::min(mtu, flow.path_mtu);
  return mtu;
}

void forget_old_path_mtu(Worker& worker, uint32_t number) {
  EgressFlow& flow = worker.flows[number];
  if (flow.path_mtu == 0 || worker.now_ms / 1000 < flow.path_mtu_until_s) return;
  flow.path_mtu = 0;
  prepare(worker, number);
}

bool learn_path_mtu(Worker& worker, const Address& source, const Address& destination, uint32_t spi,
                    uint16_t mtu) {
  const uint32_t number = find(worker, source, destination, spi);
  if (number == 0) return false;
  const uint16_t learned = std::max(mtu, least_mtu(outer_ipv6(worker, worker.flows[number])));
  if (learned >= path_mtu(worker, number)) return false;
  worker.flows.set_path_mtu(number, learned, static_cast<uint32_t>(worker.now_ms / 1000) + kLearnedForS);
  prepare(worker, number);
  return true;
}

}  // namespace psp
