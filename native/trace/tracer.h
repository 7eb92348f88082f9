// SPDX-License-Identifier: Apache-2.0
// Runs frames one at a time through the pipes of the software engine, between two ports in memory, and
// reports for each frame which counters changed and which frames left. The pipes are those of a running
// gateway and contain no code for tracing: with one frame in progress, every change is caused by that frame.
// The tracer supplies what a gateway receives from others: neighbours answer at once, keys come from the
// options. Time is that of the frames. The tracer has no knowledge of files.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "engine/software/lcore/main_lcore.h"
#include "pcap/keys.h"
#include "trace/dissection.h"
#include "trace/memory_port.h"
#include "trace/offers.h"

namespace psp {

// The egress key of every flow to a peer, as if the peer had offered it. It serves the flows of frames from
// hosts, and the reverse flows of frames from the wire, which carry the gateway's ICMP errors.
struct TraceKey {
  uint32_t spi = 0;
  uint64_t first_iv = 0;
  uint64_t cookie = 0;  // 0: none
  Address outer_destination{};
};

struct TraceConfig {
  EngineConfig engine;
  Direction direction = Direction::kEgress;  // kEgress: the frames arrive at the unsecured port
  uint16_t unsecured_mtu = 0, secured_mtu = 0;
  std::optional<MacAddress> mac;               // of the port where frames arrive; none: frames to any address
  std::vector<std::vector<uint8_t>> versions;  // by peer, in order of preference
  SecretVector<uint8_t> master_keys;           // kMasterKeysLength octets, or empty
  std::optional<TraceKey> key;                 // requires master keys
};

// Counters that changed. Gauges may decrease.
struct Moved {
  struct Value {
    std::string_view name;
    int64_t change;
  };
  std::vector<PipeCount> pipes;
  std::vector<DropCount> drops;
  std::vector<Value> values;
  std::vector<uint32_t> bypassed;  // indices of the bypass rules that matched
};

// The flow of a frame in the engine's tables. Egress: how the flow is sealed. Ingress: the flow that its SPI
// was offered for.
struct TracedFlow {
  FlowKey flow;
  uint32_t spi = 0;
  uint8_t version = 0;
  Mode mode = Mode::kTunnel;
  uint64_t cookie = 0;    // 0: none
  uint16_t path_mtu = 0;  // egress
};

// A frame that left through a port.
struct LeftFrame {
  bool secured;
  uint32_t length;
  Dissection dissection;
};

struct TracedFrame {
  Dissection dissection;
  Moved before;                    // by timers, before this frame's time
  Moved moved;                     // by this frame
  std::optional<uint16_t> peer;    // egress: owner of the destination; ingress: owner of the SPI
  std::optional<TracedFlow> flow;  // only if keyed (egress) or offered (ingress)
  std::vector<Address> resolved;   // neighbours whose MAC addresses the gateway requested
  std::vector<LeftFrame> left;     // in order, by port
  std::vector<SampleFacts> samples;
};

class Tracer {
 public:
  // The EAL must be initialized. Throws EngineError or std::bad_alloc.
  explicit Tracer(TraceConfig config);

  // First pass, before any frame is run: reads an Ethernet frame to derive the offers that the file implies.
  // Ingress with master keys: returns the inner packet if the frame opens.
  std::optional<InnerDissection> scan(std::span<const uint8_t> frame, uint64_t at_ns);
  // Runs an Ethernet frame that arrives at `at_ns`. Time never goes back: a frame that is older than an
  // earlier one runs at the time of the earlier one.
  TracedFrame run(std::span<const uint8_t> frame, uint64_t at_ns);
  // Packets and fragments that wait in the gateway now.
  uint64_t held() { return counters_[Value::kHeld].value(); }
  uint64_t fragments_waiting() { return counters_[Value::kFragmentsWaiting].value(); }

 private:
  static constexpr uint64_t kFirstNs = 1'000'000'000;  // the engine reads a time of 0 as "never"

  MemoryPort& port() { return egress_ ? unsecured_ : secured_; }
  std::vector<uint8_t> addressed(std::span<const uint8_t> frame) const;
  // Runs the worker until no more frames leave; neighbours answer in between.
  void settle(TracedFrame* traced);
  bool collect(bool secured, TracedFrame* traced);
  void key_flow(const FlowKey& flow);
  std::optional<uint16_t> sealed_too_big_mtu(std::span<const uint8_t> frame,
                                             const Dissection& dissection) const;
  void report_egress(TracedFrame* traced);
  void admit_and_report_ingress(TracedFrame* traced);

  const TraceConfig config_;
  const bool egress_;
  const std::unique_ptr<CaptureKeys> keys_;  // null without master keys
  const std::unique_ptr<Aead> aead_;
  MemoryPort unsecured_, secured_;
  Counters counters_;
  SpscRing<Event> events_;
  SampleRing samples_;
  MasterKeys master_keys_;
  uint64_t now_ns_ = kFirstNs;
  std::optional<uint64_t> first_at_ns_;  // of the first frame that is run
  std::unique_ptr<MainLcore> main_;
  std::unique_ptr<Offers> offers_;
};

}  // namespace psp
