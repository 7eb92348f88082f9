// SPDX-License-Identifier: Apache-2.0
// The encapsulation mode (PSP specification, "Transport Mode" and "Tunnel Mode"). The mode belongs to the
// security association: the receiver chose it with the offer, and no field of a packet changes it.
#pragma once

#include <cstdint>

namespace psp {

enum class Mode : uint8_t {
  kTunnel = 1,     // the IP packet inside an outer IP packet
  kTransport = 2,  // the payload of the packet's own IP header
};

}  // namespace psp
