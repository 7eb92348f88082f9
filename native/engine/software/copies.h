// SPDX-License-Identifier: Apache-2.0
// What an lcore that is not the first knows of the tables: copies of the records that it met last, in small
// tables of its own, so that the pipes read plainly whatever they read. The place of a copy follows from the
// record's number, as that of its expanded key does. A copy is asked for with each packet, and used only as
// long as its edition stands: a flow that was rekeyed, removed or is to wait is never sealed by what it was.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "engine/packet.h"
#include "engine/software/flow_table.h"
#include "engine/software/key_cache.h"
#include "engine/software/receive_spis.h"

namespace psp {

// Which record and edition stand at each place, and at which of them packets of this burst are counted.
class CopyPlaces {
 public:
  explicit CopyPlaces(uint32_t places) : mask_(places - 1), at_(size_t{places} + 1) {}

  struct Copy {
    uint32_t number = 0;  // 0: none
    uint64_t edition = 0;
    uint32_t burst = 0;  // in which it was used last
  };
  uint32_t place_of(uint32_t number) const { return ((number - 1) & mask_) + 1; }
  Copy& operator[](uint32_t place) { return at_[place]; }
  // The next place of a round through all of them.
  uint32_t next() { return round_ = round_ > mask_ ? 1 : round_ + 1; }

  void touch(uint32_t place) {
    at_[place].burst = burst_;
    if (touched_ == 0 || places_[touched_ - 1] != place) places_[touched_++] = place;
  }
  // Whether a packet of this burst uses another record's copy there.
  bool is_taken(uint32_t place, uint32_t number) const {
    return at_[place].burst == burst_ && at_[place].number != number;
  }
  // Each place touched since; then another burst begins.
  template <typename Each>
  void take_touched(Each&& each) {
    for (uint32_t i = 0; i < touched_; ++i) each(places_[i]);
    touched_ = 0;
    ++burst_;
  }

 private:
  const uint32_t mask_;
  std::vector<Copy> at_;
  uint32_t round_ = 0;
  uint32_t burst_ = 1;
  std::array<uint32_t, kBurst> places_;
  uint32_t touched_ = 0;
};

class FlowCopies {
 public:
  // `copies` has as many places as `keys`. `lcore`: of the others, from 0.
  FlowCopies(FlowTable& of, FlowTable& copies, KeyCache& keys, uint32_t lcore);

  // The place of the flow's copy; 0: there is nothing to copy now. *renewed: it was made, or made anew, and
  // is to be prepared as after an install. At most kBurst times between two calls of tell.
  uint32_t find(const FlowKey& key, uint32_t hash, bool* renewed);
  // Asks memory for what find will read, and what sealing so many octets will.
  void prefetch(uint32_t hash, size_t octets) const;
  // Tells what the last burst counted.
  void tell();
  // Forgets some of the copies, and wipes their keys, that the table has no more. To be called each
  // millisecond.
  void sweep();

 private:
  void tell(uint32_t place);

  FlowTable& of_;
  FlowTable& copies_;
  KeyCache& keys_;
  const uint32_t lcore_;
  CopyPlaces places_;
};

class SpiCopies {
 public:
  // As FlowCopies.
  SpiCopies(ReceiveSpis& of, ReceiveSpis& copies, KeyCache& keys, uint32_t lcore);

  // The place of the SPI's copy; 0: there is nothing to copy now, or another SPI of this burst has the place,
  // whose copy is read again once it is opened. With *sure there is no such SPI.
  uint32_t find(uint32_t spi, uint8_t version, uint32_t hash, bool* sure);
  void prefetch(uint32_t hash, uint8_t version, size_t octets) const;
  void tell();
  void sweep();
  // The slots have other master keys than before: all that is known of the old ones' SPIs is wiped at once.
  void renew_eras();

 private:
  void tell(uint32_t place);
  void forget(uint32_t place);

  ReceiveSpis& of_;
  ReceiveSpis& copies_;
  KeyCache& keys_;
  const uint32_t lcore_;
  CopyPlaces places_;
  std::array<uint32_t, 2> eras_{};
};

}  // namespace psp
