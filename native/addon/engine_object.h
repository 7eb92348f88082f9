// SPDX-License-Identifier: Apache-2.0
// The JavaScript class Engine: translates each method into a call of Control and settles its promise.
// Threads: JavaScript's runs every method and takes what the engine has done; a pump waits on the engine and
// wakes JavaScript once, however much has happened; starting and stopping block, so each runs on a worker.
// From start to stop the object keeps itself, and the process, alive. When the process or the environment
// ends without stop, halt() ends the threads first.
//
//   idle -> starting -> running -> stopping -> stopped
//               \___________________________/
#pragma once

#include <napi.h>

#include <atomic>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "addon/convert.h"
#include "engine/control/control.h"

namespace psp {

class EngineObject : public Napi::ObjectWrap<EngineObject> {
 public:
  static Napi::Function define(Napi::Env env);

  // Copies the options, wipes their secret; opens nothing yet.
  explicit EngineObject(const Napi::CallbackInfo& info);
  ~EngineObject() override;

  // Ends threads and engine without a word to JavaScript. Blocks; safe to call twice.
  void halt();

 private:
  enum class Phase { kIdle, kStarting, kRunning, kStopping, kStopped };

  // The methods of native/addon/engine.ts.
  Napi::Value capabilities(const Napi::CallbackInfo& info);
  Napi::Value start(const Napi::CallbackInfo& info);
  Napi::Value stop(const Napi::CallbackInfo& info);
  Napi::Value add_bus_secret(const Napi::CallbackInfo& info);
  Napi::Value retire_bus_secret(const Napi::CallbackInfo& info);
  Napi::Value offer(const Napi::CallbackInfo& info);
  Napi::Value open(const Napi::CallbackInfo& info);
  Napi::Value install(const Napi::CallbackInfo& info);
  Napi::Value withdraw(const Napi::CallbackInfo& info);
  Napi::Value refuse(const Napi::CallbackInfo& info);
  Napi::Value remove(const Napi::CallbackInfo& info);
  Napi::Value rotate(const Napi::CallbackInfo& info);
  Napi::Value sampling(const Napi::CallbackInfo& info);
  Napi::Value reconfigure(const Napi::CallbackInfo& info);
  Napi::Value flows(const Napi::CallbackInfo& info);
  Napi::Value counters(const Napi::CallbackInfo& info);

  // Throws when the engine does not run.
  Control& running(const Napi::CallbackInfo& info);
  uint16_t read_peer(const JsValue& value) const;

  // On the JavaScript thread, once the worker has done its part.
  void started(Napi::Env env, std::variant<EngineInfo, EngineError> outcome);
  void stopped(Napi::Env env);
  void begin_stop();
  void settle_stops(Napi::Env env);
  // Starting failed or stopping is over: the object goes free once the last wake-up has run.
  void end(Napi::Env env);

  void pump();
  void end_pump();
  // On the JavaScript thread: settles promises, and in a turn of its own, so that what awaited those promises
  // has run, reports the events.
  void take();
  void report_events(Napi::Env env, Napi::Function on_events);
  // Takes one batch of samples, behind the events, and reports it.
  void report_samples(Napi::Env env);
  // Lets the pump wake JavaScript again.
  void rearm();

  std::unique_ptr<Control> control_;
  Napi::FunctionReference on_events_, on_samples_;
  Phase phase_ = Phase::kIdle;
  std::optional<Napi::Promise::Deferred> start_;
  std::vector<Napi::Promise::Deferred> stops_;
  std::vector<Event> events_;
  std::vector<Sample> samples_;  // one batch, used again

  Napi::ThreadSafeFunction wake_;
  std::atomic<bool> taken_ = true;  // false from a wake-up until JavaScript has taken what it was for
  std::atomic<bool> ending_ = false;
  std::thread worker_;
  std::thread pump_;
};

}  // namespace psp
