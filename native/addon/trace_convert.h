// SPDX-License-Identifier: Apache-2.0
// The counterpart of convert.h for traceCapture: converts JavaScript values to plain structs and back.
#pragma once

#include <napi.h>

#include "addon/js_value.h"
#include "trace/trace.h"

namespace psp {

struct TraceOptions {
  int input = -1;
  uint32_t limit = 0;
  TraceConfig config;
};

// Throws TypeError. Wipes the caller's masterKeys once they are copied.
TraceOptions read_trace_options(const JsValue& options);

Napi::Object write_trace(Napi::Env env, const CaptureTrace& trace);

}  // namespace psp
