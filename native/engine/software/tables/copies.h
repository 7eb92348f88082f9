// SPDX-License-Identifier: Apache-2.0
// What an lcore that is not the first knows of the tables: copies of the records that it met, in tables and
// under an index of its own, so that the pipes read plainly whatever they read. There are as many places as
// there are records, filled one after another: an lcore touches memory for the flows that it meets, however
// many others have. A copy is asked for with each packet, and used only as long as its sequence stands: a
// flow that was rekeyed, removed or is to wait is never sealed by what it was. What ended is wiped by a round
// through the copies, which begins when the first lcore ended something.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

#include "engine/budget.h"
#include "engine/memory/hash_index.h"
#include "engine/memory/inplace_vector.h"
#include "engine/ports/packet.h"
#include "engine/software/tables/flow_table.h"
#include "engine/software/tables/key_cache.h"
#include "engine/software/tables/receive_spis.h"

namespace psp {

// Which record and sequence stand at each place, and at which of them packets of this burst are counted.
class CopyPlaces {
 public:
  // Copies of a round that are looked at in each millisecond.
  static constexpr uint32_t kStep = 512;
  // For so many records: a place for each, up to a million; more than a burst uses.
  static uint32_t count_for(uint32_t records) { return std::clamp<uint32_t>(records, kBurst + 1, 1 << 20); }

  explicit CopyPlaces(uint32_t places) : places_(places), index_(places), at_(size_t{places} + 1) {}

  struct Copy {
    uint64_t sequence;  // 0: none
    uint32_t number;    // of the record; none: of the next free place
    uint32_t burst;     // in which it was used last
  };
  Copy& operator[](uint32_t place) { return at_[place]; }
  const Copy& operator[](uint32_t place) const { return at_[place]; }

  // The place under `hash` for which matches(place), or 0.
  template <typename Matches>
  uint32_t find(uint32_t hash, Matches&& matches) const {
    return index_.find(hash, matches);
  }
  // Asks memory in steps for a burst, as FlowTable does: for the slot of the index; then for the copy at the
  // likely place, which is returned, or, where there is none (0), for what `of` is looked up in.
  void prefetch(uint32_t hash) const { index_.prefetch(hash); }
  template <typename Table>
  uint32_t prefetch_copy(uint32_t hash, const Table& of, const Table& copies) const {
    const uint32_t place = index_.candidate(hash);
    if (place == 0) {
      of.prefetch(hash);
    } else {
      __builtin_prefetch(&at_[place]);
      copies.prefetch_at(place);
    }
    return place;
  }

  // A place for another copy; where none is free one must be given back before.
  uint32_t take(uint32_t hash) {
    uint32_t place = free_;
    if (place != 0) {
      free_ = at_[place].number;
    } else {
      place = touched() + 1;
      touched_.store(place, std::memory_order_relaxed);
      if (left_ != 0) ++left_;
    }
    index_.insert(hash, place);
    return place;
  }
  void give_back(uint32_t place, uint32_t hash) {
    index_.erase(hash, place);
    at_[place] = {0, free_, 0};
    free_ = place;
  }
  // Places beyond this were never taken.
  uint32_t touched() const { return touched_.load(std::memory_order_relaxed); }
  // Pre-faults memory ahead of its use, a part per call. False: there is nothing to do. Of one thread, any.
  bool grow() { return touched() != 0 && (at_.grow(size_t{touched()} + 1) || index_.grow()); }
  bool full() const { return free_ == 0 && touched() == places_; }
  // One that no packet of this burst uses, in turn. Only when full.
  uint32_t victim() {
    uint32_t place = next();
    while (at_[place].burst == burst_) place = next();
    return place;
  }

  void touch(uint32_t place) {
    at_[place].burst = burst_;
    if (used_.empty() || used_.back() != place) used_.push_back(place);
  }
  // Each place touched since; then another burst begins.
  template <typename Each>
  void take_touched(Each&& each) {
    for (const uint32_t place : used_) each(place);
    used_.clear();
    ++burst_;
  }

  // From here each place is looked at once more.
  void begin_round() { left_ = touched(); }
  // The same, whatever was looked at in this millisecond already.
  void begin_round_now() {
    begin_round();
    step_ = {};
  }
  bool in_round() const { return left_ != 0; }
  // Looks at some of what is left: expects(copy) asks memory for what look(place) reads. False: the
  // budget ended before what is to be looked at in this millisecond.
  template <typename Expects, typename Look>
  bool step(uint64_t now_ms, Budget& budget, Expects&& expects, Look&& look) {
    step_.begin(now_ms, kStep);
    while (left_ != 0 && !budget.spent()) {
      std::array<uint32_t, 16> some;
      uint32_t count = 0;
      while (count < std::min<uint32_t>(left_, some.size()) && step_.next(budget)) {
        some[count] = next();
        expects(at_[some[count++]]);
      }
      if (count == 0) break;
      for (uint32_t i = 0; i < count; ++i) {
        if (at_[some[i]].sequence != 0) look(some[i]);
      }
      budget.spend(count);
      left_ -= count;
    }
    return left_ == 0 || !step_.is_unfinished();
  }

 private:
  uint32_t next() { return hand_ = hand_ >= touched() ? 1 : hand_ + 1; }

  const uint32_t places_;
  HashIndex index_;
  ZeroedArray<Copy> at_;
  std::atomic<uint32_t> touched_ = 0;
  uint32_t free_ = 0;  // given back
  uint32_t hand_ = 0, left_ = 0;
  TimerRound step_;
  uint32_t burst_ = 1;
  InplaceVector<uint32_t, kBurst> used_;
};

class FlowCopies {
 public:
  // `lcore`: of the others, from 0.
  FlowCopies(FlowTable& of, FlowTable& copies, KeyCache& keys, uint32_t lcore);

  // The place of the flow's copy; 0: there is nothing to copy now. *renewed: it was made, or made anew, and
  // is to be prepared as after an install. At most kBurst times between two calls of tell.
  uint32_t find(const FlowKey& key, uint32_t hash, bool* renewed);
  // Asks memory in steps for what find will read, and what sealing so many octets will: the index, then the
  // copy, whose likely place is returned, then what the copy names.
  void prefetch(uint32_t hash) const { places_.prefetch(hash); }
  uint32_t prefetch_copy(uint32_t hash) const { return places_.prefetch_copy(hash, of_, copies_); }
  void prefetch_rest(uint32_t place, size_t octets) const;
  // Tells what the last burst counted, and wipes keys that it found replaced. Nothing is gathered any more.
  void tell();
  // Forgets some of the copies, and wipes their keys, that the table has no more. To be called in each turn
  // while it returns false, and in the first one of each millisecond. `sweeping`: there are more to look at.
  bool sweep(uint64_t now_ms, Budget& budget);
  bool sweeping() const { return places_.in_round(); }
  // Pre-faults memory of copies ahead of their use, as the tables do.
  bool grow() { return places_.grow() || copies_.grow(places_.touched()); }

 private:
  uint32_t renew(const FlowKey& key, uint32_t hash, uint32_t place);
  void tell(uint32_t place);
  void forget(uint32_t place);

  struct Replaced {
    uint32_t place;
    uint64_t key_tag;
  };

  FlowTable& of_;
  FlowTable& copies_;
  KeyCache& keys_;
  const uint32_t lcore_;
  CopyPlaces places_;
  uint32_t endings_ = 0;                      // of the table, that the present round is for
  InplaceVector<Replaced, kBurst> replaced_;  // in this burst; packets may be gathered under them
};

class SpiCopies {
 public:
  // As FlowCopies.
  SpiCopies(ReceiveSpis& of, ReceiveSpis& copies, KeyCache& keys, uint32_t lcore);

  // The place of the SPI's copy; 0: there is nothing to copy now. With *sure there is no such SPI.
  uint32_t find(uint32_t spi, uint8_t version, uint32_t hash, bool* sure);
  void prefetch(uint32_t hash) const { places_.prefetch(hash); }
  uint32_t prefetch_copy(uint32_t hash) const { return places_.prefetch_copy(hash, of_, copies_); }
  void prefetch_rest(uint32_t place, uint8_t version, size_t octets) const;
  void tell();
  bool sweep(uint64_t now_ms, Budget& budget);
  bool sweeping() const { return places_.in_round(); }
  bool grow() { return places_.grow() || copies_.grow(places_.touched()); }
  // The slots have other master keys than before: what is known of the old ones' SPIs is not found from now
  // on, and wiped by the round that begins.
  void renew_generations();

 private:
  bool is_live(uint32_t place) const;
  void tell(uint32_t place);
  void forget(uint32_t place);

  ReceiveSpis& of_;
  ReceiveSpis& copies_;
  KeyCache& keys_;
  const uint32_t lcore_;
  CopyPlaces places_;
  uint32_t endings_ = 0;
  std::array<uint32_t, 2> generations_{};
};

}  // namespace psp
