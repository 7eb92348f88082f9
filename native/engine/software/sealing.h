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
  // Packets in a row that go to one hop, up to before `end`.
  struct Run {
    Address hop;
    uint16_t end;
  };

  std::array<AeadJob, kBurst> jobs;
  std::array<rte_mbuf*, kBurst> mbufs;
  std::array<Run, kBurst> runs;
  uint16_t count = 0, run_count = 0;
  uint64_t octets = 0;  // behind the IVs of those gathered

  bool full() const { return count == kBurst; }
  // Where the next one's job is written, while not full; add takes it.
  AeadJob* next_job() { return &jobs[count]; }
  // Those that are added next go there.
  void begin_run(const Address& hop) {
    if (run_count != 0 && is_same(runs[run_count - 1].hop, hop)) return;
    end_run();
    const bool nothing_since = run_count != 0 && count == (run_count > 1 ? runs[run_count - 2].end : 0);
    if (!nothing_since) ++run_count;
    runs[run_count - 1].hop = hop;
  }
  void end_run() {
    if (run_count != 0) runs[run_count - 1].end = count;
  }
  void add(rte_mbuf* mbuf) { mbufs[count++] = mbuf; }
  void clear() {
    count = run_count = 0;
    octets = 0;
  }
};

}  // namespace psp
