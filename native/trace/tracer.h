// SPDX-License-Identifier: Apache-2.0
// Runs frames one at a time through the pipes of the software engine, between two ports in memory, and tells
// of each what moved: the counters and the frames that came out. The pipes are those of a running gateway and
// do not know that they are watched: with one frame under way, whatever moves is its doing. What a gateway
// gets from others is supplied: neighbours answer at once, keys come from the options. Time is that of the
// frames. Knows nothing of files.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "engine/software/worker.h"
#include "pcap/keys.h"
#include "trace/dissection.h"
#include "trace/memory_port.h"
#include "trace/offers.h"

namespace psp {

// The egress key that every flow to a peer has, as the peer would have given it: the flows of frames from
// hosts, and the reverse flows of frames from the wire, by which ICMP errors of the gateway leave.
struct TraceKey {
  uint32_t spi = 0;
  uint64_t first_iv = 0;
  uint64_t cookie = 0;  // 0: none
  Address outer_destination{};
};

struct TraceConfig {
  EngineConfig engine;
  Direction direction = Direction::kEgress;  // of the frames: kEgress arrive at the unsecured port
  uint16_t unsecured_mtu = 0, secured_mtu = 0;
  std::optional<MacAddress> mac;               // of the port where frames arrive; none: that of each frame
  std::vector<std::vector<uint8_t>> versions;  // by peer: those spoken with it, in order of preference
  SecretVector<uint8_t> master_keys;           // kMasterKeysLength octets, or none
  std::optional<TraceKey> key;                 // with master keys
};

// Counters that moved. Gauges may fall.
struct Moved {
  struct Value {
    std::string_view name;
    int64_t by;
  };
  std::vector<PipeCount> pipes;
  std::vector<DropCount> drops;
  std::vector<Value> values;
  std::vector<uint32_t> bypassed;  // by these rules
};

// What the engine's tables say of the frame's flow: egress, how it is sealed; ingress, what its SPI was
// offered for.
struct TracedFlow {
  FlowKey flow;
  uint32_t spi = 0;
  uint8_t version = 0;
  Mode mode = Mode::kTunnel;
  uint64_t cookie = 0;    // 0: none
  uint16_t path_mtu = 0;  // egress
};

// A frame that came out of a port.
struct LeftFrame {
  bool secured;
  uint32_t length;
  Dissection dissection;
};

struct TracedFrame {
  Dissection dissection;
  Moved before;                    // by timers, on the way to this frame's time
  Moved moved;                     // by this frame
  std::optional<uint16_t> peer;    // egress: whose the destination is; ingress: whose the SPI is
  std::optional<TracedFlow> flow;  // keyed, offered
  std::vector<Address> resolved;   // neighbours whose MAC addresses were asked for, and answered
  std::vector<LeftFrame> left;     // in order, by port
  std::vector<SampleFacts> samples;
};

class Tracer {
 public:
  // DPDK's environment is up. Throws EngineError or std::bad_alloc.
  explicit Tracer(TraceConfig config);

  // Looks at an Ethernet frame before any is run, for the offers that the file implies. Ingress with master
  // keys: what it carries.
  std::optional<InnerDissection> scan(std::span<const uint8_t> frame, uint64_t at_ns);
  // Runs an Ethernet frame that arrives at that time; one before that of an earlier frame counts as that.
  TracedFrame run(std::span<const uint8_t> frame, uint64_t at_ns);
  // What waits in the gateway now.
  uint64_t held() { return counters_[Value::kHeld].value(); }
  uint64_t fragments_waiting() { return counters_[Value::kFragmentsWaiting].value(); }

 private:
  static constexpr uint64_t kFirstNs = 1'000'000'000;  // times of 0 mean never

  MemoryPort& port() { return egress_ ? unsecured_ : secured_; }
  std::vector<uint8_t> addressed(std::span<const uint8_t> frame) const;
  // Turns until nothing more comes out; neighbours answer in between.
  void settle(TracedFrame* traced);
  bool collect(bool secured, TracedFrame* traced);
  void key_flow(const FlowKey& flow);
  std::optional<uint16_t> sealed_too_big_mtu(std::span<const uint8_t> frame,
                                             const Dissection& dissection) const;
  void report_egress(TracedFrame* traced);
  void admit_and_report_ingress(TracedFrame* traced);

  const TraceConfig config_;
  const bool egress_;
  const std::unique_ptr<CaptureKeys> keys_;  // null: no master keys
  const std::unique_ptr<Aead> aead_;
  MemoryPort unsecured_, secured_;
  Counters counters_;
  SpscRing<Event> events_;
  SampleRing samples_;
  uint64_t now_ns_ = kFirstNs;
  std::optional<uint64_t> first_at_ns_;  // of the first frame
  std::unique_ptr<Worker> worker_;
  std::unique_ptr<Offers> offers_;
};

}  // namespace psp
