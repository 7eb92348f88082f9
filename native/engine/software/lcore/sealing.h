// SPDX-License-Identifier: Apache-2.0
// Packets whose headers are written and that wait for the AEAD, which then seals many in a row. A burst may
// bring more packets than there is space for, because a packet may become several fragments: a pipe that adds
// one seals the batch first when it is full. Empty between two bursts.
#pragma once

#include <rte_debug.h>

#include <array>
#include <cstdint>

#include "engine/ports/packet.h"
#include "psp/aead.h"

namespace psp {

struct Sealing {
  std::array<AeadJob, kBurst> jobs;
  uint16_t count = 0;
  uint64_t octets = 0;  // after the IVs of those packets

  bool full() const { return count == kBurst; }
  // The job of the next packet, which add() then counts. While the batch is full this ends the process.
  AeadJob* next_job() {
    RTE_VERIFY(!full());
    return &jobs[count];
  }
  void add() {
    RTE_VERIFY(!full());
    ++count;
  }
  void clear() {
    count = 0;
    octets = 0;
  }
};

}  // namespace psp
