// SPDX-License-Identifier: Apache-2.0
// The counterpart of convert.h for pcapTranscode: converts JavaScript values to plain structs and back.
#pragma once

#include <napi.h>

#include <memory>
#include <optional>

#include "addon/js_value.h"
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
TranscodeOptions read_transcode_options(const JsValue& options);

Napi::Object write_transcode_counts(Napi::Env env, const TranscodeCounts& counts);
// An Error with `code` and the `data` that fills its message in services/shared/errors.ts, but for the file.
Napi::Error write_capture_fault(Napi::Env env, const CaptureFault& fault);

}  // namespace psp
