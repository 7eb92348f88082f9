// SPDX-License-Identifier: Apache-2.0
// Packets whose headers are written and that wait for the AEAD, in the order in which they leave. Gathering
// them lets it run over many in a row, and on headers written a while ago. Empty between two pipes' bursts.
#pragma once

#include <rte_mbuf.h>

#include <array>
#include <cstdint>

#include "engine/packet.h"
#include "psp/address.h"
#include "psp/aead.h"

namespace psp {

struct Sealing {
  std::array<AeadJob, kBurst> jobs;
  std::array<rte_mbuf*, kBurst> mbufs;
  std::array<Address, kBurst> hops;
  uint16_t count = 0;

  bool full() const { return count == kBurst; }
  // Where the next one's job is written, while not full; add takes it.
  AeadJob* next_job() { return &jobs[count]; }
  void add(rte_mbuf* mbuf, const Address& hop) {
    mbufs[count] = mbuf;
    hops[count++] = hop;
  }
};

}  // namespace psp
