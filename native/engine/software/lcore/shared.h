// SPDX-License-Identifier: Apache-2.0
// State shared by all lcores: memory, the current topology, and what limits or numbers packets of all lcores
// together. The pools are declared first, so that they are destroyed last.
#pragma once

#include <memory>

#include "engine/engine.h"
#include "engine/ip/fragment.h"
#include "engine/ip/icmp_error.h"
#include "engine/ip/topology.h"
#include "engine/ports/pool.h"
#include "engine/software/lcore/capture.h"
#include "engine/software/tables/iv_blocks.h"

namespace psp {

struct Shared {
  // `longest_frame`: in octets, of either port. Throws EngineError.
  Shared(const EngineConfig& config, uint32_t longest_frame);

  Pool control_pool;                         // ARP and neighbour discovery of our own
  Pool fragment_pool;                        // fragments that we make, ICMP errors
  std::shared_ptr<const Topology> topology;  // the current one, of the main lcore; see Lcore::topology
  IcmpLimit icmp_limit;
  IcmpLimit echo_limit;  // separate, so that pings do not use up the limit for errors
  Identifications identifications;
  CaptureLimit capture_limit;
  alignas(64) IvCounter ivs;
};

}  // namespace psp
