// SPDX-License-Identifier: Apache-2.0
// How a gateway processes packets that are too long: ICMP errors are correct and never sent about errors, and
// fragments reassemble to the original packet.
//
//   u16 MTU | u8 what | u8 room of the pool | IP packet, whose IPv4 checksum is mended
#include <optional>

#include "engine/ip/fragment.h"
#include "engine/ip/icmp_error.h"
#include "engine/ports/packet.h"
#include "memory_port.h"
#include "packets.h"
#include "psp/transport.h"

namespace psp::fuzz {
namespace {

constexpr MacAddress kMac = {2, 0, 0, 0, 1, 1};

struct Pools {
  Pool whole{"whole", 8, 65535};
  Pool wide{"wide", 256, RTE_PKTMBUF_HEADROOM + 9014};
  Pool narrow{"narrow", 4, RTE_PKTMBUF_HEADROOM + 600};
};

Pools& pools() {
  static auto* const made = new Pools();
  return *made;
}

void look_at_error(const Octets& packet, const IpPacket& ip, uint16_t mtu) {
  const bool ipv6 = ip.version == 6;
  rte_mbuf* mbuf = rte_pktmbuf_alloc(pools().wide.get());
  static constexpr uint8_t kOwn[4] = {10, 1, 0, 1};
  const Address source = ipv6 ? Address{0xfd, 1} : mapped(kOwn);
  require(write_too_big(mbuf, kMac, source, ip, packet.data(), mtu), "an error fits its mbuf");
  const auto* frame = rte_pktmbuf_mtod(mbuf, const uint8_t*);
  const Octets error(frame + kEthernetLength, frame + mbuf->data_len);
  rte_pktmbuf_free(mbuf);

  IpPacket said;
  require(read_ip(error.data(), error.size(), &said) == IpFault::kNone, "an error is an IP packet");
  require(said.length == error.size() && said.version == ip.version, "of the packet's family");
  require(error.size() <= (ipv6 ? kIcmpv6Octets : kIcmpOctets), "no longer than allowed");
  require(said.source == source && said.destination == ip.source, "to the sender");
  const size_t message = error.size() - said.payload_offset;
  const uint32_t pseudo = ipv6 ? pseudo_header_sum(said, static_cast<uint32_t>(message)) : 0;
  const uint8_t* icmp = error.data() + said.payload_offset;
  require(plain_checksum(icmp, message, pseudo) == 0, "its checksum holds");
  require(std::equal(icmp + 8, icmp + message, packet.begin()), "it quotes the packet");
  require((ipv6 ? load_u32(icmp + 4) : load_u16(icmp + 6)) == mtu, "it says the MTU");
  require(!may_cause_error(said, error.data()), "no error about an error");
}

// The fragment's offset and payload; `front` octets of IP headers without the fragment header.
struct Piece {
  uint32_t offset = 0;
  bool more = false;
  Octets payload;
};

Piece piece_of(const rte_mbuf* mbuf, uint32_t mtu, uint16_t front) {
  const auto* frame = rte_pktmbuf_mtod(mbuf, const uint8_t*);
  const Octets octets(frame + kEthernetLength, frame + mbuf->data_len);
  IpPacket ip;
  require(read_ip(octets.data(), octets.size(), &ip) == IpFault::kNone, "a fragment is an IP packet");
  require(ip.length == octets.size() && ip.length <= mtu, "a fragment keeps to the MTU");
  Piece piece;
  size_t headers = 0;
  if (ip.version == 4) {
    headers = ip.payload_offset;
    piece.offset = (load_u16(&octets[6]) & 0x1fffu) * 8;
    piece.more = load_u16(&octets[6]) & 0x2000;
  } else {
    headers = front + size_t{8};
    piece.offset = load_u16(&octets[front + 2u]) & 0xfff8u;
    piece.more = load_u16(&octets[front + 2u]) & 1;
  }
  piece.payload.assign(octets.begin() + static_cast<ptrdiff_t>(headers), octets.end());
  return piece;
}

void look_at_fragments(const Fragments& fragments, uint32_t mtu, uint16_t front, uint32_t begin, bool more,
                       const uint8_t* payload, size_t length) {
  Octets joined;
  for (uint32_t i = 0; i < fragments.count; ++i) {
    const bool last = i + 1 == fragments.count;
    const Piece piece = piece_of(fragments.mbufs[i], mtu, front);
    require(piece.offset == ((begin + joined.size()) & 0xffff), "fragments follow one another");
    require(last ? piece.more == more : piece.more, "all but the last say that more follow");
    require(last || piece.payload.size() % 8 == 0, "and have a multiple of 8 octets");
    joined.insert(joined.end(), piece.payload.begin(), piece.payload.end());
  }
  require(joined == Octets(payload, payload + length), "fragments join to the packet");
}

void look_at_cutting(const Octets& packet, const IpPacket& ip, uint16_t mtu, const Pool& pool) {
  const uint32_t before = rte_mempool_in_use_count(pool.get());
  rte_mbuf* frame = rte_pktmbuf_alloc(pools().whole.get());
  char* const room = rte_pktmbuf_append(frame, static_cast<uint16_t>(kEthernetLength + packet.size()));
  if (room == nullptr) {
    rte_pktmbuf_free(frame);
    return;
  }
  std::memcpy(room + kEthernetLength, packet.data(), packet.size());
  EthernetAddress(kMac).write_source(reinterpret_cast<uint8_t*>(room), ip.version == 6);
  Fragments fragments;
  FragmentFault fault = FragmentFault::kUnfragmentable;
  uint16_t front = ip.payload_offset;
  uint32_t begin = 0;
  bool more = false;
  TransportLayout at;
  if (ip.version == 4) {
    fault = fragment_ipv4(frame, mtu, pool.get(), &fragments);
    begin = (load_u16(&packet[6]) & 0x1fffu) * 8;
    more = load_u16(&packet[6]) & 0x2000;
    // Only sealed packets are fragmented: no extension header follows the front.
  } else if (read_transport_layout(ip, packet.data(), &at) == TransportFault::kNone &&
             at.header_length == ip.payload_offset) {
    front = at.header_length;
    fault = fragment_ipv6(frame, mtu, {at.header_length, at.protocol_offset}, 7, pool.get(), &fragments);
  }
  rte_pktmbuf_free(frame);
  if (fault == FragmentFault::kNone) {
    require(fragments.count > 0 && fragments.count <= kFragmentsAtMost, "a bounded number of fragments");
    look_at_fragments(fragments, mtu, front, begin, more, packet.data() + front, packet.size() - front);
    rte_pktmbuf_free_bulk(fragments.mbufs.data(), fragments.count);
  } else {
    require(fragments.count == 0, "all or nothing");
  }
  require(rte_mempool_in_use_count(pool.get()) == before, "nothing is lost");
}

}  // namespace
}  // namespace psp::fuzz

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  psp::fuzz::enter_environment();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t length) {
  using namespace psp;
  using namespace psp::fuzz;
  Input input(data, length);
  const uint16_t mtu = input.u16();
  const bool narrow = input.u8() & 1;
  Octets packet = input.rest();
  fix_checksums(packet.data(), packet.size());
  IpPacket ip;
  if (read_ip(packet.data(), packet.size(), &ip) != IpFault::kNone) return 0;
  packet.resize(ip.length);
  packet.shrink_to_fit();
  if (may_cause_error(ip, packet.data())) look_at_error(packet, ip, mtu);
  look_at_cutting(packet, ip, mtu, narrow ? pools().narrow : pools().wide);
  return 0;
}
