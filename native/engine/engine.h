// SPDX-License-Identifier: Apache-2.0
// What every engine can do, software or hardware. An engine owns two ports and moves packets between them; it
// is told what to do by commands through a bounded ring and tells what happened by events through another;
// samples go up on a ring of their own, so that many of them never cost an event.
// The control side (one thread) submits commands and takes completions, events and samples; the polling side
// never blocks, allocates on the heap, logs or calls upwards. A command travels down, is carried out, and
// travels back up as its own completion: its memory is the control side's, borrowed by the engine in between.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/sample.h"
#include "psp/address.h"
#include "psp/mode.h"
#include "psp/secret.h"

namespace psp {

class Aead;
class MasterKey;

struct PortConfig {
  std::string device;  // interface, PCI address or DPDK device string
};

struct SamplingConfig {
  std::optional<uint8_t> egress_log2;  // one of 2^egress_log2 packets; none: off
  uint16_t snap_bytes = 128;           // copied of each
  bool sealed = true;                  // copy what is drawn as it leaves
  bool plain = false;                  // copy what is drawn as it came, before it is sealed
};

// Copies of packets that could not be sealed or did not open.
struct CaptureConfig {
  bool ingress = false;
  bool egress = false;  // plaintext of hosts
  uint32_t per_second = 100;
};

// A peer, and what our own side chose for the tunnels with it.
struct PeerConfig {
  std::vector<Prefix> vips;
  Mode mode = Mode::kTunnel;  // of what we offer; what the peer offers has the same
  bool cookie = false;        // our offers carry a random virtualization cookie
  uint8_t crypt_offset = 0;   // of what we send under versions 0 and 1, in 4-octet units
  uint16_t mtu = 0;           // of the path towards it; 0: that of the secured port
  // Its own rate instead of sampling.egress_log2; an empty inner value: off.
  std::optional<std::optional<uint8_t>> sampling_log2{};
};

// Where the UDP source port of a packet comes from: a hash of the inner flow, one that is the same for both
// directions, or a table that the hash points into.
enum class SourcePorts : uint8_t { kHash, kSymmetricHash, kTable };

// The outer header of what we send.
struct OuterConfig {
  uint8_t hop_limit = 64;       // tunnel mode only
  std::optional<uint8_t> dscp;  // tunnel mode only; none: the inner one (RFC 2983)
  bool udp_checksum = false;
  SourcePorts source_ports = SourcePorts::kHash;
  std::vector<uint16_t> port_table;  // at least 16 when it counts
};

// Traffic that passes in the clear, both ways: `prefix` and `port` are those of the far end.
struct BypassRule {
  Prefix prefix;
  uint8_t protocol = 0;  // 0: any
  uint16_t port = 0;     // TCP, UDP; 0: any
};

struct EngineConfig {
  PortConfig unsecured;
  std::vector<Prefix> gateways;  // address as asked for, length of its connected prefix
  PortConfig secured;
  Prefix secured_address;                  // outer source and its connected prefix
  std::optional<Address> secured_gateway;  // next hop beyond the prefix; IPv6 beside an IPv4 address too
  std::vector<Prefix> vips;
  std::vector<PeerConfig> peers;  // by peer number
  OuterConfig outer;
  bool ingress_acl = true;  // false: whatever is authentic passes
  std::vector<BypassRule> bypass;
  CaptureConfig capture;
  bool busy_polling = false;
  uint32_t lcores = 1;  // threads that move packets, each with a queue of its own at either port
  uint32_t max_flows = 0;
  uint32_t retire_ms = 0;
  uint32_t hold_ms = 3000;        // how long a flow waits for its first key; then what is held is dropped
  uint32_t unanswered_ms = 1000;  // the hold-down after that
  uint32_t held_per_flow = 0;
  uint32_t held_per_source = 0;
  uint32_t held_total = 0;
  uint32_t wants_per_peer = 0;
  uint32_t spis_per_flow = 0;
  SamplingConfig sampling;
};

// What may change about a port while the engine runs.
struct LinkState {
  bool present = true;  // the interface exists under its name
  bool up = true;       // what is sent leaves: administratively up, with a carrier
  uint16_t mtu = 0;
  MacAddress mac{};
  bool operator==(const LinkState&) const = default;
};

struct PortInfo {
  MacAddress mac{};
  uint16_t mtu = 0;
  bool completes_checksums = false;  // of what it receives; without it partial ones come unmarked
  bool up = true;                    // as LinkState, when it was opened
};

struct EngineInfo {
  PortInfo unsecured;
  PortInfo secured;
  uint16_t wanted_mtu = 0;  // of the secured port, that whatever hosts send fits sealed
};

// A failure at start with a code of services/shared/errors.ts; `name` and `detail` fill its message. `name`
// is the device as configured (RIGHTS_MISSING: what needs the right in `detail`). MTU_TOO_SMALL: `detail`
// holds the numbers as "mtu=1200 need=1280".
struct EngineError {
  std::string code;
  std::string name;
  std::string detail;
};

// What a sender needs for one flow. The key lies in locked memory and is wiped with the command.
struct EgressKey {
  uint32_t spi = 0;
  uint8_t version = 0;
  Mode mode = Mode::kTunnel;
  uint64_t cookie = 0;
  uint64_t first_iv = 0;  // unix seconds << 32 (docs/design.md, "IVs never repeat")
  Address outer_destination{};
  MacAddress mac{};
  std::array<uint8_t, 32> key{};  // 16 octets for version 0
};

enum class InstallResult : uint8_t { kInstalled = 1, kNotInFlight = 2, kSuperseded = 3, kTableFull = 4 };
enum class Refusal : uint8_t { kRefused = 0, kRemoved = 1 };

// Puts egress keys in place and releases what is held, oldest first, before any later packet of the flow.
struct InstallCommand {
  uint16_t peer = 0;
  std::vector<FlowKey> flows;
  SecretVector<EgressKey> keys;
  std::vector<InstallResult> results;  // sized by the control side
};

// Admits receive SPIs for inbound flows. All or none.
struct AdmitCommand {
  struct Entry {
    FlowKey inbound;
    uint32_t spi;
    uint8_t version;
    uint64_t cookie;
    uint16_t peer;
    Mode mode = Mode::kTunnel;
  };
  std::vector<Entry> entries;
  bool table_full = false;  // result: none was admitted
};

struct WithdrawCommand {
  struct Entry {
    FlowKey inbound;
    uint32_t spi;
  };
  std::vector<Entry> entries;
};

struct RefuseCommand {
  std::vector<FlowKey> flows;
  Refusal refusal = Refusal::kRefused;
  uint32_t hold_down_ms = 0;
};

// Forgets both directions of flows.
struct RemoveCommand {
  std::vector<FlowKey> flows;
};

// Swaps the master key of one slot; everything derived from the old one ends. The old key comes back to be
// wiped by the control side.
struct RotateCommand {
  uint8_t slot = 0;  // top bit of the SPIs it rules
  std::unique_ptr<MasterKey> key;
};

// Draws one of 2^egress_log2 packets that leave from now on towards this peer, or towards all; none: no
// packet.
struct SamplingCommand {
  std::optional<uint16_t> peer;
  std::optional<uint8_t> egress_log2;
};

struct FlowRow {
  enum class State : uint8_t { kWanted = 0, kKeyed = 1, kRefused = 2, kOffered = 3, kSeen = 4 };
  FlowKey flow;
  State state;
  uint8_t version;
  Mode mode;
  uint8_t live_spis;
  uint16_t path_mtu;  // egress: of the wire, as far as it is known; 0: none
  uint16_t peer;
  uint32_t spi;
  uint32_t held;
  uint64_t packets;
  uint64_t bytes;
};

struct FlowsCommand {
  uint64_t cursor = 0;
  std::vector<FlowRow> rows;  // sized by the control side
  uint32_t count = 0;         // results
  uint64_t next_cursor = 0;
};

using CommandBody = std::variant<InstallCommand, AdmitCommand, WithdrawCommand, RefuseCommand, RemoveCommand,
                                 RotateCommand, SamplingCommand, FlowsCommand>;

struct Command {
  CommandBody body;
  uint32_t done = 0;        // the engine's own: entries of the body that it has carried out
  void* context = nullptr;  // the control side's own
};

struct MissedEvent {
  FlowKey flow;
  uint16_t peer;
};
struct SeenEvent {
  FlowKey inbound;
  uint32_t spi;
};
// A port's link changed. Without `state.present` its interface is gone, and the engine has ended.
struct LinkEvent {
  bool secured;
  LinkState state;
  uint16_t used_mtu;  // at most that of the start, which packet memory is made for
};
using Event = std::variant<MissedEvent, SeenEvent, LinkEvent>;

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
  PortCount unsecured, secured;
  std::vector<PeerCount> peers;
  std::vector<BypassCount> bypass;  // in the order of the configuration
  std::vector<NamedValue> values;
  std::vector<LcoreCount> lcores;

  // Adds what another lcore counted; times are those of the later.
  void add(const EngineCounts& other);
};

class Engine {
 public:
  virtual ~Engine() = default;

  // Opens the ports and begins to poll with `active` as master key of its slot. Blocks until it runs.
  // Throws EngineError.
  virtual EngineInfo start(const EngineConfig& config, const Aead& aead, uint8_t slot,
                           std::unique_ptr<MasterKey> active) = 0;
  // Ends polling, closes the ports. Blocks until done. Safe to call twice.
  virtual void stop() = 0;

  // Control side. False: the ring is full, the command is still the caller's.
  virtual bool submit(std::unique_ptr<Command>& command) = 0;
  // The next completed command, or null.
  virtual std::unique_ptr<Command> completed() = 0;
  // The next event; false when there is none.
  virtual bool next_event(Event* event) = 0;
  // The next sample; false when there is none.
  virtual bool next_sample(Sample* sample) = 0;
  // Whether samples should be taken: a batch of them waits, or one has waited for kSampleWaitMs.
  virtual bool samples_due() const = 0;
  // Blocks until there may be completions or events or samples are due, or until interrupt(); from a thread
  // of its own. Returns at once while some lie unread: wait again only after having taken them.
  virtual void wait() = 0;
  virtual void interrupt() = 0;

  // Any thread; a snapshot without locks.
  virtual EngineCounts counts() const = 0;
};

}  // namespace psp
