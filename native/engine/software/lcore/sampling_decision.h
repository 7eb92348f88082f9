// SPDX-License-Identifier: Apache-2.0
// Decides which packets are sampled: one of 2^n towards a peer, each independently of the others, when the
// first n bits of a pseudo-random number are zero. One generator serves all peers, each with a rate of its
// own. The numbers come from a multiplication folded upon itself over a counter; they are fast and even, not
// for secrets.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "engine/config.h"
#include "engine/memory/hash_index.h"

namespace psp {

class SamplingDecision {
 public:
  using Log2 = std::optional<uint8_t>;

  // A peer without a rate of its own has that of the sampling as a whole.
  // Has space for `most_peers`; packets to those that come later are not sampled before a rate is set.
  SamplingDecision(uint64_t seed, const SamplingConfig& sampling, const std::vector<PeerConfig>& peers,
                   size_t most_peers = 0)
      : state_(seed), log2_(std::max(most_peers, peers.size()), kOff) {
    for (size_t i = 0; i < peers.size(); ++i) {
      log2_[i] = bounded(peers[i].sampling_log2.value_or(sampling.egress_log2));
    }
    note();
  }

  // One of 2^log2 packets towards this peer from now on, at most kRateAtMost; none: off. A peer that is not
  // there changes nothing.
  void set(uint16_t peer, Log2 log2) {
    if (peer < log2_.size()) log2_[peer] = bounded(log2);
    note();
  }
  // The same for all peers.
  void set(Log2 log2) {
    std::ranges::fill(log2_, bounded(log2));
    note();
  }
  // The rates of another.
  void set_as(const SamplingDecision& other) {
    log2_ = other.log2_;
    on_ = other.on_;
  }
  // Whether packets towards any peer are sampled.
  bool on() const { return on_; }
  bool on(uint16_t peer) const { return log2_[peer] != kOff; }
  // The rate towards the peer, while on.
  uint8_t log2(uint16_t peer) const { return log2_[peer]; }

  // Whether to sample the next packet towards the peer. Only while on.
  bool next(uint16_t peer) {
    state_ += kStep;
    const uint64_t number = hash_mix(state_, state_ ^ kMask);
    return number >> 1 < uint64_t{1} << (63 - log2_[peer]);
  }

 private:
  static constexpr uint8_t kOff = kRateUnknown;
  // Odd, so that the counter meets every number before one comes again.
  static constexpr uint64_t kStep = 0x9e3779b97f4a7c15, kMask = 0xd1b54a32d192ed03;

  static uint8_t bounded(Log2 log2) { return log2 ? std::min(*log2, kRateAtMost) : kOff; }
  void note() {
    on_ = std::ranges::any_of(log2_, [](uint8_t log2) { return log2 != kOff; });
  }

  uint64_t state_;
  bool on_ = false;
  std::vector<uint8_t> log2_;  // by peer
};

}  // namespace psp
