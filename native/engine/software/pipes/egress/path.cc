// SPDX-License-Identifier: Apache-2.0
// The path MTU follows from the secured port's MTU, from what the configuration says of the peer, and from
// what routers reported within the last ten minutes. Only the first may be below the least MTU of a family:
// it is what the wire takes.
#include "engine/software/pipes/egress/path.h"

#include <algorithm>

#include "engine/ip/oversize.h"
#include "psp/tunnel.h"

namespace psp {

namespace {

constexpr uint32_t kLearnedForS = 600;  // RFC 8201 section 4

// Family of the outer header of the flow's packets.
bool outer_ipv6(const Lcore& lcore, const EgressFlow& flow) {
  return !is_ipv4(flow.mode == Mode::kTunnel ? lcore.config.secured_address.address : flow.key.destination);
}

uint32_t find(const MainLcore& lcore, const Address& source, const Address& destination, uint32_t spi) {
  if (source == lcore.config.secured_address.address) return lcore.flow_table.find_tunnel(destination, spi);
  const uint32_t index = lcore.flow_table.find({source, destination});
  if (index == 0) return 0;
  const EgressFlow& flow = lcore.flows[index];
  const bool sends = flow.state == EgressFlow::State::kKeyed && flow.mode == Mode::kTransport;
  return sends && flow.spi == spi ? index : 0;
}

}  // namespace

bool next_hop(const Lcore& lcore, const Address& destination, Address* hop) {
  if (lcore.config.secured_address.contains(destination)) {
    *hop = destination;
    return true;
  }
  if (lcore.config.secured_gateway) *hop = *lcore.config.secured_gateway;
  return lcore.config.secured_gateway.has_value();
}

void prepare(Lcore& lcore, uint32_t index) {
  EgressFlow& flow = lcore.flows[index];
  const OuterConfig& outer = lcore.config.outer;
  const AddressHash hash =
      address_hash(flow.key.source, flow.key.destination, outer.source_ports == SourcePorts::kSymmetricHash);
  flow.entropy = hash.value;
  flow.entropy_swapped = hash.swapped;
  flow.off_link = !lcore.config.secured_address.contains(flow.outer_destination);
  const bool has_hop = !flow.off_link || lcore.config.secured_gateway;
  const bool plain = flow.mode == Mode::kTunnel && has_hop && !outer.udp_checksum &&
                     lcore.topology->peers[flow.peer].crypt_offset == 0;
  const size_t overhead = tunnel_overhead(lcore.outer_header.ipv6(), flow.cookie != 0);
  flow.plain_length = plain ? static_cast<uint16_t>(length_within(path_mtu(lcore, index), overhead)) : 0;
}

uint16_t path_mtu(const Lcore& lcore, uint32_t index) {
  const EgressFlow& flow = lcore.flows[index];
  const uint16_t least = least_mtu(outer_ipv6(lcore, flow));
  uint16_t mtu = lcore.secured.info.mtu;
  const uint16_t configured = lcore.topology->peers[flow.peer].mtu;
  if (configured != 0) mtu = std::min(mtu, std::max(configured, least));
  if (flow.path_mtu != 0 && lcore.now_ms / 1000 < flow.path_mtu_until_s) mtu = std::min(mtu, flow.path_mtu);
  return mtu;
}

void forget_old_path_mtu(Lcore& lcore, uint32_t index) {
  EgressFlow& flow = lcore.flows[index];
  if (flow.path_mtu == 0 || lcore.now_ms / 1000 < flow.path_mtu_until_s) return;
  flow.path_mtu = 0;
  prepare(lcore, index);
}

bool learn_path_mtu(MainLcore& lcore, const Address& source, const Address& destination, uint32_t spi,
                    uint16_t mtu) {
  const uint32_t index = find(lcore, source, destination, spi);
  if (index == 0) return false;
  const uint16_t learned = std::max(mtu, least_mtu(outer_ipv6(lcore, lcore.flows[index])));
  if (learned >= path_mtu(lcore, index)) return false;
  lcore.flow_table.set_path_mtu(index, learned, static_cast<uint32_t>(lcore.now_ms / 1000) + kLearnedForS);
  prepare(lcore, index);
  return true;
}

}  // namespace psp
