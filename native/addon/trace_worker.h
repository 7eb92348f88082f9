// SPDX-License-Identifier: Apache-2.0
// traceCapture: runs the frames of a capture through the engine's pipes on a thread of Node's pool.
// Initializes the EAL without privileges, hugepages or ports.
#pragma once

#include <napi.h>

namespace psp {

// The function of native/addon/engine.ts.
Napi::Value trace_capture(const Napi::CallbackInfo& info);

}  // namespace psp
