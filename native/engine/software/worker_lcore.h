// SPDX-License-Identifier: Apache-2.0
// What an lcore has that is not the first: copies of the first one's tables, and lanes to it.
#pragma once

#include <atomic>
#include <cstdint>

#include "engine/memory/handoff.h"
#include "engine/software/tables/copies.h"

namespace psp {

struct Worker;

struct WorkerState {
  // `lcore`: of the others, from 0. The tables are the first lcore's; copies and keys the lcore's own.
  WorkerState(Worker& first, Worker& own, uint32_t lcore);

  Worker& table;
  Handoff lanes;
  FlowCopies flows;
  SpiCopies spis;
  // The last change of the first lcore that was taken over (Worker::changes).
  std::atomic<uint32_t> changes{0};
};

}  // namespace psp
