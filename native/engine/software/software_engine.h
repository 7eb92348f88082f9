// SPDX-License-Identifier: Apache-2.0
// The engine that runs on any Linux machine: a polling thread for each lcore, and rings towards the control
// side. A thread whose turns move nothing sleeps until a port's descriptor or another thread wakes it; ports
// without a descriptor are polled every 500 us at the latest.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/engine.h"
#include "psp/spi_allocator.h"

namespace psp {

// Each master key rules `spis_per_key` SPIs.
std::unique_ptr<Engine> make_software_engine(uint32_t spis_per_key = SpiAllocator::kSpisPerKey);

}  // namespace psp
