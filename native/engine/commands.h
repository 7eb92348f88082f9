// SPDX-License-Identifier: Apache-2.0
// What the control side asks of an engine. A command travels down, is carried out, and travels back up as its
// own completion, with its results filled in. Its memory belongs to the control side, and the engine borrows
// it in between. An engine carries commands out in the order in which they were submitted.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "engine/config.h"
#include "psp/address.h"
#include "psp/mode.h"
#include "psp/secret.h"

namespace psp {

// What a sender needs for one flow. The key lies in locked memory and is wiped with the command.
struct EgressKey {
  uint32_t spi = 0;
  uint8_t version = 0;
  Mode mode = Mode::kTunnel;
  uint64_t cookie = 0;
  uint64_t first_iv = 0;  // Unix milliseconds << 22 (docs/design.md, "IVs never repeat")
  Address outer_destination{};
  MacAddress mac{};
  std::array<uint8_t, 32> key{};  // 16 octets for version 0
};

enum class InstallResult : uint8_t { kInstalled = 1, kNotInFlight = 2, kSuperseded = 3, kTableFull = 4 };
enum class Refusal : uint8_t { kRefused = 0, kRemoved = 1 };

// Puts egress keys in place and releases held packets, oldest first, before any later packet of the flow.
struct InstallCommand {
  uint16_t peer = 0;
  std::vector<FlowKey> flows;
  SecretVector<EgressKey> keys;
  std::vector<InstallResult> results;  // sized by the control side
};

// Why no offer was made.
enum class OfferFailure : uint8_t {
  kNone,
  kTableFull,      // the table of receive SPIs has no space for all of them
  kSpisExhausted,  // the active master key has too few unused SPIs left; a rotation brings new ones
};

// Makes an offer for each inbound flow. The engine picks a fresh SPI and its key under the active master key,
// and admits packets of the flow under that SPI before it completes the command. It makes all offers or none.
struct OfferCommand {
  std::vector<FlowKey> inbound;
  std::vector<uint64_t> cookies;  // one for each flow; 0: none
  uint16_t peer = 0;
  uint8_t version = 0;
  Mode mode = Mode::kTunnel;
  // Results, in the order of the flows; the control side sizes the columns.
  OfferFailure failure = OfferFailure::kNone;
  uint32_t generation = 0;  // of the master key
  uint32_t spis_left = 0;   // of that master key, after these offers
  std::vector<uint32_t> spis;
  SecretVector<uint8_t> keys;  // 16 octets each under versions 0 and 2, 32 under 1 and 3
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

// Removes both directions of flows.
struct RemoveCommand {
  std::vector<FlowKey> flows;
};

// Replaces the older of the two master keys with a fresh one and makes it active; every SPI of the replaced
// key ends. Offers that are submitted before this command completes may still be of the generation before.
// The control side submits the next rotation only after this one has completed.
struct RotateCommand {
  uint32_t generation = 0;  // result; the first master key has generation 1
};

// Samples one of 2^egress_log2 packets that leave from now on, towards this peer or towards all; none: no
// packet.
struct SamplingCommand {
  std::optional<uint16_t> peer;
  std::optional<uint8_t> egress_log2;
};

// Replaces our VIPs, the peers and the bypass. No packet that is received after the completion is looked up
// in the old ones. Flows and their keys stay: the control side then removes those that are not wanted any
// more. A peer keeps its index and its mode for as long as it is there. Sampling rates stay, too.
struct ReconfigureCommand {
  std::vector<Prefix> vips;
  std::vector<PeerConfig> peers;  // by peer number, at most EngineConfig::max_peers
  std::vector<BypassRule> bypass;
  bool paths_changed = false;      // the MTU or the crypt offset of a peer is another one
  bool failed = false;             // result: there was not enough memory, and nothing changed
  std::shared_ptr<void> prepared;  // the engine's own
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

using CommandBody = std::variant<InstallCommand, OfferCommand, WithdrawCommand, RefuseCommand, RemoveCommand,
                                 RotateCommand, SamplingCommand, ReconfigureCommand, FlowsCommand>;

struct Command {
  CommandBody body;
  uint32_t done = 0;        // the engine's own: entries of the body that it has carried out
  void* context = nullptr;  // the control side's own
};

}  // namespace psp
