// SPDX-License-Identifier: Apache-2.0
// The engine that runs on any Linux machine: one polling thread around a Worker, rings towards the control
// side, adaptive polling. After a run of empty turns the thread sleeps in poll() on the ports' descriptors
// and the command wake-up; ports without a descriptor are looked at every 500 us at the latest.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/engine.h"
#include "psp/spi_allocator.h"

namespace psp {

// Each master key rules `spis_per_key` SPIs.
std::unique_ptr<Engine> make_software_engine(uint32_t spis_per_key = SpiAllocator::kSpisPerKey);

}  // namespace psp
