// SPDX-License-Identifier: Apache-2.0
// Only where there is no copy, or none that stands, is the table asked. What a packet counts stands at its
// place until the end of the burst, or until the place goes to another record. A key in the cache is that of
// the copy at its place: it ends with the copy, or when the copy gets another one.
#include "engine/software/tables/copies.h"

#include "psp/master_key.h"
#include "psp/secret.h"

namespace psp {

FlowCopies::FlowCopies(FlowTable& of, FlowTable& copies, KeyCache& keys, uint32_t lcore)
    : of_(of), copies_(copies), keys_(keys), lcore_(lcore), places_(copies.places()) {}

uint32_t FlowCopies::find(const FlowKey& key, uint32_t hash, bool* renewed) {
  uint32_t place = places_.find(hash, [&](uint32_t at) { return copies_[at].key == key; });
  *renewed = place == 0 || !of_.published(places_[place].number).is_current(places_[place].sequence);
  if (*renewed) {
    place = renew(key, hash, place);
    *renewed = place != 0;
  }
  if (place != 0) places_.touch(place);
  return place;
}

// `place`: of a copy that stands no more, or 0.
uint32_t FlowCopies::renew(const FlowKey& key, uint32_t hash, uint32_t place) {
  SendingFlow copy;
  uint64_t sequence;
  uint8_t octets[FlowTable::kKeyBytes];
  const uint32_t number = of_.look_up(key, hash, &copy, &sequence);
  if (number == 0) return 0;
  const bool whole = of_.copy_key(number, sequence, octets);
  if (whole) {
    if (place == 0) {
      if (places_.full()) forget(places_.victim());
      place = places_.take(hash);
    } else {
      tell(place);
      const uint64_t tag = copies_[place].key_tag;
      if (tag != copy.key_tag) replaced_.push_back({place, tag});
    }
    copies_.put(place, copy, octets);
    places_[place].number = number;
    places_[place].sequence = sequence;
  }
  wipe(octets, sizeof octets);
  return whole ? place : 0;
}

void FlowCopies::prefetch_rest(uint32_t place, size_t octets) const {
  const uint32_t number = places_[place].number;
  __builtin_prefetch(&of_.published(number));
  of_.tallies().prefetch(lcore_, number);
  const EgressFlow& flow = copies_[place];
  keys_.prefetch(keys_.place_of(place, flow.key_misses), flow.version, octets);
}

void FlowCopies::tell() {
  places_.take_touched([&](uint32_t place) { tell(place); });
  for (const Replaced& one : replaced_) keys_.erase(one.place, one.key_tag);
  replaced_.clear();
}

void FlowCopies::tell(uint32_t place) {
  EgressFlow& flow = copies_[place];
  if (flow.packets == 0) return;
  of_.tallies().add(lcore_, places_[place].number, flow.key_tag, {flow.packets, flow.bytes, 0});
  flow.packets = flow.bytes = 0;
}

void FlowCopies::forget(uint32_t place) {
  tell(place);
  keys_.erase(place, copies_[place].key_tag);
  places_.give_back(place, of_.hash(copies_[place].key));
  copies_.clear(place);
}

bool FlowCopies::sweep(uint64_t now_ms, Budget& budget) {
  if (const uint32_t endings = of_.endings(); endings != endings_) {
    endings_ = endings;
    places_.begin_round();
  }
  return places_.step(
      now_ms, budget, [&](const auto& copy) { __builtin_prefetch(&of_.published(copy.number)); },
      [&](uint32_t place) {
        const auto& copy = places_[place];
        if (of_.published(copy.number).is_current(copy.sequence)) return;
        forget(place);
        budget.spend(Budget::kCopyChange);
      });
}

SpiCopies::SpiCopies(ReceiveSpis& of, ReceiveSpis& copies, KeyCache& keys, uint32_t lcore)
    : of_(of), copies_(copies), keys_(keys), lcore_(lcore), places_(copies.places()) {
  renew_generations();
}

bool SpiCopies::is_live(uint32_t place) const {
  const ReceiveSpi& spi = copies_[place];
  return spi.generation == generations_[slot_of(spi.spi)] &&
         of_.published(places_[place].number).is_current(places_[place].sequence);
}

uint32_t SpiCopies::find(uint32_t spi, uint8_t version, uint32_t hash, bool* sure) {
  *sure = false;
  uint32_t place = places_.find(
      hash, [&](uint32_t at) { return copies_[at].spi == spi && copies_[at].version == version; });
  if (place == 0 || !is_live(place)) {
    OpeningSpi copy;
    uint64_t sequence;
    const uint32_t number = of_.look_up(spi, version, hash, &copy, &sequence, sure);
    if (number == 0) return 0;
    *sure = true;
    if (copy.generation != generations_[slot_of(spi)]) return 0;
    if (place == 0) {
      if (places_.full()) forget(places_.victim());
      place = places_.take(hash);
    } else {
      tell(place);
      // Under the same tag. No packet of this burst was opened with it.
      if (copies_[place].generation != copy.generation)
        keys_.erase(place, ReceiveSpis::key_tag(spi, version));
    }
    copies_.put(place, copy);
    places_[place].number = number;
    places_[place].sequence = sequence;
  }
  places_.touch(place);
  return place;
}

void SpiCopies::prefetch_rest(uint32_t place, uint8_t version, size_t octets) const {
  const uint32_t number = places_[place].number;
  __builtin_prefetch(&of_.published(number));
  of_.tallies().prefetch(lcore_, number);
  keys_.prefetch(copies_.key_place(place), version, octets);
}

void SpiCopies::tell() {
  places_.take_touched([&](uint32_t place) { tell(place); });
}

void SpiCopies::tell(uint32_t place) {
  const Tally counted = copies_.take_counted(place);
  if (counted.packets == 0) return;
  const ReceiveSpi& spi = copies_[place];
  of_.tallies().add(lcore_, places_[place].number, ReceiveSpis::key_tag(spi.spi, spi.version), counted);
}

void SpiCopies::forget(uint32_t place) {
  tell(place);
  const ReceiveSpi& spi = copies_[place];
  keys_.erase(place, ReceiveSpis::key_tag(spi.spi, spi.version));
  places_.give_back(place, of_.hash(spi.spi));
  copies_.clear(place);
}

bool SpiCopies::sweep(uint64_t now_ms, Budget& budget) {
  if (const uint32_t endings = of_.endings(); endings != endings_) {
    endings_ = endings;
    places_.begin_round();
  }
  if (keys_.has_tried()) keys_.erase_tried();
  return places_.step(
      now_ms, budget, [&](const auto& copy) { __builtin_prefetch(&of_.published(copy.number)); },
      [&](uint32_t place) {
        if (is_live(place)) return;
        forget(place);
        budget.spend(Budget::kCopyChange);
      });
}

void SpiCopies::renew_generations() {
  const std::array<uint32_t, 2> generations = {of_.generation(0), of_.generation(1)};
  if (generations == generations_) return;
  generations_ = generations;
  keys_.erase_tried();
  places_.begin_round_now();
}

}  // namespace psp
