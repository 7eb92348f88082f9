// SPDX-License-Identifier: Apache-2.0
// Tunnel mode: an IP packet sealed inside outer IP, UDP and PSP, and back (PSP specification, "Tunnel Mode").
// The families inside and outside are independent. Works in place on memory of the caller; knows nothing of
// Ethernet or of where keys come from.
#pragma once

#include <optional>

#include "psp/encapsulation.h"

namespace psp {

// What the outer headers say.
struct Outer {
  Address source{};
  Address destination{};  // of one family, that of the outer header
  uint8_t hop_limit = 64;
  std::optional<uint8_t> dscp;  // 0 to 63; without it the inner packet's (RFC 2983, uniform model)
  bool dont_fragment = true;    // IPv4
  uint16_t identification = 0;  // IPv4 without dont_fragment; else 0 is sent (RFC 6864)
  uint16_t udp_source = 0;      // flow hash of the inner packet, for ECMP
  bool udp_checksum = false;    // 0 is sent without it
};

// Octets that sealing puts in front of the inner packet, and with the ICV in all.
inline size_t tunnel_headroom(bool outer_ipv6, bool cookie) {
  return (outer_ipv6 ? kIpv6Header : kIpv4Header) + encapsulation_headroom(cookie);
}
inline size_t tunnel_overhead(bool outer_ipv6, bool cookie) {
  return tunnel_headroom(outer_ipv6, cookie) + kIcvLength;
}

// The outer IP header, made once for many packets but for what differs between them.
class OuterHeader {
 public:
  explicit OuterHeader(const Outer& outer);
  // The same to another destination, of the same family.
  OuterHeader to(const Address& destination) const {
    OuterHeader other = *this;
    other.set_destination(destination);
    return other;
  }

  bool ipv6() const { return ipv6_; }
  // Writes it in front of `udp`, where a datagram of so many octets begins. ECN is copied from the inner
  // packet (RFC 6040 section 4.1, normal mode). Returns the start of the outer packet.
  uint8_t* write(uint8_t inner_traffic_class, size_t udp_length, uint8_t* udp) const {
    const uint32_t traffic_class = dscp_ | (inner_traffic_class & inner_bits_);
    if (ipv6_) return write_ipv6(traffic_class, udp_length, udp);
    const uint32_t total = kIpv4Header + static_cast<uint32_t>(udp_length);
    const uint16_t checksum = checksum_fold(sum_ + traffic_class + total);
    uint8_t* const start = udp - kIpv4Header;
    // Word by word, each stored once: the checksum is of the words, not of what was stored a moment ago.
    store_u64(start, first_ | uint64_t{traffic_class} << 48 | uint64_t{total} << 32);
    store_u64(start + 8, second_ | uint64_t{checksum} << 32);
    std::memcpy(start + 16, destination_.data() + 12, 4);
    return start;
  }

 private:
  void set_destination(const Address& destination) {
    destination_ = destination;
    const uint32_t number = load_u32(destination.data() + 12);
    sum_ = fixed_sum_ + (number >> 16) + (number & 0xffff);
  }
  uint8_t* write_ipv6(uint32_t traffic_class, size_t udp_length, uint8_t* udp) const {
    uint8_t* const start = udp - kIpv6Header;
    store_u64(start, first_ | uint64_t{traffic_class} << 52 | uint64_t{udp_length & 0xffff} << 16);
    std::memcpy(start + 8, source_.data(), source_.size());
    std::memcpy(start + 24, destination_.data(), destination_.size());
    return start;
  }

  Address source_, destination_;
  uint64_t first_, second_ = 0;  // the first 16 octets of IPv4, 8 of IPv6
  uint32_t fixed_sum_ = 0;       // of the words of IPv4 that are the same to all destinations
  uint32_t sum_ = 0;             // with those of the destination
  uint8_t dscp_ = 0, inner_bits_ = 0xff;
  bool ipv6_;
};

// Seals the inner packet of inner_packet.length octets at `inner` in place: writes tunnel_headroom octets in
// front of it and the ICV behind it. `header` brings version, SPI, IV, cookie, crypt offset, S and D; next
// header and extension length are set here, the crypt offset as lay_out_payload says. The inner packet stays
// as it is, its hop limit too. Returns the start of the outer packet; null, with nothing written, when its
// lengths would not fit 16 bits.
[[nodiscard]] uint8_t* seal_tunnel(const Aead& aead, void* expanded_key, const Outer& outer,
                                   const IpPacket& inner_packet, Header header, uint8_t* inner);

inline uint8_t tunnel_next_header(const IpPacket& inner_packet) {
  return inner_packet.version == 4 ? kNextHeaderIpv4 : kNextHeaderIpv6;
}

// The same but for the AEAD, which has *job to do, and for the UDP checksum, which comes after it.
[[nodiscard]] inline uint8_t* lay_out_tunnel(void* expanded_key, const OuterHeader& outer,
                                             uint16_t udp_source, const IpPacket& inner_packet,
                                             Header* header, uint8_t* inner, AeadJob* job) {
  const size_t udp_length = encapsulation_headroom(header->has_cookie) + inner_packet.length + kIcvLength;
  if ((outer.ipv6() ? 0 : kIpv4Header) + udp_length > UINT16_MAX) return nullptr;
  header->next_header = tunnel_next_header(inner_packet);
  uint8_t* const udp = lay_out_payload(expanded_key, udp_source, header, inner, inner_packet.length, job);
  return outer.write(inner_packet.traffic_class, udp_length, udp);
}

// The packet inside `length` octets of UDP payload that lay_out_opening and the AEAD opened; read_header
// accepted them with a known version. Sets header->cookie, in the clear now. On success *inner points at the
// inner packet, which read_ip accepted and which ends where the payload does. A next header other than 4 or
// 41 is kTrailer. The ECN of the outer header is the caller's to carry over (ecn.h).
inline OpenFault read_opened_tunnel(Header* header, uint8_t* payload, size_t length, uint8_t** inner,
                                    IpPacket* inner_packet) {
  if (header->has_cookie) header->cookie = read_cookie(payload);
  uint8_t* const packet = payload + header->length();
  const size_t packet_length = length - header->length() - kIcvLength;
  if (read_ip(packet, packet_length, inner_packet) != IpFault::kNone) return OpenFault::kTrailer;
  if (inner_packet->length != packet_length) return OpenFault::kTrailer;
  if (header->next_header != tunnel_next_header(*inner_packet)) return OpenFault::kTrailer;
  *inner = packet;
  return OpenFault::kNone;
}
// The same, with the AEAD in front.
OpenFault open_tunnel(const Aead& aead, void* expanded_key, Header* header, uint8_t* payload, size_t length,
                      uint8_t** inner, IpPacket* inner_packet);

}  // namespace psp
