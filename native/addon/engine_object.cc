// SPDX-License-Identifier: Apache-2.0
// Every command's promise is settled by a `done` made here; arguments are read before anything is done with
// them. process.exit() skips the environment's hooks and runs C's exit handlers while other threads still
// run, so engines that run are listed for both.
#include "addon/engine_object.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <utility>

#include "addon/engine_kinds.h"
#include "addon/opened_keys_object.h"
#include "engine/start_thread.h"

namespace psp {
namespace {

constexpr uint8_t kHighestVersion = 3;  // is_known_version

constexpr size_t kBusSecretLength = 32;
constexpr uint32_t kFlowsPerPage = 65536;
// 2^53: cursors cross as numbers.
constexpr uint64_t kCursorAtMost = uint64_t{1} << 53;

// Engines between start and stop; the JavaScript thread's.
std::vector<EngineObject*> alive;

void halt_one(void* engine) {
  static_cast<EngineObject*>(engine)->halt();
}

void halt_all() {
  for (EngineObject* engine : alive) engine->halt();
}

uint64_t unix_ms() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                   std::chrono::system_clock::now().time_since_epoch())
                                   .count());
}

// Settles a promise with what a command came to, written by write(env, result).
template <typename T, typename Write>
Done<T> settle(Napi::Promise::Deferred deferred, Write write) {
  return [deferred, write](std::variant<T, EngineError> outcome) {
    const Napi::Env env = deferred.Env();
    if (const auto* error = std::get_if<EngineError>(&outcome)) {
      deferred.Reject(write_error(env, *error).Value());
    } else {
      deferred.Resolve(write(env, std::get<T>(outcome)));
    }
  };
}

Napi::Value write_nothing(Napi::Env env, std::monostate) {
  return env.Undefined();
}

}  // namespace

Napi::Function EngineObject::define(Napi::Env env) {
  return DefineClass(
      env, "Engine",
      {InstanceMethod<&EngineObject::capabilities>("capabilities"),
       InstanceMethod<&EngineObject::start>("start"), InstanceMethod<&EngineObject::stop>("stop"),
       InstanceMethod<&EngineObject::add_bus_secret>("addBusSecret"),
       InstanceMethod<&EngineObject::retire_bus_secret>("retireBusSecret"),
       InstanceMethod<&EngineObject::offer>("offer"), InstanceMethod<&EngineObject::open>("open"),
       InstanceMethod<&EngineObject::install>("install"), InstanceMethod<&EngineObject::withdraw>("withdraw"),
       InstanceMethod<&EngineObject::refuse>("refuse"), InstanceMethod<&EngineObject::remove>("remove"),
       InstanceMethod<&EngineObject::rotate>("rotate"), InstanceMethod<&EngineObject::sampling>("sampling"),
       InstanceMethod<&EngineObject::reconfigure>("reconfigure"),
       InstanceMethod<&EngineObject::flows>("flows"), InstanceMethod<&EngineObject::counters>("counters")});
}

EngineObject::EngineObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<EngineObject>(info) {
  const JsValue given(info[0], "");
  EngineOptions options = read_options(given);
  std::unique_ptr<Engine> engine = make_engine(options.kind);
  if (!engine) given["kind"].refuse("the name of an engine that is built in");
  on_events_ = Napi::Persistent(options.on_events);
  on_samples_ = Napi::Persistent(options.on_samples);
  control_ = std::make_unique<Control>(
      std::move(engine), std::move(options.config), options.node,
      std::span<const uint8_t, kBusSecretLength>(options.bus_secret.data(), kBusSecretLength));
}

EngineObject::~EngineObject() {
  halt();
  std::erase(alive, this);
}

void EngineObject::halt() {
  if (worker_.joinable()) worker_.join();
  end_pump();
  if (phase_ != Phase::kIdle) control_->stop();
}

Napi::Value EngineObject::capabilities(const Napi::CallbackInfo& info) {
  try {
    return write_capabilities(info.Env(), control_->engine().capabilities(control_->config()));
  } catch (const EngineError& error) {
    throw write_error(info.Env(), error);
  }
}

Napi::Value EngineObject::start(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (phase_ != Phase::kIdle) throw Napi::Error::New(env, "an engine starts once");
  phase_ = Phase::kStarting;
  Ref();
  wake_ = Napi::ThreadSafeFunction::New(env, on_events_.Value(), "psp engine", 0, 1,
                                        [this](Napi::Env) { Unref(); });
  // After the thread-safe function, whose own hook must run later.
  napi_add_env_cleanup_hook(env, halt_one, this);
  static const int registered = std::atexit(halt_all);
  static_cast<void>(registered);
  alive.push_back(this);
  start_ = Napi::Promise::Deferred::New(env);
  const Napi::Promise promise = start_->Promise();
  try {
    worker_ = start_thread([this] {
      std::variant<EngineInfo, EngineError> outcome;
      try {
        outcome = control_->start();
      } catch (const EngineError& error) {
        outcome = error;
      } catch (const std::exception& error) {
        outcome = EngineError{"ENGINE_FAILED", "", error.what()};
      }
      wake_.NonBlockingCall([this, outcome](Napi::Env env, Napi::Function) { started(env, outcome); });
    });
  } catch (const EngineError& error) {
    start_->Reject(write_error(env, error).Value());
    end(env);
  }
  return promise;
}

void EngineObject::started(Napi::Env env, std::variant<EngineInfo, EngineError> outcome) {
  worker_.join();
  if (std::holds_alternative<EngineInfo>(outcome)) {
    try {
      pump_ = start_thread([this] { pump(); });
    } catch (const EngineError& error) {
      control_->stop();
      outcome = error;
    }
  }
  if (const auto* error = std::get_if<EngineError>(&outcome)) {
    start_->Reject(write_error(env, *error).Value());
    return end(env);
  }
  start_->Resolve(write_info(env, std::get<EngineInfo>(outcome)));
  phase_ = Phase::kRunning;
  if (!stops_.empty()) begin_stop();
}

Napi::Value EngineObject::stop(const Napi::CallbackInfo& info) {
  stops_.push_back(Napi::Promise::Deferred::New(info.Env()));
  const Napi::Promise promise = stops_.back().Promise();
  if (phase_ == Phase::kIdle) phase_ = Phase::kStopped;
  if (phase_ == Phase::kStopped) settle_stops(info.Env());
  if (phase_ == Phase::kRunning) begin_stop();
  return promise;
}

void EngineObject::begin_stop() {
  phase_ = Phase::kStopping;
  const auto stop = [this] {
    end_pump();
    control_->stop();
    wake_.NonBlockingCall([this](Napi::Env env, Napi::Function) { stopped(env); });
  };
  try {
    worker_ = start_thread(stop);
  } catch (const EngineError&) {
    // Without another thread this one waits until the engine has stopped.
    stop();
  }
}

void EngineObject::stopped(Napi::Env env) {
  if (worker_.joinable()) worker_.join();
  control_->abandon();
  end(env);
}

void EngineObject::end(Napi::Env env) {
  phase_ = Phase::kStopped;
  settle_stops(env);
  std::erase(alive, this);
  napi_remove_env_cleanup_hook(env, halt_one, this);
  on_events_.Reset();
  on_samples_.Reset();
  wake_.Release();
}

void EngineObject::settle_stops(Napi::Env env) {
  for (const Napi::Promise::Deferred& stop : std::exchange(stops_, {})) stop.Resolve(env.Undefined());
}

void EngineObject::pump() {
  while (!ending_) {
    control_->engine().wait();
    if (ending_) return;
    taken_ = false;
    wake_.NonBlockingCall([this](Napi::Env, Napi::Function) { take(); });
    // end_pump sets ending_ first, so one of the two is seen. It does not wait until JavaScript has taken
    // what this wake-up was for, so nothing may be looked at afterwards.
    if (!ending_) taken_.wait(false);
  }
}

void EngineObject::end_pump() {
  ending_ = true;
  rearm();
  if (!pump_.joinable()) return;
  control_->engine().interrupt();
  pump_.join();
}

void EngineObject::take() {
  control_->complete();
  const bool reporting = !events_.empty();
  Event event;
  while (control_->next_event(&event)) events_.push_back(event);
  if (!reporting && !events_.empty()) {
    wake_.NonBlockingCall([this](Napi::Env env, Napi::Function on_events) { report_events(env, on_events); });
  }
  if (!control_->samples_due()) return rearm();
  // The pump wakes JavaScript again only after these: so a slow consumer of samples finds no more of them
  // queued than this, and the event loop turns in between.
  wake_.NonBlockingCall([this](Napi::Env env, Napi::Function) { report_samples(env); });
}

void EngineObject::rearm() {
  taken_ = true;
  taken_.notify_one();
}

void EngineObject::report_events(Napi::Env env, Napi::Function on_events) {
  const std::vector<Event> events = std::exchange(events_, {});
  try {
    on_events.Call({write_events(env, events)});
  } catch (const Napi::Error& error) {
    napi_fatal_exception(env, error.Value());
  }
}

void EngineObject::report_samples(Napi::Env env) {
  if (phase_ == Phase::kStopped) return;
  samples_.resize(kSampleBatch);
  size_t count = 0;
  while (count < samples_.size() && control_->next_sample(&samples_[count])) ++count;
  try {
    if (count > 0) on_samples_.Call({write_samples(env, samples_, count)});
  } catch (const Napi::Error& error) {
    napi_fatal_exception(env, error.Value());
  }
  rearm();
}

Control& EngineObject::running(const Napi::CallbackInfo& info) {
  if (phase_ != Phase::kRunning) throw Napi::Error::New(info.Env(), "the engine does not run");
  return *control_;
}

uint16_t EngineObject::read_peer(const JsValue& value) const {
  const size_t peers = control_->config().peers.size();
  if (peers == 0) value.refuse("absent, as there are no peers");
  return value.number_of<uint16_t>(peers - 1);
}

Napi::Value EngineObject::add_bus_secret(const Napi::CallbackInfo& info) {
  const SecretVector<uint8_t> secret = JsValue(info[0], "secret").secret(kBusSecretLength);
  running(info).add_bus_secret(std::span<const uint8_t, kBusSecretLength>(secret.data(), kBusSecretLength));
  return info.Env().Undefined();
}

Napi::Value EngineObject::retire_bus_secret(const Napi::CallbackInfo& info) {
  running(info).retire_bus_secret();
  return info.Env().Undefined();
}

Napi::Value EngineObject::offer(const Napi::CallbackInfo& info) {
  Control& control = running(info);
  std::vector<FlowKey> flows = read_flows({info[0], "flows"});
  const uint16_t peer = read_peer({info[1], "peer"});
  const auto version = JsValue(info[2], "version").number_of<uint8_t>(kHighestVersion);
  SealContext binding = read_binding({info[3], "binding"});
  const auto deferred = Napi::Promise::Deferred::New(info.Env());
  control.offer(std::move(flows), peer, version, std::move(binding),
                settle<SealedOffers>(deferred, write_offers));
  return deferred.Promise();
}

Napi::Value EngineObject::open(const Napi::CallbackInfo& info) {
  Control& control = running(info);
  std::vector<FlowKey> flows = read_flows({info[0], "flows"});
  std::vector<Offer> offers = read_offers({info[1], "offers"});
  if (!offers.empty() && offers.size() != flows.size()) {
    throw Napi::TypeError::New(info.Env(), "offers must be one for each flow, or none");
  }
  SealContext binding = read_binding({info[2], "binding"});
  const Seal seal = read_seal({info[3], "seal"});
  try {
    return OpenedKeysObject::create(
        info.Env(), control.open(std::move(flows), std::move(offers), std::move(binding), seal));
  } catch (const EngineError& error) {
    throw write_error(info.Env(), error);
  }
}

Napi::Value EngineObject::install(const Napi::CallbackInfo& info) {
  Control& control = running(info);
  OpenedKeysObject* object = OpenedKeysObject::of({info[0], "keys"});
  const std::vector<uint32_t> rows = read_rows({info[1], "rows"}, object->count());
  const uint16_t peer = read_peer({info[2], "peer"});
  std::optional<OpenedKeys> keys = object->take();
  if (!keys) throw Napi::Error::New(info.Env(), "these keys were installed or released before");
  const auto deferred = Napi::Promise::Deferred::New(info.Env());
  const auto settled = settle<std::vector<InstallResult>>(deferred, write_results);
  const auto busy = std::make_shared<bool>(false);
  control.install(*keys, rows, peer, unix_ms(),
                  [settled, busy](std::variant<std::vector<InstallResult>, EngineError> outcome) {
                    const auto* error = std::get_if<EngineError>(&outcome);
                    *busy = error != nullptr && error->code == "ENGINE_BUSY";
                    settled(std::move(outcome));
                  });
  if (*busy) object->give_back(std::move(*keys));
  return deferred.Promise();
}

Napi::Value EngineObject::withdraw(const Napi::CallbackInfo& info) {
  Control& control = running(info);
  WithdrawCommand command = read_withdraw({info[0], "inbound"}, {info[1], "spis"});
  const auto deferred = Napi::Promise::Deferred::New(info.Env());
  control.withdraw(std::move(command), settle<std::monostate>(deferred, write_nothing));
  return deferred.Promise();
}

Napi::Value EngineObject::refuse(const Napi::CallbackInfo& info) {
  Control& control = running(info);
  RefuseCommand command{.flows = read_flows({info[0], "flows"}),
                        .refusal = read_refusal({info[1], "refusal"}),
                        .hold_down_ms = JsValue(info[2], "holdDownMs").number_of<uint32_t>()};
  const auto deferred = Napi::Promise::Deferred::New(info.Env());
  control.refuse(std::move(command), settle<std::monostate>(deferred, write_nothing));
  return deferred.Promise();
}

Napi::Value EngineObject::remove(const Napi::CallbackInfo& info) {
  Control& control = running(info);
  RemoveCommand command{.flows = read_flows({info[0], "flows"})};
  const auto deferred = Napi::Promise::Deferred::New(info.Env());
  control.remove(std::move(command), settle<std::monostate>(deferred, write_nothing));
  return deferred.Promise();
}

Napi::Value EngineObject::rotate(const Napi::CallbackInfo& info) {
  Control& control = running(info);
  const auto deferred = Napi::Promise::Deferred::New(info.Env());
  control.rotate(settle<uint32_t>(deferred, [](Napi::Env env, uint32_t generation) {
    auto result = Napi::Object::New(env);
    result.Set("generation", generation);
    return result;
  }));
  return deferred.Promise();
}

Napi::Value EngineObject::sampling(const Napi::CallbackInfo& info) {
  Control& control = running(info);
  SamplingCommand command;
  command.egress_log2 = read_rate({info[0], "egressLog2"});
  const JsValue peer(info[1], "peer");
  if (!peer.is_absent()) command.peer = read_peer(peer);
  const auto deferred = Napi::Promise::Deferred::New(info.Env());
  control.sampling(command, settle<std::monostate>(deferred, write_nothing));
  return deferred.Promise();
}

Napi::Value EngineObject::reconfigure(const Napi::CallbackInfo& info) {
  Control& control = running(info);
  ReconfigureCommand command = read_reconfigure({info[0], "topology"}, control.config().max_peers);
  const auto deferred = Napi::Promise::Deferred::New(info.Env());
  control.reconfigure(std::move(command), settle<std::monostate>(deferred, write_nothing));
  return deferred.Promise();
}

Napi::Value EngineObject::flows(const Napi::CallbackInfo& info) {
  Control& control = running(info);
  const uint64_t cursor = JsValue(info[0], "cursor").number(kCursorAtMost);
  const auto limit = JsValue(info[1], "limit").number_of<uint32_t>(kFlowsPerPage);
  const auto deferred = Napi::Promise::Deferred::New(info.Env());
  control.flows(cursor, limit, settle<FlowsCommand>(deferred, write_flow_page));
  return deferred.Promise();
}

Napi::Value EngineObject::counters(const Napi::CallbackInfo& info) {
  const Control& control = running(info);
  EngineCounts counts = control.engine().counts();
  counts.peers.resize(std::min(counts.peers.size(), control.config().peers.size()));
  counts.bypass.resize(std::min(counts.bypass.size(), control.config().bypass.size()));
  return write_counters(info.Env(), counts);
}

}  // namespace psp
