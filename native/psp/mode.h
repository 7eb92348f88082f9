// SPDX-License-Identifier: Apache-2.0
// How a packet is wrapped (PSP specification, "Transport Mode" and "Tunnel Mode"). The mode belongs to the
// security association: its receiver chose it with the offer, and nothing in a packet changes it.
#pragma once

#include <cstdint>

namespace psp {

enum class Mode : uint8_t {
  kTunnel = 1,     // the whole IP packet behind an outer one
  kTransport = 2,  // what lies behind the packet's own IP header
};

}  // namespace psp
