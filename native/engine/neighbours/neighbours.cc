// SPDX-License-Identifier: Apache-2.0
// One list holds every neighbour whose state has a timer; tick() walks it. Known neighbours never fill the
// table, so there is always an unknown one to evict when it is full.
#include "engine/neighbours/neighbours.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace psp {

namespace {
constexpr uint32_t kTimersPerTick = 64;
constexpr uint32_t kEvictionCandidates = 64;
}  // namespace

Neighbours::Neighbours(const NeighbourRules& rules, const MacAddress& mac, TxQueue& tx, rte_mempool* pool,
                       Counters& counters, const Drops& drops, Value forwarded, bool publishes)
    : rules_(rules),
      mac_(mac),
      tx_(tx),
      pool_(pool),
      counters_(counters),
      sender_(tx, counters, drops, forwarded),
      neighbours_(kCapacity),
      index_(kCapacity),
      waiting_(kQueueTotal),
      published_(publishes, kCapacity) {}

Neighbours::~Neighbours() {
  for (uint32_t n = 1; n <= waiting_.touched(); ++n) {
    if (waiting_[n].used) rte_pktmbuf_free(waiting_[n].mbuf);
  }
}

void Neighbours::publish(const Neighbour& neighbour) {
  if (!published_.is_shared()) return;
  const uint32_t index = neighbours_.index_of(neighbour);
  if (!is_known(neighbour.state) || neighbour.sending) return published_.withdraw(index);
  uint64_t until_ms = 0;  // of a stale one
  if (is_due(neighbour.state)) until_ms = neighbour.next_ms;
  if (neighbour.state == State::kReachable) until_ms = neighbour.confirmed_ms + kReachableMs;
  published_.publish(index, {neighbour.address, until_ms, neighbour.mac, {}});
}

// Publishes the neighbours whose waiting frames the port has taken by now.
void Neighbours::publish_sent() {
  for (uint32_t left = std::min(sending_.count, kTimersPerTick); left > 0; --left) {
    const uint32_t index = sending_.head;
    Neighbour& neighbour = neighbours_[index];
    sending_.remove(neighbours_, index);
    if (tx_.has_passed(neighbour.sent_at)) {
      neighbour.sending = false;
      publish(neighbour);
    } else {
      sending_.push_back(neighbours_, index);
    }
  }
}

Neighbours::Reach Neighbours::reach(const Address& address, uint64_t now_ms) {
  const uint32_t index = find_or_add(address, now_ms);
  return reach(neighbours_[index], now_ms);
}

MacAddress Neighbours::mac_of(const Address& address) const {
  const uint32_t index = find(address);
  return index != 0 && is_known(neighbours_[index].state) ? neighbours_[index].mac : MacAddress{};
}

void Neighbours::send(const Address& address, rte_mbuf* frame, uint64_t now_ms) {
  send(address, &frame, 1, now_ms);
}

void Neighbours::send(const Address& address, rte_mbuf* const* frames, uint32_t count, uint64_t now_ms) {
  Neighbour& neighbour = neighbours_[find_or_add(address, now_ms)];
  switch (reach(neighbour, now_ms)) {
    case Reach::kKnown:
      sender_.send(neighbour.mac, frames, count);
      return;
    case Reach::kSolicited:
      for (uint32_t i = 0; i < count; ++i) enqueue(neighbour, frames[i]);
      return;
    case Reach::kUnreachable:
      sender_.drop(frames, count, sender_.drops().unresolved);
      return;
  }
}

void Neighbours::seed(const Address& address, const MacAddress& mac, uint64_t now_ms) {
  if (!is_unicast(mac)) return;
  Neighbour& neighbour = neighbours_[find_or_add(address, now_ms)];
  neighbour.seed = mac;
  if (is_known(neighbour.state)) return;
  neighbour.mac = mac;
  begin_soliciting(neighbour, State::kProbe, now_ms);
  release(neighbour);
  publish(neighbour);
}

void Neighbours::change_mac(const MacAddress& mac) {
  mac_ = mac;
  for (const Address& own : rules_.own()) {
    rte_mbuf* frame = rte_pktmbuf_alloc(pool_);
    if (frame == nullptr) return;
    if (!write_announcement(frame, mac_, own) || !tx_.push(frame)) rte_pktmbuf_free(frame);
  }
}

void Neighbours::receive(const NeighbourMessage& message, uint64_t now_ms) {
  const bool sender_given = message.sender != Address{};
  const bool mac_given = is_unicast(message.mac);
  // An unsolicited announcement (gratuitous ARP) only refreshes what is known already.
  const bool announces = message.sender == message.target;
  const auto answer = message.request && sender_given && mac_given && !announces
                          ? rules_.answers(message)
                          : NeighbourRules::Answer::kNo;
  const bool to_us = answer != NeighbourRules::Answer::kNo;
  if (sender_given && rules_.is_neighbour(message.sender)) {
    if (mac_given) learn(message, to_us, now_ms);
    // An answer to a unicast solicitation may leave the MAC address out (RFC 4861 section 7.2.4).
    if (!mac_given && message.solicited) confirm(message.sender, now_ms);
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
  publish_sent();
  timers_.begin(now_ms, std::min(due_.count, kTimersPerTick));
  // Answers may shorten the list between turns.
  while (!due_.empty() && timers_.next(budget)) {
    const uint32_t index = due_.head;
    Neighbour& neighbour = neighbours_[index];
    due_.remove(neighbours_, index);
    due_.push_back(neighbours_, index);
    budget.spend(1);
    if (now_ms < neighbour.next_ms) continue;
    budget.spend(Budget::kNeighbourChange + neighbour.waiting.count);
    const bool retries_left = neighbour.tries < kTries;
    switch (neighbour.state) {
      case State::kIncomplete:
        retries_left ? solicit(neighbour, now_ms) : give_up(neighbour, now_ms);
        break;
      case State::kDelay:
        begin_soliciting(neighbour, State::kProbe, now_ms);
        break;
      case State::kProbe:
        retries_left ? solicit(neighbour, now_ms) : end_probing(neighbour, now_ms);
        break;
      default:  // unreachable
        remove(index);
    }
    if (neighbour.used) publish(neighbour);
  }
  return due_.empty() || !timers_.is_unfinished();
}

uint32_t Neighbours::find(const Address& address) const {
  return index_.find(hash(address), [&](uint32_t n) { return is_same(neighbours_[n].address, address); });
}

uint32_t Neighbours::find_or_add(const Address& address, uint64_t now_ms) {
  const Neighbour& last = neighbours_[last_];
  uint32_t index = last.used && is_same(last.address, address) ? last_ : find(address);
  if (index == 0) {
    if (neighbours_.room() == 0) remove(unknown_.head);
    index = neighbours_.take();
    neighbours_[index].address = address;
    unknown_.push_back(neighbours_, index);
    index_.insert(hash(address), index);
    counters_[Value::kNeighbours].add();
  }
  neighbours_[index].used_ms = now_ms;
  last_ = index;
  return index;
}

Neighbours::Reach Neighbours::reach(Neighbour& neighbour, uint64_t now_ms) {
  switch (neighbour.state) {
    case State::kUnreachable:
      return Reach::kUnreachable;
    case State::kNew:
      begin_soliciting(neighbour, State::kIncomplete, now_ms);
      return Reach::kSolicited;
    case State::kIncomplete:
      return Reach::kSolicited;
    case State::kReachable:
      if (now_ms - neighbour.confirmed_ms < kReachableMs) break;
      [[fallthrough]];
    case State::kStale:
      enter(neighbour, State::kDelay, now_ms + kDelayMs);
      publish(neighbour);
      break;
    case State::kDelay:
    case State::kProbe:
      break;
  }
  return Reach::kKnown;
}

bool Neighbours::is_due(State state) {
  return state == State::kIncomplete || state == State::kUnreachable || state == State::kDelay ||
         state == State::kProbe;
}

void Neighbours::enter(Neighbour& neighbour, State state, uint64_t next_ms) {
  const uint32_t index = neighbours_.index_of(neighbour);
  const State before = std::exchange(neighbour.state, state);
  neighbour.next_ms = next_ms;
  if (is_due(before) != is_due(state)) {
    is_due(state) ? due_.push_back(neighbours_, index) : due_.remove(neighbours_, index);
  }
  if (is_known(before) == is_known(state)) return;
  if (is_known(state) && known_.count >= kKnownAtMost) evict_known();
  (is_known(before) ? known_ : unknown_).remove(neighbours_, index);
  (is_known(state) ? known_ : unknown_).push_back(neighbours_, index);
}

// RFC 4861 sections 7.2.3 and 7.2.5; of ARP, RFC 826 and the same. Only an answer to us confirms that the
// neighbour is reachable; any other message with another MAC address makes it stale.
void Neighbours::learn(const NeighbourMessage& message, bool add, uint64_t now_ms) {
  const uint32_t index = add ? find_or_add(message.sender, now_ms) : find(message.sender);
  if (index == 0) return;
  Neighbour& neighbour = neighbours_[index];
  const bool known = is_known(neighbour.state);
  const bool same = known && neighbour.mac == message.mac;
  const bool confirms = message.solicited && message.unicast;
  if (same && !confirms) return;
  if (known && !same && !message.overrides) {
    // Whether the known address still answers shows when it is probed.
    if (neighbour.state == State::kReachable) enter(neighbour, State::kStale);
    publish(neighbour);
    return;
  }
  neighbour.mac = message.mac;
  if (confirms) neighbour.confirmed_ms = now_ms;
  enter(neighbour, confirms ? State::kReachable : State::kStale);
  release(neighbour);
  publish(neighbour);
}

void Neighbours::confirm(const Address& address, uint64_t now_ms) {
  const uint32_t index = find(address);
  if (index == 0 || !is_known(neighbours_[index].state)) return;
  neighbours_[index].confirmed_ms = now_ms;
  enter(neighbours_[index], State::kReachable);
  publish(neighbours_[index]);
}

void Neighbours::begin_soliciting(Neighbour& neighbour, State state, uint64_t now_ms) {
  enter(neighbour, state);
  neighbour.tries = 0;
  solicit(neighbour, now_ms);
}

// A configured MAC address does not show where the neighbour is, so all neighbours are solicited.
void Neighbours::solicit(Neighbour& neighbour, uint64_t now_ms) {
  ++neighbour.tries;
  neighbour.next_ms = now_ms + kRetryMs;
  counters_[Value::kSolicitations].add();
  rte_mbuf* frame = rte_pktmbuf_alloc(pool_);
  if (frame == nullptr) return;
  std::optional<MacAddress> at;
  if (is_known(neighbour.state) && neighbour.mac != neighbour.seed) at = neighbour.mac;
  if (!write_request(frame, mac_, rules_.sender_for(neighbour.address), neighbour.address, at) ||
      !tx_.push(frame)) {
    rte_pktmbuf_free(frame);
  }
}

void Neighbours::give_up(Neighbour& neighbour, uint64_t now_ms) {
  drop_waiting(neighbour);
  enter(neighbour, State::kUnreachable, now_ms + kRetryMs);
}

// No probe was answered. The neighbour is removed (RFC 4861 section 7.3.3) and solicited again when it is
// used; a configured MAC address serves meanwhile.
void Neighbours::end_probing(Neighbour& neighbour, uint64_t now_ms) {
  if (neighbour.seed == MacAddress{}) return remove(neighbours_.index_of(neighbour));
  if (std::exchange(neighbour.mac, neighbour.seed) != neighbour.seed) {
    return begin_soliciting(neighbour, State::kProbe, now_ms);
  }
  neighbour.confirmed_ms = now_ms;
  enter(neighbour, State::kReachable);
}

void Neighbours::enqueue(Neighbour& neighbour, rte_mbuf* frame) {
  if (neighbour.waiting.count >= kQueuePerNeighbour) drop_oldest_waiting(neighbour);
  const uint32_t index = waiting_.take();
  if (index == 0) return sender_.drop(&frame, 1, sender_.drops().unresolved);
  waiting_[index].mbuf = frame;
  neighbour.waiting.push_back(waiting_, index);
  counters_[Value::kNeighbourQueued].add();
}

void Neighbours::release(Neighbour& neighbour) {
  if (neighbour.waiting.empty()) return;
  while (!neighbour.waiting.empty()) {
    rte_mbuf* const frame = take_waiting(neighbour);
    sender_.send(neighbour.mac, &frame, 1);
  }
  // The neighbour is published only when the port has taken these frames: those of worker lcores would
  // overtake them.
  tx_.flush();
  if (!published_.is_shared() || tx_.has_passed(tx_.position())) return;
  neighbour.sent_at = tx_.position();
  if (neighbour.sending) return;
  neighbour.sending = true;
  sending_.push_back(neighbours_, neighbours_.index_of(neighbour));
}

void Neighbours::drop_waiting(Neighbour& neighbour) {
  while (!neighbour.waiting.empty()) drop_oldest_waiting(neighbour);
}

void Neighbours::drop_oldest_waiting(Neighbour& neighbour) {
  rte_mbuf* const frame = take_waiting(neighbour);
  sender_.drop(&frame, 1, sender_.drops().unresolved);
}

rte_mbuf* Neighbours::take_waiting(Neighbour& neighbour) {
  const uint32_t index = neighbour.waiting.head;
  rte_mbuf* mbuf = waiting_[index].mbuf;
  neighbour.waiting.remove(waiting_, index);
  waiting_.give_back(index);
  counters_[Value::kNeighbourQueued].subtract();
  return mbuf;
}

void Neighbours::remove(uint32_t index) {
  Neighbour& neighbour = neighbours_[index];
  published_.withdraw(index);
  drop_waiting(neighbour);
  if (is_due(neighbour.state)) due_.remove(neighbours_, index);
  if (neighbour.sending) sending_.remove(neighbours_, index);
  (is_known(neighbour.state) ? known_ : unknown_).remove(neighbours_, index);
  index_.erase(hash(neighbour.address), index);
  neighbours_.give_back(index);
  counters_[Value::kNeighbours].subtract();
}

// Evicts the longest unused of the next few known ones.
void Neighbours::evict_known() {
  uint32_t oldest = known_.head;
  for (uint32_t left = std::min(known_.count, kEvictionCandidates); left > 0; --left) {
    const uint32_t index = known_.head;
    known_.remove(neighbours_, index);
    known_.push_back(neighbours_, index);
    if (neighbours_[index].used_ms < neighbours_[oldest].used_ms) oldest = index;
  }
  remove(oldest);
}

}  // namespace psp
