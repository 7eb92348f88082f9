// SPDX-License-Identifier: Apache-2.0
// What an engine can do, and the configuration that it is started with. The configuration holds what the node
// file asks of the engine, checked and with every default filled in; no engine changes it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/sample.h"
#include "psp/address.h"
#include "psp/key_limit.h"
#include "psp/mode.h"

namespace psp {

// The most threads that a node file can ask for.
inline constexpr uint32_t kLcoresAtMost = 64;

// What an engine can do. The dataplane does not start an engine whose node file asks for more.
struct Capabilities {
  struct Families {
    bool ipv4 = false, ipv6 = false;
  };
  std::vector<uint8_t> versions;  // of PSP
  std::vector<Mode> modes;
  Families inner, outer;  // of the packets of hosts, of what leaves the secured port
  std::vector<SamplePoint> sample_points;
  uint8_t crypt_offset = 0;  // the highest, in 4-octet units
  uint32_t lcores = 0;       // the most threads that move packets
  uint32_t max_flows = 0;    // the most egress flows
  uint32_t spis_per_flow = 0;
};

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
  std::vector<Prefix> vips;   // without any nobody is reached, as where an index has no peer
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

// The most rules that a gateway can have.
inline constexpr uint32_t kBypassRulesAtMost = 64;

// The AES-GCM implementation of an engine that encrypts by software.
enum class CryptoChoice : uint8_t { kAuto, kIpsecMb, kLibcrypto };

struct EngineConfig {
  PortConfig unsecured;
  std::vector<Prefix> gateways;  // address as asked for, length of its connected prefix
  PortConfig secured;
  Prefix secured_address;                  // outer source and its connected prefix
  std::optional<Address> secured_gateway;  // next hop beyond the prefix; IPv6 beside an IPv4 address too
  std::vector<Prefix> vips;
  std::vector<PeerConfig> peers;  // by peer number
  uint32_t max_peers = 0;         // that there may be after a reconfiguration; at least those above
  OuterConfig outer;
  bool ingress_acl = true;  // false: packets that authenticate pass
  std::vector<BypassRule> bypass;
  CaptureConfig capture;
  CryptoChoice crypto = CryptoChoice::kAuto;
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
  // Packets that are sealed under one key at most; only tests use less.
  uint64_t most_sealed_per_key = kMostSealedPerKey;
  SamplingConfig sampling;
};

}  // namespace psp
