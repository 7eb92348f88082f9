// SPDX-License-Identifier: Apache-2.0
// What a packet would otherwise have to compute is computed once.
#include "engine/ip/topology.h"

#include <algorithm>

namespace psp {

namespace {

bool any_transport(const std::vector<PeerConfig>& peers) {
  return std::ranges::any_of(peers, [](const PeerConfig& peer) { return peer.mode == Mode::kTransport; });
}

// Whether an address of these lies in a peer's prefix.
bool any_of_peers(const Peers& peers, const std::vector<Prefix>& prefixes) {
  return std::ranges::any_of(
      prefixes, [&](const Prefix& prefix) { return peers.owner(prefix.address) < Peers::kLocal; });
}

}  // namespace

Topology::Topology(const std::vector<Prefix>& gateways, const std::vector<Prefix>& vips,
                   const std::vector<PeerConfig>& all_peers, const std::vector<BypassRule>& rules)
    : peers(vips, all_peers),
      bypass(rules),
      vips_on_wire(any_transport(all_peers) || !rules.empty()),
      gateway_among_peers(any_of_peers(peers, gateways)) {}

}  // namespace psp
