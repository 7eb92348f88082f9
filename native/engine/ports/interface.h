// SPDX-License-Identifier: Apache-2.0
// Properties of a kernel network interface, and the claim that only this gateway uses it. Control path.
#pragma once

#include <cstdint>
#include <string>

#include "psp/address.h"

namespace psp {

// 0 when there is no interface of this name in our network namespace.
unsigned interface_index(const std::string& name);
uint16_t interface_mtu(const std::string& name);
MacAddress interface_mac(const std::string& name);
// Whether it is up, and has a carrier as far as the kernel can tell.
bool interface_runs(const std::string& name);

// Claims the interface among all gateways of the network namespace until the descriptor is closed or the
// process ends, however it ends. Throws EngineError PORT_TAKEN or PORT_FAILED.
int claim_interface(const std::string& name, unsigned index);

// Throws EngineError RIGHTS_MISSING when this process may not open packet sockets.
void check_packet_rights(const std::string& name);

}  // namespace psp
