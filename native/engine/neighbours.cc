// SPDX-License-Identifier: Apache-2.0
// One list holds every neighbour with a time to come (asked, or unreachable for a while); tick goes round it.
// As the known never fill the table, there is an unknown one to give way whenever it is full.
#include "engine/neighbours.h"

#include <algorithm>
#include <cstring>

namespace psp {

namespace {
constexpr uint32_t kTickBound = 64;
constexpr uint32_t kLookedAt = 64;
}  // namespace

Neighbours::Neighbours(const NeighbourRules& rules, const MacAddress& mac, TxQueue& tx, rte_mempool* pool,
                       Counters& counters, const Drops& drops, Value forwarded)
    : rules_(rules),
      mac_(mac),
      tx_(tx),
      pool_(pool),
      counters_(counters),
      drops_(drops),
      forwarded_(forwarded),
      neighbours_(kCapacity),
      index_(kCapacity),
      waiting_(kQueueTotal) {}

Neighbours::~Neighbours() {
  for (uint32_t n = 1; n <= waiting_.touched(); ++n) {
    if (waiting_[n].used) rte_pktmbuf_free(waiting_[n].mbuf);
  }
}

void Neighbours::share() {
  published_ = std::make_unique<ZeroedArray<Published<Known>>>(size_t{kCapacity} + 1);
}

void Neighbours::ask_of(const Neighbours& first, HandOver& lanes, HandOver::Lane lane) {
  first_ = &first;
  lanes_ = &lanes;
  lane_ = lane;
}

void Neighbours::publish(const Neighbour& neighbour) {
  if (!published_) return;
  auto& published = (*published_)[neighbours_.number_of(neighbour)];
  if (!neighbour.known || neighbour.leaving) {
    published.withdraw();
    return;
  }
  const uint64_t until_ms = neighbour.asked ? neighbour.next_ms : neighbour.heard_ms + kFreshMs;
  published.publish({neighbour.address, until_ms, neighbour.mac, {}});
}

void Neighbours::publish_those_that_left() {
  for (uint32_t left = std::min(leaving_.count, kTickBound); left > 0; --left) {
    const uint32_t number = leaving_.head;
    Neighbour& neighbour = neighbours_[number];
    leaving_.remove(neighbours_, number);
    if (tx_.has_passed(neighbour.left_at)) {
      neighbour.leaving = false;
      publish(neighbour);
    } else {
      leaving_.push_back(neighbours_, number);
    }
  }
}

// What the first lcore publishes of a neighbour, or null.
const Neighbours::Known* Neighbours::look_up(const Address& address, uint64_t now_ms) const {
  const auto& published = *first_->published_;
  if (known_number_ == 0 || !is_same(known_last_.address, address) ||
      !published[known_number_].is_current(known_edition_)) {
    bool sure;
    known_number_ = first_->index_.look_up(
        first_->hash(address),
        [&](uint32_t n) {
          return published[n].copy(&known_last_, &known_edition_) && is_same(known_last_.address, address);
        },
        &sure);
  }
  return known_number_ != 0 && now_ms < known_last_.until_ms ? &known_last_ : nullptr;
}

void Neighbours::send_or_hand_over(const Address& address, rte_mbuf* const* frames, uint32_t count,
                                   uint64_t now_ms) {
  const uint32_t order = first_->hash(address);
  const Known* const known = lanes_->is_behind(lane_, order) ? nullptr : look_up(address, now_ms);
  if (known != nullptr) return transmit(known->mac, frames, count);
  for (uint32_t i = 0; i < count; ++i) {
    if (lanes_->give(lane_, order, {frames[i], address})) {
      counters_[Value::kHandedOver].add();
    } else {
      rte_pktmbuf_free(frames[i]);
      counters_[lane_ == HandOver::kToWire ? Drop::kEgressHandOverFull : Drop::kIngressHandOverFull].add();
    }
  }
}

Neighbours::Reach Neighbours::reach(const Address& address, uint64_t now_ms) {
  const uint32_t number = find_or_add(address, now_ms);
  return reach(neighbours_[number], now_ms);
}

MacAddress Neighbours::mac_of(const Address& address, uint64_t now_ms) const {
  if (first_ != nullptr) {
    const Known* const known = look_up(address, now_ms);
    return known != nullptr ? known->mac : MacAddress{};
  }
  const uint32_t number = find(address);
  return number != 0 && neighbours_[number].known ? neighbours_[number].mac : MacAddress{};
}

void Neighbours::send(const Address& address, rte_mbuf* frame, uint64_t now_ms) {
  send(address, &frame, 1, now_ms);
}

void Neighbours::send(const Address& address, rte_mbuf* const* frames, uint32_t count, uint64_t now_ms) {
  if (first_ != nullptr) return send_or_hand_over(address, frames, count, now_ms);
  Neighbour& neighbour = neighbours_[find_or_add(address, now_ms)];
  switch (reach(neighbour, now_ms)) {
    case Reach::kKnown:
      transmit(neighbour.mac, frames, count);
      return;
    case Reach::kAsked:
      for (uint32_t i = 0; i < count; ++i) enqueue(neighbour, frames[i]);
      return;
    case Reach::kUnreachable:
      rte_pktmbuf_free_bulk(const_cast<rte_mbuf**>(frames), count);
      counters_[drops_.unresolved].add(count);
      return;
  }
}

void Neighbours::seed(const Address& address, const MacAddress& mac, uint64_t now_ms) {
  if (!is_unicast(mac)) return;
  Neighbour& neighbour = neighbours_[find_or_add(address, now_ms)];
  neighbour.seed = mac;
  if (neighbour.known) return;
  set_known(neighbour, mac);
  neighbour.unreachable = false;
  if (!neighbour.asked) ask(neighbour, now_ms);
  release(neighbour);
  publish(neighbour);
}

void Neighbours::change_mac(const MacAddress& mac) {
  mac_ = mac;
  if (first_ != nullptr) return;
  for (const Address& own : rules_.own()) {
    rte_mbuf* frame = rte_pktmbuf_alloc(pool_);
    if (frame == nullptr) return;
    if (!write_announcement(frame, mac_, own) || !tx_.push(frame)) rte_pktmbuf_free(frame);
  }
}

void Neighbours::hear(const NeighbourMessage& message, uint64_t now_ms) {
  const bool sender_given = message.sender != Address{};
  const bool mac_given = is_unicast(message.mac);
  // Who announces itself without being asked (gratuitous ARP) only refreshes what is known already.
  const bool announces = message.sender == message.target;
  const auto answer = message.request && sender_given && mac_given && !announces
                          ? rules_.answers(message.target)
                          : NeighbourRules::Answer::kNo;
  const bool to_us = answer != NeighbourRules::Answer::kNo;
  if (sender_given && mac_given && rules_.is_neighbour(message.sender)) {
    learn(message, to_us, now_ms);
  }
  if (!to_us) return;
  rte_mbuf* frame = rte_pktmbuf_alloc(pool_);
  if (frame == nullptr) return;
  if (!write_answer(frame, mac_, message.target, message.sender, message.mac,
                    answer == NeighbourRules::Answer::kAsOurselves) ||
      !tx_.push(frame)) {
    rte_pktmbuf_free(frame);
  }
}

bool Neighbours::tick(uint64_t now_ms, Budget& budget) {
  publish_those_that_left();
  requests_.begin(now_ms, std::min(asked_.count, kTickBound));
  // Answers shorten the list between turns.
  while (!asked_.empty() && requests_.next(budget)) {
    const uint32_t number = asked_.head;
    Neighbour& neighbour = neighbours_[number];
    asked_.remove(neighbours_, number);
    asked_.push_back(neighbours_, number);
    budget.spend(1);
    if (now_ms < neighbour.next_ms) continue;
    budget.spend(Budget::kNeighbourChange + neighbour.waiting.count);
    if (neighbour.unreachable) {
      forget(number);
      continue;
    }
    if (neighbour.tries < kTries) {
      ask(neighbour, now_ms);
    } else {
      give_up(neighbour, now_ms);
    }
    publish(neighbour);
  }
  return asked_.empty() || !requests_.is_unfinished();
}

uint32_t Neighbours::find(const Address& address) const {
  return index_.find(hash(address), [&](uint32_t n) { return is_same(neighbours_[n].address, address); });
}

uint32_t Neighbours::find_or_add(const Address& address, uint64_t now_ms) {
  const Neighbour& last = neighbours_[last_];
  uint32_t number = last.used && is_same(last.address, address) ? last_ : find(address);
  if (number == 0) {
    if (neighbours_.room() == 0) forget(unknown_.head);
    number = neighbours_.take();
    neighbours_[number].address = address;
    unknown_.push_back(neighbours_, number);
    index_.insert(hash(address), number);
    counters_[Value::kNeighbours].add();
  }
  neighbours_[number].used_ms = now_ms;
  last_ = number;
  return number;
}

Neighbours::Reach Neighbours::reach(Neighbour& neighbour, uint64_t now_ms) {
  if (neighbour.unreachable) return Reach::kUnreachable;
  const bool old = neighbour.known && now_ms - neighbour.heard_ms >= kFreshMs;
  if (!neighbour.asked && (!neighbour.known || old)) {
    ask(neighbour, now_ms);
    publish(neighbour);
  }
  return neighbour.known ? Reach::kKnown : Reach::kAsked;
}

void Neighbours::learn(const NeighbourMessage& message, bool add, uint64_t now_ms) {
  const uint32_t number = add ? find_or_add(message.sender, now_ms) : find(message.sender);
  if (number == 0) return;
  Neighbour& neighbour = neighbours_[number];
  // RFC 4861, 7.2.5. Asking, where it goes on, finds out whether the known one is still there.
  if (neighbour.known && !message.overrides && neighbour.mac != message.mac) return;
  set_known(neighbour, message.mac);
  neighbour.heard_ms = now_ms;
  stop_asking(neighbour);
  release(neighbour);
  publish(neighbour);
}

void Neighbours::set_known(Neighbour& neighbour, const MacAddress& mac) {
  neighbour.mac = mac;
  if (neighbour.known) return;
  if (known_.count >= kKnownAtMost) forget_a_known_one();
  const uint32_t number = neighbours_.number_of(neighbour);
  unknown_.remove(neighbours_, number);
  known_.push_back(neighbours_, number);
  neighbour.known = true;
}

void Neighbours::ask(Neighbour& neighbour, uint64_t now_ms) {
  if (!neighbour.asked) {
    neighbour.asked = true;
    neighbour.tries = 0;
    asked_.push_back(neighbours_, neighbours_.number_of(neighbour));
  }
  ++neighbour.tries;
  neighbour.next_ms = now_ms + kRetryMs;
  counters_[Value::kSolicitations].add();
  rte_mbuf* frame = rte_pktmbuf_alloc(pool_);
  if (frame == nullptr) return;
  if (!write_request(frame, mac_, rules_.sender_for(neighbour.address), neighbour.address) ||
      !tx_.push(frame)) {
    rte_pktmbuf_free(frame);
  }
}

// Ends whatever was to come for the neighbour.
void Neighbours::stop_asking(Neighbour& neighbour) {
  if (neighbour.asked) asked_.remove(neighbours_, neighbours_.number_of(neighbour));
  neighbour.asked = false;
  neighbour.unreachable = false;
}

void Neighbours::give_up(Neighbour& neighbour, uint64_t now_ms) {
  if (neighbour.seed != MacAddress{}) {
    neighbour.mac = neighbour.seed;
    neighbour.heard_ms = now_ms;
    stop_asking(neighbour);
    return;
  }
  drop_waiting(neighbour);
  if (neighbour.known) {
    const uint32_t number = neighbours_.number_of(neighbour);
    known_.remove(neighbours_, number);
    unknown_.push_back(neighbours_, number);
  }
  neighbour.known = false;
  neighbour.unreachable = true;
  neighbour.next_ms = now_ms + kRetryMs;
}

void Neighbours::enqueue(Neighbour& neighbour, rte_mbuf* frame) {
  if (neighbour.waiting.count >= kQueuePerNeighbour) {
    rte_pktmbuf_free(take_waiting(neighbour));
    counters_[drops_.unresolved].add();
  }
  const uint32_t number = waiting_.take();
  if (number == 0) {
    rte_pktmbuf_free(frame);
    counters_[drops_.unresolved].add();
    return;
  }
  waiting_[number].mbuf = frame;
  neighbour.waiting.push_back(waiting_, number);
  counters_[Value::kNeighbourQueued].add();
}

void Neighbours::release(Neighbour& neighbour) {
  if (neighbour.waiting.empty()) return;
  while (!neighbour.waiting.empty()) {
    rte_mbuf* const frame = take_waiting(neighbour);
    transmit(neighbour.mac, &frame, 1);
  }
  // Other lcores learn of the neighbour only when the port has taken what waited, or they would overtake it.
  tx_.flush();
  if (!published_ || tx_.has_passed(tx_.position())) return;
  neighbour.left_at = tx_.position();
  if (neighbour.leaving) return;
  neighbour.leaving = true;
  leaving_.push_back(neighbours_, neighbours_.number_of(neighbour));
}

void Neighbours::drop_waiting(Neighbour& neighbour) {
  while (!neighbour.waiting.empty()) {
    rte_pktmbuf_free(take_waiting(neighbour));
    counters_[drops_.unresolved].add();
  }
}

rte_mbuf* Neighbours::take_waiting(Neighbour& neighbour) {
  const uint32_t number = neighbour.waiting.head;
  rte_mbuf* mbuf = waiting_[number].mbuf;
  neighbour.waiting.remove(waiting_, number);
  waiting_.give_back(number);
  counters_[Value::kNeighbourQueued].subtract();
  return mbuf;
}

void Neighbours::transmit(const MacAddress& mac, rte_mbuf* const* frames, uint32_t count) {
  for (uint32_t i = 0; i < count; ++i) {
    std::memcpy(rte_pktmbuf_mtod(frames[i], uint8_t*), mac.data(), mac.size());
  }
  const uint32_t taken = tx_.push(frames, count);
  counters_[forwarded_].add(taken);
  if (taken == count) return;
  rte_pktmbuf_free_bulk(const_cast<rte_mbuf**>(frames) + taken, count - taken);
  counters_[tx_.is_up() ? drops_.tx_full : drops_.port_down].add(count - taken);
}

void Neighbours::forget(uint32_t number) {
  Neighbour& neighbour = neighbours_[number];
  if (published_) (*published_)[number].withdraw();
  drop_waiting(neighbour);
  stop_asking(neighbour);
  if (neighbour.leaving) leaving_.remove(neighbours_, number);
  (neighbour.known ? known_ : unknown_).remove(neighbours_, number);
  index_.erase(hash(neighbour.address), number);
  neighbours_.give_back(number);
  counters_[Value::kNeighbours].subtract();
}

// Forgets the longest unused of the next few known ones.
void Neighbours::forget_a_known_one() {
  uint32_t oldest = known_.head;
  for (uint32_t left = std::min(known_.count, kLookedAt); left > 0; --left) {
    const uint32_t number = known_.head;
    known_.remove(neighbours_, number);
    known_.push_back(neighbours_, number);
    if (neighbours_[number].used_ms < neighbours_[oldest].used_ms) oldest = number;
  }
  forget(oldest);
}

}  // namespace psp
