// SPDX-License-Identifier: Apache-2.0
// The batch of packets whose headers are written and that wait for the AEAD, in the order in which they
// leave. The AEAD then runs over many packets in a row, and on headers written a while ago. A burst may bring
// more packets than the batch takes, because a packet that is cut becomes several: whoever adds one makes
// room first (make_room in seal.cc). The batch is empty between the bursts of two pipes.
#pragma once

#include <rte_debug.h>
#include <rte_mbuf.h>

#include <array>
#include <cstdint>

#include "engine/ports/packet.h"
#include "psp/address.h"
#include "psp/aead.h"

namespace psp {

struct Sealing {
  // Packets in a row that go to one hop, up to before `end`.
  struct Run {
    Address hop;
    uint16_t end;
  };

  std::array<AeadJob, kBurst> jobs;
  std::array<rte_mbuf*, kBurst> mbufs;
  std::array<Run, kBurst> runs;  // no more than packets, because every run but the last one has a packet
  uint16_t count = 0, run_count = 0;
  uint64_t octets = 0;  // behind the IVs of those gathered

  bool full() const { return count == kBurst; }
  // The job of the next packet, which add then takes in. Not while the batch is full: that ends the process
  // in every build, here and below.
  AeadJob* next_job() {
    RTE_VERIFY(!full());
    return &jobs[count];
  }
  // Packets added from now on go to this hop.
  void begin_run(const Address& hop) {
    RTE_VERIFY(!full());
    if (run_count != 0 && is_same(runs[run_count - 1].hop, hop)) return;
    end_run();
    const bool nothing_since = run_count != 0 && count == (run_count > 1 ? runs[run_count - 2].end : 0);
    if (!nothing_since) ++run_count;
    runs[run_count - 1].hop = hop;
  }
  void end_run() {
    if (run_count != 0) runs[run_count - 1].end = count;
  }
  void add(rte_mbuf* mbuf) {
    RTE_VERIFY(!full());
    mbufs[count++] = mbuf;
  }
  void clear() {
    count = run_count = 0;
    octets = 0;
  }
};

}  // namespace psp
