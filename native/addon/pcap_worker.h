// SPDX-License-Identifier: Apache-2.0
// pcapTranscode: makes one capture file into another on a thread of Node's pool. Needs no engine and no DPDK.
#pragma once

#include <napi.h>

namespace psp {

// The function of native/addon/engine.ts.
Napi::Value pcap_transcode(const Napi::CallbackInfo& info);

}  // namespace psp
