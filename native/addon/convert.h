// SPDX-License-Identifier: Apache-2.0
// Conversion between JavaScript values and the structs of the engine: read_* for arguments, which are checked
// (js_value.h), and write_* for results.
#pragma once

#include <napi.h>

#include <optional>
#include <string>
#include <vector>

#include "addon/js_value.h"
#include "engine/control/control.h"

namespace psp {

struct EngineOptions {
  std::string kind;
  std::string node;
  SecretVector<uint8_t> bus_secret;  // 32 octets
  EngineConfig config;
  Napi::Function on_events, on_samples;
};

// Wipes the caller's busSecret once it is copied.
EngineOptions read_options(const JsValue& options);
// The part of them that the engine itself needs.
EngineConfig read_engine_config(const JsValue& options);
// 32 octets for each flow.
std::vector<FlowKey> read_flows(const JsValue& value);
// Columns of one length.
std::vector<Offer> read_offers(const JsValue& columns);
SealContext read_binding(const JsValue& binding);
Seal read_seal(const JsValue& seal);
// Numbers below `bound`.
std::vector<uint32_t> read_rows(const JsValue& value, size_t bound);
// Inbound flows and one SPI for each.
WithdrawCommand read_withdraw(const JsValue& inbound, const JsValue& spis);
// VIPs, at most so many peers, and the bypass, as in the options.
ReconfigureCommand read_reconfigure(const JsValue& topology, size_t max_peers);
Refusal read_refusal(const JsValue& value);
// A rate as log2, or absent: none.
std::optional<uint8_t> read_rate(const JsValue& value);
// An SPI that is not reserved.
uint32_t read_spi(const JsValue& value);
// By its name.
Mode read_mode(const JsValue& value);

Napi::Array write_kinds(Napi::Env env);
Napi::Object write_capabilities(Napi::Env env, const Capabilities& capabilities);
Napi::Object write_info(Napi::Env env, const EngineInfo& info);
Napi::Object write_offers(Napi::Env env, const SealedOffers& offers);
Napi::Value write_results(Napi::Env env, const std::vector<InstallResult>& results);
Napi::Array write_events(Napi::Env env, const std::vector<Event>& events);
// Of the first `count` samples.
Napi::Object write_samples(Napi::Env env, const std::vector<Sample>& samples, size_t count);
Napi::Object write_flow_page(Napi::Env env, const FlowsCommand& page);
Napi::Object write_counters(Napi::Env env, const EngineCounts& counts);
// An Error with `code` and the `data` that fills its message in services/shared/errors.ts.
Napi::Error write_error(Napi::Env env, const EngineError& error);
// The rows that each engine reports: its counters before it starts.
Napi::Value engine_counters(const Napi::CallbackInfo& info);
Napi::Array write_drop_reasons(Napi::Env env);
Napi::Array write_values(Napi::Env env);
Napi::Array write_pipes(Napi::Env env);

}  // namespace psp
