// SPDX-License-Identifier: Apache-2.0
// One turn of each kind of lcore at a time (monotonic, in nanoseconds): a burst from each port through all
// pipes, then timers, then the ports' transmit queues. Reading run_once shows every stage of both directions,
// in order.
#pragma once

#include "engine/software/lcore/main_lcore.h"
#include "engine/software/lcore/worker_lcore.h"

namespace psp {

// True when packets moved, or when timers have more to do at this time.
bool run_once(MainLcore& lcore, uint64_t now_ns);
bool run_once(WorkerLcore& lcore, uint64_t now_ns);

}  // namespace psp
