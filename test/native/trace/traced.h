// SPDX-License-Identifier: Apache-2.0
// A tracer over the gateway that the engine tests share: the local VIPs are 10.1.0.0/24 and fd00:1::/64,
// those of peer 0 are 10.2.0.0/16 and fd00:2::/64. Peer 1 uses transport mode and has 10.3.0.0/16 and
// fd00:3::/64.
#pragma once

#include "../engine/wire_frames.h"
#include "trace/tracer.h"

namespace psp {

inline constexpr uint64_t kSecondNs = 1'000'000'000, kCapturedNs = 1'700'000'000 * kSecondNs;

inline TraceConfig trace_config(Direction direction) {
  TraceConfig config;
  config.engine = gateway_config();
  config.engine.peers.push_back(
      {.vips = {prefix("10.3.0.0/16"), prefix("fd00:3::/64")}, .mode = Mode::kTransport});
  config.direction = direction;
  config.unsecured_mtu = 1500;
  config.secured_mtu = 1600;
  config.versions = {{0}, {1, 0}};
  return config;
}

inline void add_master_keys(TraceConfig& config) {
  config.master_keys.assign(kMasterOctets, kMasterOctets + 32);
  config.master_keys.insert(config.master_keys.end(), 32, 9);
}

// Every flow has the key of key_of(0x11, version).
inline TraceConfig keyed(Direction direction = Direction::kEgress) {
  TraceConfig config = trace_config(direction);
  add_master_keys(config);
  if (direction == Direction::kEgress) config.key = {0x11, 100, 0, address("192.0.2.2")};
  return config;
}

// A tracer and the time of its frames.
struct Traced {
  explicit Traced(TraceConfig config) : tracer((enter_eal(kTestEal), std::move(config))) {}

  TracedFrame run(const Frame& frame, uint64_t later_ms = 0) {
    return tracer.run(frame, at_ns += later_ms * 1'000'000);
  }
  // Scans all frames, then runs them.
  std::vector<TracedFrame> run_all(const std::vector<Frame>& frames) {
    for (const Frame& frame : frames) tracer.scan(frame, at_ns);
    std::vector<TracedFrame> traced;
    for (const Frame& frame : frames) traced.push_back(run(frame));
    return traced;
  }

  uint64_t at_ns = kCapturedNs;
  Tracer tracer;
};

// "ingress_root+ egress_acl-": one + per hit and one - per miss, in the order of the pipe table.
inline std::string steps_of(const Moved& moved) {
  std::string steps;
  for (const PipeCount& pipe : moved.pipes) {
    if (!steps.empty()) steps += ' ';
    steps += pipe.name;
    steps += std::string(pipe.hit, '+') + std::string(pipe.miss, '-');
  }
  return steps;
}
// "egress/no_peer", with a count where it is not 1.
inline std::string drops_of(const Moved& moved) {
  std::string drops;
  for (const DropCount& drop : moved.drops) {
    if (!drops.empty()) drops += ' ';
    drops += std::string(drop.direction) + '/' + std::string(drop.reason);
    if (drop.packets != 1) drops += '*' + std::to_string(drop.packets);
  }
  return drops;
}
inline int64_t change_of(const Moved& moved, std::string_view name) {
  for (const Moved::Value& value : moved.values) {
    if (value.name == name) return value.change;
  }
  return 0;
}

// The number of frames that reached a final state, less the frames that the gateway generated: 1 for each
// frame that was run.
inline int64_t final_states_of(const Moved& moved) {
  int64_t states = 0;
  for (const char* name : {"held", "neighbourQueued", "consumed", "forwardedEgress", "forwardedIngress",
                           "fragmentsWaiting", "fragmentsJoined", "packetsFragmented"}) {
    states += change_of(moved, name);
  }
  for (const DropCount& drop : moved.drops) states += static_cast<int64_t>(drop.packets);
  return states - change_of(moved, "fragmentsMade") - change_of(moved, "icmpSent");
}

}  // namespace psp
