// SPDX-License-Identifier: Apache-2.0
// The likeliest record is asked for first: only if it is not the copy's does the index answer. What a packet
// counts stands at its place until the end of the burst, or until the place goes to another record.
#include "engine/software/copies.h"

#include "psp/master_key.h"
#include "psp/secret.h"

namespace psp {

namespace {
constexpr uint32_t kSweepBound = 64;
}

FlowCopies::FlowCopies(FlowTable& of, FlowTable& copies, KeyCache& keys, uint32_t lcore)
    : of_(of), copies_(copies), keys_(keys), lcore_(lcore), places_(keys.few()) {}

uint32_t FlowCopies::find(const FlowKey& key, uint32_t hash, bool* renewed) {
  *renewed = false;
  const uint32_t likely = of_.candidate(hash);
  if (likely == 0) return 0;
  uint32_t place = places_.place_of(likely);
  const bool known = places_[place].number == likely && copies_[place].key == key &&
                     of_.published(likely).is_current(places_[place].edition);
  if (!known) {
    SendingFlow copy;
    uint64_t edition;
    uint8_t octets[FlowTable::kKeyBytes];
    const uint32_t number = of_.look_up(key, hash, &copy, &edition);
    if (number == 0) return 0;
    const bool whole = of_.copy_key(number, edition, octets);
    if (whole) {
      place = places_.place_of(number);
      tell(place);
      copies_.put(place, copy, octets);
      *renewed = true;
      places_[place] = {number, edition, 0};
    }
    wipe(octets, sizeof octets);
    if (!whole) return 0;
  }
  places_.touch(place);
  return place;
}

void FlowCopies::prefetch(uint32_t hash, size_t octets) const {
  const uint32_t likely = of_.candidate(hash);
  if (likely == 0) return;
  // More than one line.
  const auto* const published = reinterpret_cast<const uint8_t*>(&of_.published(likely));
  for (size_t at = 0; at < sizeof(Published<SendingFlow>); at += 64) __builtin_prefetch(published + at);
  __builtin_prefetch(of_.key_bytes(likely));
  of_.tallies().prefetch(lcore_, likely);
  const uint32_t place = places_.place_of(likely);
  __builtin_prefetch(&copies_[place]);
  keys_.prefetch(keys_.place_of(place, 0), copies_[place].version, octets);
}

void FlowCopies::tell() {
  places_.take_touched([&](uint32_t place) { tell(place); });
}

void FlowCopies::tell(uint32_t place) {
  EgressFlow& flow = copies_[place];
  if (flow.packets == 0) return;
  of_.tallies().add(lcore_, places_[place].number, flow.key_tag, {flow.packets, flow.bytes, 0});
  flow.packets = flow.bytes = 0;
}

void FlowCopies::sweep() {
  for (uint32_t left = kSweepBound; left > 0; --left) {
    const uint32_t place = places_.next();
    auto& copy = places_[place];
    if (copy.number != 0 && !of_.published(copy.number).is_current(copy.edition)) {
      tell(place);
      copies_.clear(place);
      copy = {};
    }
    keys_.keep_only(place, copies_[place].key_tag);
  }
}

SpiCopies::SpiCopies(ReceiveSpis& of, ReceiveSpis& copies, KeyCache& keys, uint32_t lcore)
    : of_(of), copies_(copies), keys_(keys), lcore_(lcore), places_(keys.few()) {
  renew_eras();
}

uint32_t SpiCopies::find(uint32_t spi, uint8_t version, uint32_t hash, bool* sure) {
  *sure = false;
  uint32_t place = 0;
  if (const uint32_t likely = of_.candidate(hash)) {
    place = places_.place_of(likely);
    const ReceiveSpi& known = copies_[place];
    if (places_[place].number != likely || known.spi != spi || known.version != version ||
        !of_.published(likely).is_current(places_[place].edition)) {
      place = 0;
    }
  }
  if (place == 0) {
    OpeningSpi copy;
    uint64_t edition;
    const uint32_t number = of_.look_up(spi, version, hash, &copy, &edition, sure);
    if (number == 0) return 0;
    *sure = true;
    if (copy.era != eras_[slot_of(spi)]) return 0;
    place = places_.place_of(number);
    if (places_.is_taken(place, number)) {
      *sure = false;
      return 0;
    }
    tell(place);
    copies_.put(place, copy);
    places_[place] = {number, edition, 0};
  }
  places_.touch(place);
  return place;
}

void SpiCopies::prefetch(uint32_t hash, uint8_t version, size_t octets) const {
  const uint32_t likely = of_.candidate(hash);
  if (likely == 0) return;
  __builtin_prefetch(&of_.published(likely));
  of_.tallies().prefetch(lcore_, likely);
  const uint32_t place = places_.place_of(likely);
  __builtin_prefetch(&copies_[place]);
  copies_.prefetch_flow(place);
  keys_.prefetch(keys_.place_of(place, 0), version, octets);
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
  copies_.clear(place);
  places_[place] = {};
}

void SpiCopies::sweep() {
  for (uint32_t left = kSweepBound; left > 0; --left) {
    const uint32_t place = places_.next();
    const auto& copy = places_[place];
    if (copy.number != 0 && !of_.published(copy.number).is_current(copy.edition)) forget(place);
    keys_.keep_only(place,
                    copy.number == 0 ? 0 : ReceiveSpis::key_tag(copies_[place].spi, copies_[place].version));
  }
  if (keys_.has_tried()) keys_.erase_tried();
}

void SpiCopies::renew_eras() {
  for (const uint8_t slot : {0, 1}) {
    if (eras_[slot] == of_.era(slot)) continue;
    eras_[slot] = of_.era(slot);
    for (uint32_t place = 1; place <= keys_.few(); ++place) {
      if (places_[place].number != 0 && slot_of(copies_[place].spi) == slot) forget(place);
      if (places_[place].number == 0) keys_.keep_only(place, 0);
    }
  }
  keys_.erase_tried();
}

}  // namespace psp
