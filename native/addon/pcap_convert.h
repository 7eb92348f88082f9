// SPDX-License-Identifier: Apache-2.0
// What convert.h is for the engine, for pcapTranscode: value -> plain struct at the door, plain struct ->
// value on the way out. The reading half throws TypeError. What other tools for capture files read alike is
// declared here.
#pragma once

#include <napi.h>

#include <memory>
#include <optional>

#include "pcap/fault.h"
#include "pcap/transcode.h"

namespace psp {

struct TranscodeOptions {
  int input = -1, output = -1;
  std::unique_ptr<CaptureKeys> keys;
  std::optional<SealOptions> seal;  // without it: decrypt
  TranscodeRules rules;
};

// Wipes the caller's masterKeys once they are copied.
TranscodeOptions read_transcode_options(Napi::Value value);

Napi::Object read_object(Napi::Value value, const char* what);
uint64_t read_u64(Napi::Value value, const char* what);
Address read_address(Napi::Value value, const char* what);
// kMasterKeysLength octets as they lie there, to be wiped once they are copied.
std::span<uint8_t, kMasterKeysLength> read_master_keys(Napi::Value value);

Napi::Object write_transcode_counts(Napi::Env env, const TranscodeCounts& counts);
// An Error with `code` and the `data` that fills its message in services/shared/errors.ts, but for the file.
Napi::Error write_capture_fault(Napi::Env env, const CaptureFault& fault);

}  // namespace psp
