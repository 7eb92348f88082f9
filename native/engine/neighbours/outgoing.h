// SPDX-License-Identifier: Apache-2.0
// Finished frames on their way to neighbours, in the order in which they leave, in runs of frames in a row
// for one neighbour. Pipes append to it, and the lcore's turn sends it to the neighbours of its port. It has
// space for all that a burst can become, so no pipe sends in between; an entry too many ends the process.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>

#include "engine/ip/fragment.h"
#include "engine/memory/inplace_vector.h"
#include "engine/ports/packet.h"
#include "psp/address.h"

namespace psp {

class Outgoing {
 public:
  void add(const Address& neighbour, rte_mbuf* frame) {
    begin_run(neighbour);
    append(frame);
  }
  // The same in two steps: frames that are appended from now on are for this neighbour.
  void begin_run(const Address& neighbour) {
    if (runs_.empty() || !is_same(runs_.back().neighbour, neighbour)) {
      runs_.push_back({neighbour, static_cast<uint32_t>(frames_.size())});
    }
  }
  void append(rte_mbuf* frame) { frames_.push_back(frame); }
  bool empty() const { return frames_.empty(); }
  size_t size() const { return frames_.size(); }

  // Empties it: calls send(neighbour, frames, count) for each run, in order.
  template <typename Send>
  void take_runs(Send&& send) {
    for (size_t i = 0; i < runs_.size(); ++i) {
      const auto& [neighbour, first] = runs_.begin()[i];
      const size_t end = i + 1 < runs_.size() ? runs_.begin()[i + 1].first : frames_.size();
      if (end > first) send(neighbour, frames_.begin() + first, static_cast<uint32_t>(end - first));
    }
    frames_.clear();
    runs_.clear();
  }

 private:
  struct Run {
    Address neighbour;
    uint32_t first;  // of its frames
  };

  // Of each packet of a burst the fragments that it becomes, and an error about it.
  InplaceVector<rte_mbuf*, kBurst*(kFragmentsAtMost + 1)> frames_;
  InplaceVector<Run, kBurst * 2> runs_;
};

}  // namespace psp
