// SPDX-License-Identifier: Apache-2.0
// pcapTranscode: converts a capture file on a thread of Node's pool. Needs neither engine nor DPDK.
#pragma once

#include <napi.h>

namespace psp {

// The function of native/addon/engine.ts.
Napi::Value pcap_transcode(const Napi::CallbackInfo& info);

}  // namespace psp
