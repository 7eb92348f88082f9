// SPDX-License-Identifier: Apache-2.0
// A command waits under its ticket until the engine hands it back. The plain keys of offers lie in their
// command, which is wiped once they are sealed.
#include "engine/control/control.h"

#include <algorithm>
#include <utility>

#include "psp/aead.h"

namespace psp {
namespace {

// A clock that is far ahead leaves space for 2^60 IVs all the same, more than any process uses.
// IVs begin at the Unix time of the install, so many for each millisecond: more than any lcores seal, so that
// the counter never passes the clock, and a later start of this gateway begins above all IVs of an earlier
// one.
constexpr uint32_t kIvBitsPerMs = 22;
// At least 2^60 IVs are ahead of every key. This time is in the year 2100.
constexpr uint64_t kLatestIvMs = (uint64_t{1} << (64 - kIvBitsPerMs)) - (uint64_t{1} << (60 - kIvBitsPerMs));

// Never zero, which stands for none.
uint64_t random_cookie() {
  uint64_t cookie = 0;
  while (cookie == 0) random_octets({reinterpret_cast<uint8_t*>(&cookie), sizeof cookie});
  return cookie;
}

// The dataplane's name in its seals.
constexpr char kOwnSender[] = "dataplane";

// Whether packets to a peer that stays are sealed in another way.
bool paths_differ(const std::vector<PeerConfig>& before, const std::vector<PeerConfig>& after) {
  for (size_t i = 0; i < std::min(before.size(), after.size()); ++i) {
    if (before[i].mtu != after[i].mtu || before[i].crypt_offset != after[i].crypt_offset) return true;
  }
  return false;
}

std::monostate nothing(Command&) {
  return {};
}

}  // namespace

Control::Control(std::unique_ptr<Engine> engine, EngineConfig config, const std::string& node,
                 std::span<const uint8_t, 32> bus_secret)
    : config_(std::move(config)),
      node_(node),
      engine_(std::move(engine)),
      sealer_(bus_secret, node, kOwnSender),
      opener_(bus_secret, node, "keyexchange") {}

EngineInfo Control::start() try {
  const EngineInfo info = engine_->start(config_);
  secured_mac_ = info.secured.mac;
  return info;
} catch (EngineError& error) {
  if (error.code == "INTERFACE_MISSING" || error.code == "DRIVER_MISSING") {
    error.detail = error.name == config_.unsecured.device ? "unsecured.port" : "secured.port";
  }
  throw;
}

void Control::abandon() {
  waiting_.clear();
  complete();
  for (auto& [ticket, pending] : std::exchange(pending_, {})) {
    pending.failed({"ENGINE_FAILED", "", "it was stopped"});
  }
}

void Control::submit(CommandBody body, Pending pending, WhenFull when_full) {
  auto command = std::make_unique<Command>();
  command->body = std::move(body);
  command->context = reinterpret_cast<void*>(++last_ticket_);
  if (!waiting_.empty() || !engine_->submit(command)) {
    if (when_full == WhenFull::kFail) return pending.failed({"ENGINE_BUSY", "", ""});
    waiting_.push_back(std::move(command));
  }
  pending_.emplace(last_ticket_, std::move(pending));
}

void Control::submit_waiting() {
  while (!waiting_.empty() && engine_->submit(waiting_.front())) waiting_.pop_front();
}

template <typename T>
void Control::submit(CommandBody body, const Done<T>& done, std::function<T(Command&)> result) {
  submit(std::move(body), {[done, result = std::move(result)](Command& command) { done(result(command)); },
                           [done](const EngineError& error) { done(error); }});
}

void Control::complete() {
  submit_waiting();
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

void Control::add_bus_secret(std::span<const uint8_t, 32> secret) {
  sealer_ = BusSealer(secret, node_, kOwnSender);
  opener_.add_secret(secret);
}

void Control::offer(std::vector<FlowKey> flows, uint16_t peer, uint8_t version, SealContext binding,
                    Done<SealedOffers> done) {
  const PeerConfig& terms = config_.peers[peer];
  OfferCommand command;
  command.peer = peer;
  command.version = version;
  command.mode = terms.mode;
  for (const FlowKey& flow : flows) {
    command.inbound.push_back(flow.reversed());
    command.cookies.push_back(terms.cookie ? random_cookie() : 0);
  }
  command.spis.resize(flows.size());
  command.keys.resize(flows.size() * key_length(version));
  submit(std::move(command),
         {[this, flows = std::move(flows), binding = std::move(binding), done](Command& completed) {
            seal_offers(flows, std::get<OfferCommand>(completed.body), binding, done);
          },
          [done](const EngineError& error) { done(error); }});
}

void Control::seal_offers(const std::vector<FlowKey>& flows, const OfferCommand& made, SealContext binding,
                          const Done<SealedOffers>& done) {
  if (made.failure == OfferFailure::kSpisExhausted) return done(EngineError{"SPI_EXHAUSTED", "", ""});
  if (made.failure == OfferFailure::kTableFull) {
    return done(EngineError{"TABLE_FULL", "table of receive SPIs", ""});
  }
  std::vector<Offer> offers;
  for (size_t i = 0; i < made.spis.size(); ++i) {
    offers.push_back({.spi = made.spis[i],
                      .version = made.version,
                      .number = ++last_offer_,
                      .cookie = made.cookies[i],
                      .mode = made.mode,
                      .address = config_.secured_address.address,
                      .mac = secured_mac_});
  }
  binding.role = KeyRole::kOffer;
  binding.flows = flows;
  binding.offers = offers;
  Seal seal = sealer_.seal(binding, made.keys);
  done(SealedOffers{std::move(offers), std::move(seal), made.generation, made.spis_left});
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
                      uint64_t unix_ms, Done<std::vector<InstallResult>> done) {
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
    key.first_iv = std::min(unix_ms, kLatestIvMs) << kIvBitsPerMs;
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
  submit(std::move(command),
         {[done](Command&) { done(std::monostate{}); }, [done](const EngineError& error) { done(error); }},
         WhenFull::kWait);
}

void Control::rotate(Done<uint32_t> done) {
  if (rotating_) return done(EngineError{"ENGINE_BUSY", "", ""});
  rotating_ = true;
  submit(RotateCommand{}, {[this, done](Command& completed) {
                             rotating_ = false;
                             done(std::get<RotateCommand>(completed.body).generation);
                           },
                           [this, done](const EngineError& error) {
                             rotating_ = false;
                             done(error);
                           }});
}

void Control::sampling(SamplingCommand command, Done<std::monostate> done) {
  submit<std::monostate>(std::move(command), done, nothing);
}

void Control::reconfigure(ReconfigureCommand command, Done<std::monostate> done) {
  if (reconfiguring_) return done(EngineError{"ENGINE_BUSY", "", ""});
  reconfiguring_ = true;
  command.paths_changed = paths_differ(config_.peers, command.peers);
  submit(std::move(command),
         {[this, done](Command& completed) {
            reconfiguring_ = false;
            auto& body = std::get<ReconfigureCommand>(completed.body);
            if (body.failed) {
              return done(EngineError{"ENGINE_FAILED", "", "there is no memory for peers"});
            }
            config_.vips = std::move(body.vips);
            config_.peers = std::move(body.peers);
            config_.bypass = std::move(body.bypass);
            done(std::monostate{});
          },
          [this, done](const EngineError& error) {
            reconfiguring_ = false;
            done(error);
          }});
}

void Control::flows(uint64_t cursor, uint32_t limit, Done<FlowsCommand> done) {
  FlowsCommand command;
  command.cursor = cursor;
  command.rows.resize(limit);
  submit<FlowsCommand>(std::move(command), done,
                       [](Command& completed) { return std::move(std::get<FlowsCommand>(completed.body)); });
}

}  // namespace psp
