// SPDX-License-Identifier: Apache-2.0
// The control side of an engine: seals the engine's offers, opens sealed egress keys, and turns the methods
// of native/addon/engine.ts into commands and their completions. It owns the engine and both directions of
// the bus seals, so that plain key bytes stay in here and in the engine. It is the same for every kind of
// engine and is independent of Node. One thread calls it; that thread also takes what the engine has done,
// with complete(), next_event() and next_sample().
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "engine/engine.h"
#include "psp/bus_seal.h"

namespace psp {

// What a command came to. Called once, from the method itself, from complete() or from abandon().
template <typename T>
using Done = std::function<void(std::variant<T, EngineError>)>;

// Offers of one generation and the seal over their keys.
struct SealedOffers {
  std::vector<Offer> offers;
  Seal seal;
  uint32_t generation;
  uint32_t spis_left;  // of the master key of that generation
};

// Egress keys out of a seal: keys of offers[i] for flows[i], one after another.
struct OpenedKeys {
  std::vector<FlowKey> flows;
  std::vector<Offer> offers;
  SecretVector<uint8_t> keys;
};

class Control {
 public:
  Control(std::unique_ptr<Engine> engine, EngineConfig config, const std::string& node,
          std::span<const uint8_t, 32> bus_secret);

  // Blocks until the engine runs; before any method below, on any thread. Throws EngineError, whose detail is
  // the key of the node file where a device is not to be had.
  EngineInfo start();
  // Blocks until the engine has ended; on any thread. Safe to call twice.
  void stop() { engine_->stop(); }
  // After stop: takes what was still done and fails all other commands.
  void abandon();

  // For the thread that waits on the engine: Engine::wait, interrupt and counts may be called beside the
  // rest.
  Engine& engine() const { return *engine_; }
  const EngineConfig& config() const { return config_; }

  // Seals with this bus secret from now on, and opens seals of this one and of earlier ones.
  void add_bus_secret(std::span<const uint8_t, 32> secret);
  // Opens no more seals that were made with the oldest of several bus secrets, and wipes it.
  void retire_bus_secret() { opener_.retire_secret(); }

  // Offers the reverse of each flow to a peer: all or none, admitted by the engine before they are sealed.
  // Fails with SPI_EXHAUSTED, TABLE_FULL or ENGINE_BUSY. Role, flows and offers of `binding` are filled here.
  void offer(std::vector<FlowKey> flows, uint16_t peer, uint8_t version, SealContext binding,
             Done<SealedOffers> done);
  // Opens egress keys that keyexchange sealed. Throws EngineError SEAL_INVALID or REPLAY.
  OpenedKeys open(std::vector<FlowKey> flows, std::vector<Offer> offers, SealContext binding,
                  const Seal& seal);
  // Installs the keys of `rows`, which name rows of `keys`; their IVs begin at `unix_ms` << 22. The results
  // are in the order of `rows`.
  void install(const OpenedKeys& keys, const std::vector<uint32_t>& rows, uint16_t peer, uint64_t unix_ms,
               Done<std::vector<InstallResult>> done);
  void withdraw(WithdrawCommand command, Done<std::monostate> done);
  void refuse(RefuseCommand command, Done<std::monostate> done);
  // Never fails with ENGINE_BUSY: the caller has forgotten the flows and may want them anew with the next
  // command.
  void remove(RemoveCommand command, Done<std::monostate> done);
  // Rotates the master key; `done` receives the new generation. Fails with ENGINE_BUSY while another rotation
  // is under way.
  void rotate(Done<uint32_t> done);
  // Draws one of 2^egress_log2 packets that leave; none: no packet.
  void sampling(SamplingCommand command, Done<std::monostate> done);
  // Replaces VIPs, peers and bypass; `done` is called once no packet is looked up in the old ones. Fails with
  // ENGINE_BUSY while another replacement is under way, and with ENGINE_FAILED without memory for it; then
  // nothing changes.
  void reconfigure(ReconfigureCommand command, Done<std::monostate> done);
  // Up to `limit` flows from `cursor`, 0 for the first.
  void flows(uint64_t cursor, uint32_t limit, Done<FlowsCommand> done);

  // Calls the `done` of every command that the engine has carried out.
  void complete();
  bool next_event(Event* event);
  bool next_sample(Sample* sample) { return engine_->next_sample(sample); }
  bool samples_due() const { return engine_->samples_due(); }

 private:
  struct Pending {
    std::function<void(Command&)> completed;
    std::function<void(const EngineError&)> failed;
  };
  // Whether a command that finds the ring full fails with ENGINE_BUSY, or waits for space before all later
  // ones, which fail meanwhile.
  enum class WhenFull : bool { kFail, kWait };
  // Hands a command to the engine.
  void submit(CommandBody body, Pending pending, WhenFull when_full = WhenFull::kFail);
  void submit_waiting();
  // Seals the offers that the engine made for the reverse of `flows`.
  void seal_offers(const std::vector<FlowKey>& flows, const OfferCommand& made, SealContext binding,
                   const Done<SealedOffers>& done);
  template <typename T>
  void submit(CommandBody body, const Done<T>& done, std::function<T(Command&)> result);

  EngineConfig config_;
  std::string node_;
  std::unique_ptr<Engine> engine_;
  BusSealer sealer_;
  BusOpener opener_;
  MacAddress secured_mac_{};
  bool rotating_ = false, reconfiguring_ = false;
  uint64_t last_offer_ = 0;  // offers are numbered from 1, across master keys
  uint64_t last_ticket_ = 0;
  std::unordered_map<uint64_t, Pending> pending_;  // by Command::context
  std::deque<std::unique_ptr<Command>> waiting_;   // for space in the ring of commands
};

}  // namespace psp
