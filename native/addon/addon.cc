// SPDX-License-Identifier: Apache-2.0
// What the addon exports: native/addon/engine.ts declares it.
#include <napi.h>

#include "addon/convert.h"
#include "addon/engine_object.h"
#include "addon/opened_keys_object.h"
#include "addon/pcap_worker.h"
#include "addon/trace_worker.h"
#include "psp/aead.h"

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  psp::OpenedKeysObject::define(env);
  exports.Set("Engine", psp::EngineObject::define(env));
  exports.Set("engines", psp::write_kinds(env));
  exports.Set("hasIpsecMb", psp::make_aead_ipsec_mb() != nullptr);
  exports.Set("pcapTranscode", Napi::Function::New<psp::pcap_transcode>(env, "pcapTranscode"));
  exports.Set("traceCapture", Napi::Function::New<psp::trace_capture>(env, "traceCapture"));
  exports.Set("engineCounters", Napi::Function::New<psp::engine_counters>(env, "engineCounters"));
  exports.Set("dropReasons", psp::write_drop_reasons(env));
  exports.Set("values", psp::write_values(env));
  exports.Set("pipes", psp::write_pipes(env));
  return exports;
}

NODE_API_MODULE(psp_addon, init)
