// SPDX-License-Identifier: Apache-2.0
// What a ReconfigureCommand replaces as a whole: our VIPs, the peers, and the bypass. It never changes. The
// control thread makes a new one, which may allocate; the polling threads then read it in place of the old
// one, which the control thread destroys once none of them uses it.
#pragma once

#include "engine/config.h"
#include "engine/ip/bypass.h"
#include "engine/ip/peers.h"

namespace psp {

struct Topology {
  // `gateways`: addresses of ours on the unsecured side. Throws std::bad_alloc.
  Topology(const std::vector<Prefix>& gateways, const std::vector<Prefix>& vips,
           const std::vector<PeerConfig>& peers, const std::vector<BypassRule>& bypass);

  const Peers peers;
  const Bypass bypass;
  const bool vips_on_wire;         // as ends of transport mode, or by the bypass
  const bool gateway_among_peers;  // a gateway address lies in a peer's prefix
};

}  // namespace psp
