// SPDX-License-Identifier: Apache-2.0
// A snapshot of what an engine has counted. An engine reports only the rows that it has; their names are
// those of pipe_names.h, drop_reasons.h and counters.h.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace psp {

struct PipeCount {
  std::string_view name;
  uint64_t hit, miss;
};
struct DropCount {
  std::string_view reason, direction;
  uint64_t packets;
};
struct PortCount {
  uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes;
};
struct BypassCount {
  uint64_t egress_packets, ingress_packets;
};
struct PeerCount {
  uint64_t egress_packets, egress_bytes, ingress_packets, ingress_bytes;
  uint64_t last_egress_ms, last_ingress_ms;  // monotonic, 0: never
  uint64_t keyed_flows, inbound_flows;
};
struct NamedValue {
  std::string_view name;
  uint64_t value;
};
// Of one lcore: what its queues received and sent, both ports together.
struct LcoreCount {
  uint64_t rx_packets, tx_packets;
};

struct EngineCounts {
  std::vector<PipeCount> pipes;
  std::vector<DropCount> drops;
  PortCount unsecured{}, secured{};
  std::vector<PeerCount> peers;
  std::vector<BypassCount> bypass;  // in the order of the configuration
  std::vector<NamedValue> values;
  std::vector<LcoreCount> lcores;

  // Adds what another lcore counted; times are those of the later.
  void add(const EngineCounts& other);
};

}  // namespace psp
