// SPDX-License-Identifier: Apache-2.0
// The worker owns the keys and wipes them when it is destroyed; the caller keeps the descriptor.
#include "addon/trace_worker.h"

#include <utility>
#include <variant>

#include "addon/convert.h"
#include "addon/pcap_convert.h"
#include "addon/trace_convert.h"

namespace psp {
namespace {

class TraceWorker : public Napi::AsyncWorker {
 public:
  TraceWorker(Napi::Env env, TraceOptions options)
      : Napi::AsyncWorker(env, "psp trace"),
        options_(std::move(options)),
        deferred_(Napi::Promise::Deferred::New(env)) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

  void Execute() override {
    FileSource source(options_.input);
    try {
      outcome_ = trace_capture(source, std::move(options_.config), options_.limit);
    } catch (const CaptureFault& fault) {
      outcome_ = fault;
    } catch (const EngineError& error) {
      outcome_ = error;
    }
  }

  void OnOK() override {
    const Napi::Env env = Env();
    if (const auto* fault = std::get_if<CaptureFault>(&outcome_)) {
      deferred_.Reject(write_capture_fault(env, *fault).Value());
    } else if (const auto* error = std::get_if<EngineError>(&outcome_)) {
      deferred_.Reject(write_error(env, *error).Value());
    } else {
      deferred_.Resolve(write_trace(env, std::get<CaptureTrace>(outcome_)));
    }
  }

  // Whatever else was thrown: no memory.
  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

 private:
  TraceOptions options_;
  Napi::Promise::Deferred deferred_;
  std::variant<CaptureTrace, CaptureFault, EngineError> outcome_;
};

}  // namespace

Napi::Value trace_capture(const Napi::CallbackInfo& info) {
  auto* const worker = new TraceWorker(info.Env(), read_trace_options({info[0], ""}));
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

}  // namespace psp
