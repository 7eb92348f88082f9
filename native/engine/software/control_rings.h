// SPDX-License-Identifier: Apache-2.0
// The rings between the control thread and the main lcore carry commands down, and completions and events up.
// Each side has a wake-up. Samples have rings of their own, one for each lcore.
#pragma once

#include <cstddef>
#include <memory>

#include "engine/commands.h"
#include "engine/events.h"
#include "engine/memory/spsc_ring.h"
#include "engine/memory/wakeup.h"

namespace psp {

constexpr size_t kCommands = 1024, kEvents = 8192, kSamples = 8192;

struct ControlRings {
  SpscRing<std::unique_ptr<Command>> commands{kCommands};
  SpscRing<std::unique_ptr<Command>> completions{kCommands};
  SpscRing<Event> events{kEvents};
  Wakeup main;     // wakes the main lcore
  Wakeup control;  // wakes the control thread
};

}  // namespace psp
