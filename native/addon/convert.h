// SPDX-License-Identifier: Apache-2.0
// The only place that reads JavaScript values: value -> plain struct at the door, plain struct -> value on
// the way out. The reading half throws TypeError wherever a value could break memory safety: wrong kinds,
// lengths that do not fit each other, numbers out of range. It copies each buffer when it reads it, since
// reading the next property may run code that changes the buffer.
#pragma once

#include <napi.h>

#include <optional>
#include <string>
#include <vector>

#include "engine/control/control.h"

namespace psp {

enum class CryptoChoice : uint8_t { kAuto, kIpsecMb, kLibcrypto };

struct EngineOptions {
  std::string node;
  SecretVector<uint8_t> bus_secret;  // 32 octets
  EngineConfig config;
  CryptoChoice crypto = CryptoChoice::kAuto;
  Napi::Function on_events, on_samples;
};

// Wipes the caller's busSecret once it is copied.
EngineOptions read_options(Napi::Value value);
// The part of them that the engine itself needs.
EngineConfig read_engine_config(Napi::Object options);
// 32 octets for each flow.
std::vector<FlowKey> read_flows(Napi::Value value, const char* what);
// Columns of one length.
std::vector<Offer> read_offers(Napi::Value value);
SealContext read_binding(Napi::Value value);
Seal read_seal(Napi::Value value);
// Numbers below `bound`.
std::vector<uint32_t> read_rows(Napi::Value value, size_t bound);
// Inbound flows and one SPI for each.
WithdrawCommand read_withdraw(Napi::Value inbound, Napi::Value spis);
Refusal read_refusal(Napi::Value value);
// A rate as log2, or undefined: none.
std::optional<uint8_t> read_rate(Napi::Value value, const char* what);
// A whole number up to `highest`.
uint64_t read_number(Napi::Value value, uint64_t highest, const char* what);
// An SPI that is not reserved.
uint32_t read_spi(Napi::Value value, const char* what);

Napi::Object write_info(Napi::Env env, const EngineInfo& info, const std::string& crypto);
Napi::Object write_offers(Napi::Env env, const SealedOffers& offers);
Napi::Value write_results(Napi::Env env, const std::vector<InstallResult>& results);
Napi::Array write_events(Napi::Env env, const std::vector<Event>& events);
// Of the first `count` samples.
Napi::Object write_samples(Napi::Env env, const std::vector<Sample>& samples, size_t count);
Napi::Object write_flow_page(Napi::Env env, const FlowsCommand& page);
Napi::Object write_counters(Napi::Env env, const EngineCounts& counts);
// An Error with `code` and the `data` that fills its message in services/shared/errors.ts.
Napi::Error write_error(Napi::Env env, const EngineError& error);
Napi::Array write_drop_reasons(Napi::Env env);
Napi::Array write_pipes(Napi::Env env);

}  // namespace psp
