// SPDX-License-Identifier: Apache-2.0
// Lays out and reads `outer IP | UDP | PSP header | inner packet | ICV`.
#include "psp/tunnel.h"

#include <cstring>

#include "psp/ecn.h"
#include "psp/octets.h"

namespace psp {

namespace {

constexpr size_t kIpv4Header = 20, kIpv6Header = 40;
constexpr uint16_t kDontFragment = 0x4000;

uint8_t next_header_of(const IpPacket& inner_packet) {
  return inner_packet.version == 4 ? kNextHeaderIpv4 : kNextHeaderIpv6;
}

uint8_t traffic_class(const Outer& outer, const IpPacket& inner_packet) {
  if (!outer.dscp) return inner_packet.traffic_class;
  return static_cast<uint8_t>(*outer.dscp << 2 | (inner_packet.traffic_class & kEcnMask));
}

// Word by word, each stored once: the checksum is of the words, not of what was stored a moment ago.
void write_ipv4(const Outer& outer, uint8_t traffic_class, size_t total, uint8_t* octets) {
  const auto halves = [](uint32_t word) { return (word >> 16) + (word & 0xffff); };
  const uint32_t first =
      0x45000000u | static_cast<uint32_t>(traffic_class) << 16 | static_cast<uint16_t>(total);
  const uint32_t second =
      outer.dont_fragment ? kDontFragment : static_cast<uint32_t>(outer.identification) << 16;
  const uint32_t third = static_cast<uint32_t>(outer.hop_limit) << 24 | static_cast<uint32_t>(kProtocolUdp)
                                                                            << 16;
  const uint32_t source = load_u32(outer.source.data() + 12);
  const uint32_t destination = load_u32(outer.destination.data() + 12);
  const uint32_t sum = halves(first) + halves(second) + halves(third) + halves(source) + halves(destination);
  store_u32(octets, first);
  store_u32(octets + 4, second);
  store_u32(octets + 8, third | checksum_fold(sum));
  store_u32(octets + 12, source);
  store_u32(octets + 16, destination);
}

void write_ipv6(const Outer& outer, uint8_t traffic_class, size_t payload, uint8_t* octets) {
  store_u32(octets, 0x60000000u | static_cast<uint32_t>(traffic_class) << 20);
  store_u16(octets + 4, static_cast<uint16_t>(payload));
  octets[6] = kProtocolUdp;
  octets[7] = outer.hop_limit;
  std::memcpy(octets + 8, outer.source.data(), 16);
  std::memcpy(octets + 24, outer.destination.data(), 16);
}

}  // namespace

size_t tunnel_front(bool outer_ipv6, bool cookie) {
  return (outer_ipv6 ? kIpv6Header : kIpv4Header) + encapsulation_front(cookie);
}

uint8_t* lay_out_tunnel(void* expanded_key, const Outer& outer, const IpPacket& inner_packet, Header* header,
                        uint8_t* inner, AeadJob* job) {
  const bool ipv4 = is_ipv4(outer.source);
  const size_t udp_length = encapsulation_front(header->has_cookie) + inner_packet.length + kIcvLength;
  if ((ipv4 ? kIpv4Header : 0) + udp_length > UINT16_MAX) return nullptr;

  header->next_header = next_header_of(inner_packet);
  uint8_t* const udp =
      lay_out_payload(expanded_key, outer.udp_source, header, inner, inner_packet.length, job);
  uint8_t* const start = udp - (ipv4 ? kIpv4Header : kIpv6Header);
  const uint8_t marks = traffic_class(outer, inner_packet);
  if (ipv4) {
    write_ipv4(outer, marks, kIpv4Header + udp_length, start);
  } else {
    write_ipv6(outer, marks, udp_length, start);
  }
  return start;
}

uint8_t* seal_tunnel(const Aead& aead, void* expanded_key, const Outer& outer, const IpPacket& inner_packet,
                     Header header, uint8_t* inner) {
  AeadJob job;
  uint8_t* const start = lay_out_tunnel(expanded_key, outer, inner_packet, &header, inner, &job);
  if (start == nullptr) return nullptr;
  aead.seal(job);
  if (outer.udp_checksum) {
    uint8_t* const udp = start + (is_ipv4(outer.source) ? kIpv4Header : kIpv6Header);
    write_udp_checksum(outer.source, outer.destination, udp);
  }
  return start;
}

OpenFault read_opened_tunnel(Header* header, uint8_t* payload, size_t length, uint8_t** inner,
                             IpPacket* inner_packet) {
  if (header->has_cookie) header->cookie = read_cookie(payload);
  uint8_t* const packet = payload + header->length();
  const size_t packet_length = length - header->length() - kIcvLength;
  if (read_ip(packet, packet_length, inner_packet) != IpFault::kNone ||
      inner_packet->length != packet_length || header->next_header != next_header_of(*inner_packet)) {
    return OpenFault::kTrailer;
  }
  *inner = packet;
  return OpenFault::kNone;
}

OpenFault open_tunnel(const Aead& aead, void* expanded_key, Header* header, uint8_t* payload, size_t length,
                      uint8_t** inner, IpPacket* inner_packet) {
  AeadJob job;
  lay_out_opening(expanded_key, *header, payload, length, &job);
  if (!aead.open(job)) return OpenFault::kIcv;
  return read_opened_tunnel(header, payload, length, inner, inner_packet);
}

}  // namespace psp
