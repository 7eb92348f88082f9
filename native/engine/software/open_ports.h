// SPDX-License-Identifier: Apache-2.0
// Opens the ports of a gateway: each an interface of the kernel or a DPDK device, with a queue pair for each
// lcore. What the machine cannot give is an EngineError.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine/config.h"
#include "engine/counters.h"
#include "engine/ports/eal.h"
#include "engine/ports/port.h"

namespace psp {

// Throws EngineError with LCORES_TOO_MANY.
void check_cores(const EngineConfig& config);

EalOptions eal_options(const EngineConfig& config);

// The MTU that lets the secured port send each packet of the hosts sealed and whole.
uint16_t wanted_mtu(const EngineConfig& config, const Port& unsecured);

// Opens a port with the queue pair of the main lcore. `wanted_mtu`: of a device that nobody else uses, 0: the
// device's own.
std::unique_ptr<Port> open_port(const EngineConfig& config, const std::string& device, bool sealed,
                                uint16_t wanted_mtu, Counters& counters);

// Another queue pair of an open port, from 1.
std::unique_ptr<Port> open_queue(Port& port, uint16_t index, Counters& counters);

// Throws EngineError with MTU_TOO_SMALL, if the port cannot send the least packet of the outer IP version.
void check_mtu(const EngineConfig& config, const Port& secured);

}  // namespace psp
