// SPDX-License-Identifier: Apache-2.0
// A command waits under its ticket until the engine hands it back. Plain keys of offers live only between
// the submission and the completion of their admission.
#include "engine/control/control.h"

#include <algorithm>
#include <utility>

namespace psp {
namespace {

// All that one offer needs between its admission and its seal.
struct Batch {
  std::vector<FlowKey> flows;
  std::vector<Offer> offers;
  SecretVector<uint8_t> keys;
  uint32_t generation;
  SealContext binding;
};

// Never zero, which stands for none.
uint64_t random_cookie() {
  uint64_t cookie = 0;
  while (cookie == 0) random_octets({reinterpret_cast<uint8_t*>(&cookie), sizeof cookie});
  return cookie;
}

std::monostate nothing(Command&) {
  return {};
}

}  // namespace

Control::Control(std::unique_ptr<Engine> engine, std::unique_ptr<Aead> aead, Keyring keyring,
                 EngineConfig config, const std::string& node, std::span<const uint8_t, 32> bus_secret)
    : config_(std::move(config)),
      aead_(std::move(aead)),
      engine_(std::move(engine)),
      keyring_(std::move(keyring)),
      sealer_(bus_secret, node, "dataplane"),
      opener_(bus_secret, node, "keyexchange") {}

EngineInfo Control::start() try {
  const EngineInfo info = engine_->start(config_, *aead_, keyring_.active_slot(), keyring_.take_engine_key());
  secured_mac_ = info.secured.mac;
  return info;
} catch (EngineError& error) {
  if (error.code == "INTERFACE_MISSING" || error.code == "DRIVER_MISSING") {
    error.detail = error.name == config_.unsecured.device ? "unsecured.port" : "secured.port";
  }
  throw;
}

void Control::abandon() {
  complete();
  for (auto& [ticket, pending] : std::exchange(pending_, {})) {
    pending.failed({"ENGINE_FAILED", "", "it was stopped"});
  }
}

void Control::submit(CommandBody body, Pending pending) {
  auto command = std::make_unique<Command>();
  command->body = std::move(body);
  command->context = reinterpret_cast<void*>(++last_ticket_);
  if (!engine_->submit(command)) return pending.failed({"ENGINE_BUSY", "", ""});
  pending_.emplace(last_ticket_, std::move(pending));
}

template <typename T>
void Control::submit(CommandBody body, const Done<T>& done, std::function<T(Command&)> result) {
  submit(std::move(body), {[done, result = std::move(result)](Command& command) { done(result(command)); },
                           [done](const EngineError& error) { done(error); }});
}

void Control::complete() {
  while (std::unique_ptr<Command> command = engine_->completed()) {
    auto pending = pending_.extract(reinterpret_cast<uint64_t>(command->context));
    if (!pending.empty()) pending.mapped().completed(*command);
  }
}

bool Control::next_event(Event* event) {
  if (!engine_->next_event(event)) return false;
  const auto* const link = std::get_if<LinkEvent>(event);
  // Peers that are offered keys from now on send to the MAC address that the port has now.
  if (link != nullptr && link->secured && link->state.present) secured_mac_ = link->state.mac;
  return true;
}

void Control::offer(std::vector<FlowKey> flows, uint16_t peer, uint8_t version, SealContext binding,
                    Done<SealedOffers> done) {
  auto batch = std::make_shared<Batch>();
  batch->keys.resize(flows.size() * key_length(version));
  batch->generation = keyring_.generation();
  batch->binding = std::move(binding);
  AdmitCommand admit;
  for (const FlowKey& flow : flows) {
    uint8_t* key = batch->keys.data() + batch->offers.size() * key_length(version);
    const std::optional<uint32_t> spi = keyring_.next_spi(version, key);
    if (!spi) return done(EngineError{"SPI_EXHAUSTED", "", ""});
    batch->offers.push_back({.spi = *spi,
                             .version = version,
                             .number = keyring_.next_number(),
                             .cookie = config_.peers[peer].cookie ? random_cookie() : 0,
                             .mode = config_.peers[peer].mode,
                             .address = config_.secured_address.address,
                             .mac = secured_mac_});
    const Offer& offer = batch->offers.back();
    admit.entries.push_back({flow.reversed(), offer.spi, version, offer.cookie, peer, offer.mode});
  }
  batch->flows = std::move(flows);
  submit(std::move(admit), {[this, batch, done](Command& command) {
                              if (std::get<AdmitCommand>(command.body).table_full) {
                                return done(EngineError{"TABLE_FULL", "table of receive SPIs", ""});
                              }
                              SealContext& binding = batch->binding;
                              binding.role = KeyRole::kOffer;
                              binding.flows = batch->flows;
                              binding.offers = batch->offers;
                              Seal seal = sealer_.seal(binding, batch->keys);
                              done(SealedOffers{batch->offers, std::move(seal), batch->generation});
                            },
                            [done](const EngineError& error) { done(error); }});
}

OpenedKeys Control::open(std::vector<FlowKey> flows, std::vector<Offer> offers, SealContext binding,
                         const Seal& seal) {
  OpenedKeys opened{std::move(flows), std::move(offers), {}};
  binding.role = KeyRole::kEgress;
  binding.flows = opened.flows;
  binding.offers = opened.offers;
  switch (opener_.open(binding, seal, &opened.keys)) {
    case SealFault::kNone:
      return opened;
    case SealFault::kReplay:
      throw EngineError{"REPLAY", "", ""};
    default:
      throw EngineError{"SEAL_INVALID", "", ""};
  }
}

void Control::install(const OpenedKeys& opened, const std::vector<uint32_t>& rows, uint16_t peer,
                      uint64_t unix_seconds, Done<std::vector<InstallResult>> done) {
  std::vector<size_t> offsets;
  size_t offset = 0;
  for (const Offer& offer : opened.offers) {
    offsets.push_back(offset);
    offset += key_length(offer.version);
  }
  InstallCommand command{.peer = peer, .flows = {}, .keys = {}, .results = {}};
  command.keys.reserve(rows.size());
  for (const uint32_t row : rows) {
    const Offer& offer = opened.offers[row];
    EgressKey& key = command.keys.emplace_back();
    key.spi = offer.spi;
    key.version = offer.version;
    key.mode = offer.mode;
    key.cookie = offer.cookie;
    key.first_iv = unix_seconds << 32;
    key.outer_destination = offer.address;
    key.mac = offer.mac;
    std::copy_n(opened.keys.data() + offsets[row], key_length(offer.version), key.key.data());
    command.flows.push_back(opened.flows[row]);
  }
  command.results.resize(rows.size(), InstallResult::kNotInFlight);
  submit<std::vector<InstallResult>>(std::move(command), done, [](Command& completed) {
    return std::move(std::get<InstallCommand>(completed.body).results);
  });
}

void Control::withdraw(WithdrawCommand command, Done<std::monostate> done) {
  submit<std::monostate>(std::move(command), done, nothing);
}

void Control::refuse(RefuseCommand command, Done<std::monostate> done) {
  submit<std::monostate>(std::move(command), done, nothing);
}

void Control::remove(RemoveCommand command, Done<std::monostate> done) {
  submit<std::monostate>(std::move(command), done, nothing);
}

void Control::rotate(Done<uint32_t> done) {
  if (rotating_) return done(EngineError{"ENGINE_BUSY", "", ""});
  rotating_ = true;
  Keyring::Prepared prepared = keyring_.prepare();
  submit(RotateCommand{prepared.slot, std::move(prepared.engine_key)},
         {[this, done](Command&) {
            rotating_ = false;
            keyring_.activate();
            done(keyring_.generation());
          },
          [this, done](const EngineError& error) {
            rotating_ = false;
            done(error);
          }});
}

void Control::sampling(SamplingCommand command, Done<std::monostate> done) {
  submit<std::monostate>(std::move(command), done, nothing);
}

void Control::flows(uint64_t cursor, uint32_t limit, Done<FlowsCommand> done) {
  FlowsCommand command;
  command.cursor = cursor;
  command.rows.resize(limit);
  submit<FlowsCommand>(std::move(command), done,
                       [](Command& completed) { return std::move(std::get<FlowsCommand>(completed.body)); });
}

}  // namespace psp
