// SPDX-License-Identifier: Apache-2.0
// Turns the counters into the rows that leave the engine.
#include "engine/counters.h"

#include "psp/secret.h"

namespace psp {

EngineCounts Counters::read() const {
  EngineCounts counts;
  counts.pipes.reserve(kPipeCount);
  for (size_t i = 0; i < kPipeCount; ++i) {
    counts.pipes.push_back({kPipes[i].name, pipes[i].hit.value(), pipes[i].miss.value()});
  }
  counts.drops.reserve(kDropReasonCount);
  for (size_t i = 0; i < kDropReasonCount; ++i) {
    counts.drops.push_back(
        {kDropReasons[i].name, direction_name(kDropReasons[i].direction), drops[i].value()});
  }
  counts.values.reserve(kValueNames.size() + 1);
  for (size_t i = 0; i < kValueNames.size(); ++i)
    counts.values.push_back({kValueNames[i], values[i].value()});
  counts.values.push_back({"unlockedBytes", unlocked_bytes()});
  counts.unsecured = unsecured.read();
  counts.secured = secured.read();
  counts.peers.reserve(peers.size());
  for (const PeerCounters& peer : peers) counts.peers.push_back(peer.read());
  counts.bypass.reserve(bypass.size());
  for (const BypassCounters& rule : bypass) {
    counts.bypass.push_back({rule.egress_packets.value(), rule.ingress_packets.value()});
  }
  return counts;
}

}  // namespace psp
