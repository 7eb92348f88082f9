// SPDX-License-Identifier: Apache-2.0
// Decides when an egress key has sealed so many packets that it must be replaced, or must not be used any
// more. It costs nothing per packet: rounds over all records compare counts that exist anyway, and a round
// begins only when the lcores together have sealed an eighth of the limit since the last one began. So no
// key exceeds the limit between two rounds, as long as a round is over before another eighth is sealed: a
// million records take six seconds, and an eighth of 2^32 packets is 90 million packets a second for that
// long.
#pragma once

#include <cstdint>

namespace psp {

class KeyWear {
 public:
  enum class Verdict : uint8_t { kFresh, kReplace, kStop };

  // `most`: packets that one key may seal.
  explicit KeyWear(uint64_t most) : eighth_(most / 8) {}

  // What becomes of a key that has sealed so many packets.
  Verdict judge(uint64_t packets) const {
    if (packets >= 6 * eighth_) return Verdict::kStop;
    return packets >= 4 * eighth_ ? Verdict::kReplace : Verdict::kFresh;
  }

  // Begins a round when it is due. `sealed`: packets of all lcores.
  void begin_when_due(uint64_t sealed) {
    if (in_round() || sealed - sealed_before_ < eighth_) return;
    sealed_before_ = sealed;
    next_ = 1;
  }
  bool in_round() const { return next_ != 0; }
  // The next record of the round, up to `last`; 0 when the round is over.
  uint32_t next(uint32_t last) {
    const uint32_t index = next_;
    next_ = index < last ? index + 1 : 0;
    return index <= last ? index : 0;
  }

 private:
  const uint64_t eighth_;
  uint64_t sealed_before_ = 0;
  uint32_t next_ = 0;
};

}  // namespace psp
