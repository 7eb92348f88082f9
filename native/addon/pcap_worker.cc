// SPDX-License-Identifier: Apache-2.0
// The worker owns the keys and wipes them when it is destroyed; the caller keeps the descriptors.
#include "addon/pcap_worker.h"

#include <utility>
#include <variant>

#include "addon/pcap_convert.h"

namespace psp {
namespace {

class PcapWorker : public Napi::AsyncWorker {
 public:
  PcapWorker(Napi::Env env, TranscodeOptions options)
      : Napi::AsyncWorker(env, "psp pcap"),
        options_(std::move(options)),
        deferred_(Napi::Promise::Deferred::New(env)) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

  void Execute() override {
    FileSource source(options_.input);
    FileSink sink(options_.output);
    try {
      outcome_ = options_.seal ? encrypt_capture(source, sink, *options_.keys, *options_.seal, options_.rules)
                               : decrypt_capture(source, sink, *options_.keys, options_.rules);
    } catch (const CaptureFault& fault) {
      outcome_ = fault;
    }
  }

  void OnOK() override {
    const Napi::Env env = Env();
    if (const auto* fault = std::get_if<CaptureFault>(&outcome_)) {
      deferred_.Reject(write_capture_fault(env, *fault).Value());
    } else {
      deferred_.Resolve(write_transcode_counts(env, std::get<TranscodeCounts>(outcome_)));
    }
  }

  // Whatever else was thrown: no memory.
  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

 private:
  TranscodeOptions options_;
  Napi::Promise::Deferred deferred_;
  std::variant<TranscodeCounts, CaptureFault> outcome_;
};

}  // namespace

Napi::Value pcap_transcode(const Napi::CallbackInfo& info) {
  auto* const worker = new PcapWorker(info.Env(), read_transcode_options({info[0], ""}));
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

}  // namespace psp
