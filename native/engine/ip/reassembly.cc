// SPDX-License-Identifier: Apache-2.0
// The data begin at a fixed offset in a buffer, so that they can be copied before the first fragment shows
// how long the headers are, which are then put right before them.
#include "engine/ip/reassembly.h"

#include <algorithm>
#include <cstring>

#include "psp/ecn.h"
#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

namespace {

constexpr uint32_t kTailRoom = 16;   // for the ICV
constexpr uint32_t kFrontRoom = 32;  // for UDP, PSP header and cookie
constexpr uint32_t kDataAt = 288;    // from the start of a buffer
static_assert(kFrontRoom + kEthernetLength + Reassembly::kHeadersAtMost <= kDataAt);
constexpr uint32_t kRoom = kDataAt + Reassembly::kDataAtMost + kTailRoom;
static_assert(kRoom <= UINT16_MAX);

// Reassembled datagrams that may still be in use while all others are in progress.
constexpr uint32_t kUnderWay = 64;

}  // namespace

Reassembly::Reassembly(const Drops& drops, Counters& counters)
    : drops_(drops),
      counters_(counters),
      pool_("reassembly", kDatagrams + kUnderWay, kRoom),
      datagrams_(kDatagrams),
      index_(kDatagrams) {}

Reassembly::~Reassembly() {
  for (uint32_t n = by_age_.head; n != 0; n = datagrams_[n].by_age.next) rte_pktmbuf_free(datagrams_[n].mbuf);
}

bool Reassembly::add(Packet& packet, uint64_t now_ms) {
  const auto drop = [&](Drop reason) {
    rte_pktmbuf_free(packet.mbuf);
    counters_[reason].add();
    return false;
  };
  Place place;
  if (!read_place(packet, &place)) return drop(drops_.malformed);
  const uint32_t known = find(place.key);
  const uint32_t index = known != 0 ? known : begin(place.key, now_ms);
  if (index == 0) return drop(drops_.full);
  Datagram& datagram = datagrams_[index];
  switch (judge(datagram, index, place, packet.layer3() + place.data_offset)) {
    case Fate::kFits:
      break;
    case Fate::kDuplicate:
      return drop(drops_.duplicate);
    case Fate::kOverlap:
      drop_all(datagram, drops_.overlap);
      return drop(drops_.overlap);
  }
  copy_in(datagram, index, place, packet);
  rte_pktmbuf_free(packet.mbuf);
  return complete(datagram) && finish(index, packet);
}

uint32_t Reassembly::completes(const Packet& packet) const {
  Place place;
  const uint32_t index = read_place(packet, &place) ? find(place.key) : 0;
  if (index == 0) return 0;
  Datagram datagram = datagrams_[index];
  if (judge(datagram, index, place, packet.layer3() + place.data_offset) != Fate::kFits) return 0;
  note(datagram, place);
  return complete(datagram) ? datagram.headers + datagram.length : 0;
}

bool Reassembly::tick(uint64_t now_ms, Budget& budget) {
  while (!by_age_.empty() && now_ms >= datagrams_[by_age_.head].due_ms) {
    if (budget.spent()) return false;
    drop_all(datagrams_[by_age_.head], drops_.timeout);
    end(by_age_.head);
    budget.spend(1);
  }
  return true;
}

bool Reassembly::read_place(const Packet& packet, Place* place) {
  const uint8_t* ip = packet.layer3();
  place->key.source = packet.ip.source;
  place->key.destination = packet.ip.destination;
  if (packet.ip.version == 6) {
    if (!read_ipv6_place(packet, place)) return false;
  } else {
    const uint16_t marks = load_u16(ip + 6);
    place->key.identification = load_u16(ip + 4);
    place->key.protocol = packet.ip.protocol;
    place->offset = (marks & kFragmentOffset) * kBlock;
    place->more = marks & kMoreFragments;
    place->headers = place->data_offset = packet.ip.payload_offset;
    place->protocol_offset = packet.ip.protocol_offset;
    place->protocol = packet.ip.protocol;
  }
  if (packet.ip.length <= place->data_offset || place->headers > kHeadersAtMost) return false;
  place->length = packet.ip.length - place->data_offset;
  if (place->more && place->length % kBlock != 0) return false;
  return place->offset + place->length <= kDataAtMost;
}

// Finds the first fragment header: only headers that routers read stand in front of it.
bool Reassembly::read_ipv6_place(const Packet& packet, Place* place) {
  const uint8_t* ip = packet.layer3();
  uint32_t at = kIpv6Header;
  place->protocol_offset = 6;
  for (uint8_t protocol = ip[6]; protocol != kProtocolFragment;) {
    if (protocol != kProtocolHopByHop && protocol != kProtocolRouting &&
        protocol != kProtocolDestinationOptions) {
      return false;
    }
    place->protocol_offset = static_cast<uint16_t>(at);
    protocol = ip[at];
    at += (ip[at + 1] + 1u) * 8;
    if (at + kFragmentHeader > packet.ip.length) return false;
  }
  const uint16_t field = load_u16(ip + at + 2);
  place->key.identification = load_u32(ip + at + 4);
  place->key.protocol = 0;
  place->offset = field & kIpv6FragmentOffset;
  place->more = field & 1;
  place->headers = static_cast<uint16_t>(at);
  place->data_offset = static_cast<uint16_t>(at + kFragmentHeader);
  place->protocol = ip[at];
  return true;
}

uint32_t Reassembly::find(const Key& key) const {
  return index_.find(hash(key), [&](uint32_t n) { return datagrams_[n].key == key; });
}

uint32_t Reassembly::begin(const Key& key, uint64_t now_ms) {
  uint32_t of_source = 0, oldest = 0;
  for (uint32_t n = by_age_.head; n != 0; n = datagrams_[n].by_age.next) {
    if (datagrams_[n].key.source != key.source) continue;
    if (of_source++ == 0) oldest = n;
  }
  const auto evict = [&](uint32_t index) {
    drop_all(datagrams_[index], drops_.full);
    end(index);
  };
  if (of_source >= kPerSource) {
    evict(oldest);
  } else if (datagrams_.room() == 0) {
    evict(by_age_.head);
  }
  rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_.get());
  // Too many reassembled datagrams are still in use.
  while (mbuf == nullptr && !by_age_.empty()) {
    evict(by_age_.head);
    mbuf = rte_pktmbuf_alloc(pool_.get());
  }
  if (mbuf == nullptr) return 0;

  const uint32_t index = datagrams_.take();
  Datagram& datagram = datagrams_[index];
  datagram.key = key;
  datagram.mbuf = mbuf;
  datagram.due_ms = now_ms + kTimeoutMs;
  received_[index].reset();
  index_.insert(hash(key), index);
  by_age_.push_back(datagrams_, index);
  return index;
}

Reassembly::Fate Reassembly::judge(const Datagram& datagram, uint32_t index, const Place& place,
                                   const uint8_t* data) const {
  if (datagram.mbuf == nullptr) return Fate::kOverlap;
  const uint32_t end = place.offset + place.length;
  // Two different ends, or data after the end.
  if (!place.more && end < datagram.end) return Fate::kOverlap;
  if (datagram.length != 0 && (place.more ? end >= datagram.length : end != datagram.length)) {
    return Fate::kOverlap;
  }
  uint32_t there = 0;
  const uint32_t first = place.offset / kBlock, behind = (end + kBlock - 1) / kBlock;
  for (uint32_t block = first; block < behind; ++block) there += received_[index][block];
  if (there == 0) return Fate::kFits;
  const bool same =
      there == behind - first && std::memcmp(data_of(datagram) + place.offset, data, place.length) == 0;
  return same ? Fate::kDuplicate : Fate::kOverlap;
}

// Notes what a fragment shows of its datagram.
void Reassembly::note(Datagram& datagram, const Place& place) {
  const uint32_t end = place.offset + place.length;
  datagram.blocks += (place.length + kBlock - 1) / kBlock;
  datagram.end = std::max(datagram.end, end);
  if (!place.more) datagram.length = end;
  if (place.offset == 0) datagram.headers = place.headers;
}

void Reassembly::copy_in(Datagram& datagram, uint32_t index, const Place& place, const Packet& packet) {
  const uint32_t end = place.offset + place.length;
  const uint32_t first = place.offset / kBlock, behind = (end + kBlock - 1) / kBlock;
  std::memcpy(data_of(datagram) + place.offset, packet.layer3() + place.data_offset, place.length);
  for (uint32_t block = first; block < behind; ++block) received_[index].set(block);
  note(datagram, place);
  if (place.offset == 0) {
    uint8_t* const ip = data_of(datagram) - place.headers;
    std::memcpy(ip - kEthernetLength, packet.frame(), kEthernetLength + uint32_t{place.headers});
    ip[place.protocol_offset] = place.protocol;
  }
  datagram.ecn_seen |= static_cast<uint8_t>(1 << (packet.ip.traffic_class & kEcnMask));
  ++datagram.fragments;
  counters_[Value::kFragmentsWaiting].add();
}

bool Reassembly::finish(uint32_t index, Packet& packet) {
  Datagram& datagram = datagrams_[index];
  uint8_t* const ip = data_of(datagram) - datagram.headers;
  const uint32_t length = datagram.headers + datagram.length;
  if (ip[0] >> 4 == 4) {
    store_u16(ip + 2, static_cast<uint16_t>(length));
    store_u16(ip + 6, load_u16(ip + 6) & static_cast<uint16_t>(~(kMoreFragments | kFragmentOffset)));
    write_ipv4_checksum(ip);
  } else {
    store_u16(ip + 4, static_cast<uint16_t>(length - kIpv6Header));
  }
  Packet whole = packet;  // what the pipes noted of the last fragment holds for the datagram
  whole.mbuf = datagram.mbuf;
  whole.mbuf->data_off = static_cast<uint16_t>(kDataAt - datagram.headers - kEthernetLength);
  whole.mbuf->data_len = static_cast<uint16_t>(kEthernetLength + length);
  whole.mbuf->pkt_len = whole.mbuf->data_len;
  whole.reassembled = true;
  const bool congested = datagram.ecn_seen & 1 << kCongestionExperienced;
  const bool impossible = congested && (datagram.ecn_seen & 1 << kNotEct) != 0;
  if (impossible || read_ip(ip, length, &whole.ip) != IpFault::kNone || whole.ip.fragment) {
    drop_all(datagram, drops_.malformed);
    end(index);
    return false;
  }
  if (congested) set_ecn(kCongestionExperienced, &whole.ip, ip);
  packet = whole;
  counters_[Value::kReassembled].add();
  counters_[Value::kFragmentsJoined].add(datagram.fragments - 1);
  counters_[Value::kFragmentsWaiting].subtract(datagram.fragments);
  datagram.mbuf = nullptr;
  end(index);
  return true;
}

// Counts every fragment that waited, and frees the memory; the record stays.
void Reassembly::drop_all(Datagram& datagram, Drop reason) {
  counters_[reason].add(datagram.fragments);
  counters_[Value::kFragmentsWaiting].subtract(datagram.fragments);
  datagram.fragments = 0;
  rte_pktmbuf_free(datagram.mbuf);
  datagram.mbuf = nullptr;
}

void Reassembly::end(uint32_t index) {
  by_age_.remove(datagrams_, index);
  index_.erase(hash(datagrams_[index].key), index);
  datagrams_.give_back(index);
}

uint8_t* Reassembly::data_of(const Datagram& datagram) const {
  return static_cast<uint8_t*>(datagram.mbuf->buf_addr) + kDataAt;
}

}  // namespace psp
