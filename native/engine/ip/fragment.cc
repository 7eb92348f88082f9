// SPDX-License-Identifier: Apache-2.0
// Both families alike: headers in front of each fragment, fragments of one size that is a multiple of 8
// octets, the last one shorter.
#include "engine/ip/fragment.h"

#include <algorithm>
#include <cstring>

#include "engine/ports/packet.h"
#include "psp/ip_packet.h"
#include "psp/octets.h"
#include "psp/protocols.h"
#include "psp/secret.h"

namespace psp {

namespace {

constexpr uint8_t kEndOfOptions = 0, kNoOperation = 1, kCopied = 0x80;

// Allocates frames for `payload` octets after `headers` octets of headers; all or nothing.
FragmentFault make_room(uint32_t payload, uint32_t headers, uint32_t mtu, rte_mempool* pool, uint32_t* step,
                        Fragments* fragments) {
  fragments->count = 0;
  if (mtu < headers + 8) return FragmentFault::kUnfragmentable;
  *step = (mtu - headers) & ~7u;
  const uint32_t count = (payload + *step - 1) / *step;
  if (count == 0 || count > kFragmentsAtMost) return FragmentFault::kUnfragmentable;
  if (rte_pktmbuf_alloc_bulk(pool, fragments->mbufs.data(), count) != 0) return FragmentFault::kNoMemory;
  fragments->count = count;
  if (rte_pktmbuf_tailroom(fragments->mbufs[0]) >= kEthernetLength + headers + *step) {
    return FragmentFault::kNone;
  }
  rte_pktmbuf_free_bulk(fragments->mbufs.data(), count);
  fragments->count = 0;
  return FragmentFault::kUnfragmentable;
}

uint8_t* append(rte_mbuf* mbuf, const void* octets, uint32_t length) {
  auto* to = reinterpret_cast<uint8_t*>(rte_pktmbuf_append(mbuf, static_cast<uint16_t>(length)));
  std::memcpy(to, octets, length);
  return to;
}

// Writes the header of the fragments after the first: the fixed part and the options with the copied flag.
// Returns its length.
uint32_t write_later_header(const uint8_t* header, uint32_t length, uint8_t* later) {
  std::memcpy(later, header, kIpv4Header);
  uint32_t written = kIpv4Header;
  for (uint32_t at = kIpv4Header; at < length && header[at] != kEndOfOptions;) {
    if (header[at] == kNoOperation) {
      ++at;
      continue;
    }
    if (at + 1 >= length || header[at + 1] < 2 || at + header[at + 1] > length) break;
    if (header[at] & kCopied) {
      std::memcpy(later + written, header + at, header[at + 1]);
      written += header[at + 1];
    }
    at += header[at + 1];
  }
  while (written % 4 != 0) later[written++] = kEndOfOptions;
  later[0] = static_cast<uint8_t>(0x40 | written / 4);
  return written;
}

}  // namespace

FragmentFault fragment_ipv4(const rte_mbuf* frame, uint32_t mtu, rte_mempool* pool, Fragments* fragments) {
  const auto* ethernet = rte_pktmbuf_mtod(frame, const uint8_t*);
  const uint8_t* packet = ethernet + kEthernetLength;
  const uint32_t header = (packet[0] & 0x0f) * 4u;
  const uint32_t payload = load_u16(packet + 2) - header;
  const uint16_t marks = load_u16(packet + 6);
  uint32_t step = 0;
  // The last offset would not fit its 13 bits and spill into the marks.
  fragments->count = 0;
  if ((marks & kFragmentOffset) * 8u + payload > UINT16_MAX) return FragmentFault::kUnfragmentable;
  const FragmentFault fault = make_room(payload, header, mtu, pool, &step, fragments);
  if (fault != FragmentFault::kNone) return fault;
  uint8_t later[60];
  const uint32_t later_length = write_later_header(packet, header, later);

  for (uint32_t i = 0; i < fragments->count; ++i) {
    rte_mbuf* mbuf = fragments->mbufs[i];
    const uint32_t length = std::min(step, payload - i * step);
    append(mbuf, ethernet, kEthernetLength);
    uint8_t* own = i == 0 ? append(mbuf, packet, header) : append(mbuf, later, later_length);
    append(mbuf, packet + header + i * step, length);
    const bool last = i + 1 == fragments->count;
    const uint16_t more = last ? marks & kMoreFragments : kMoreFragments;
    const uint32_t offset = (marks & kFragmentOffset) + i * step / 8;
    store_u16(own + 2, static_cast<uint16_t>((own[0] & 0x0f) * 4u + length));
    store_u16(own + 6, static_cast<uint16_t>(more | offset));
    write_ipv4_checksum(own);
  }
  return FragmentFault::kNone;
}

FragmentFault fragment_ipv6(const rte_mbuf* frame, uint32_t mtu, const Unfragmentable& part,
                            uint32_t identification, rte_mempool* pool, Fragments* fragments) {
  const auto* ethernet = rte_pktmbuf_mtod(frame, const uint8_t*);
  const uint8_t* packet = ethernet + kEthernetLength;
  const uint32_t payload = 40u + load_u16(packet + 4) - part.front;
  uint32_t step = 0;
  const FragmentFault fault = make_room(payload, part.front + kFragmentHeader, mtu, pool, &step, fragments);
  if (fault != FragmentFault::kNone) return fault;

  for (uint32_t i = 0; i < fragments->count; ++i) {
    rte_mbuf* mbuf = fragments->mbufs[i];
    const uint32_t length = std::min(step, payload - i * step);
    append(mbuf, ethernet, kEthernetLength);
    uint8_t* own = append(mbuf, packet, part.front);
    uint8_t extension[kFragmentHeader] = {packet[part.protocol_offset], 0};
    const bool last = i + 1 == fragments->count;
    store_u16(extension + 2, static_cast<uint16_t>(i * step | (last ? 0 : 1)));
    store_u32(extension + 4, identification);
    append(mbuf, extension, kFragmentHeader);
    append(mbuf, packet + part.front + i * step, length);
    own[part.protocol_offset] = kProtocolFragment;
    store_u16(own + 4, static_cast<uint16_t>(part.front - 40 + kFragmentHeader + length));
  }
  return FragmentFault::kNone;
}

Identifications::Identifications() {
  uint32_t random[2];
  random_octets({reinterpret_cast<uint8_t*>(random), sizeof random});
  count_ = random[0];
  mask_ = random[1];
}

}  // namespace psp
