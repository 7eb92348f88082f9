// SPDX-License-Identifier: Apache-2.0
// Tunnel mode: an IP packet sealed inside outer IP, UDP and PSP headers, and opened again (PSP specification,
// "Tunnel Mode"). Inner and outer address families are independent. Works in place on memory of the caller;
// has no knowledge of Ethernet or of the origin of keys.
#pragma once

#include <optional>

#include "psp/encapsulation.h"

namespace psp {

// Fields of the outer headers.
struct Outer {
  Address source{};
  Address destination{};  // both addresses have the family of the outer header
  uint8_t hop_limit = 64;
  std::optional<uint8_t> dscp;  // 0 to 63; absent: copied from the inner packet (RFC 2983, uniform model)
  bool dont_fragment = true;    // IPv4
  uint16_t identification = 0;  // IPv4 without dont_fragment; otherwise 0 is sent (RFC 6864)
  uint16_t udp_source = 0;      // flow hash of the inner packet, for ECMP
  bool udp_checksum = false;    // false: 0 is sent
};

// Octets that sealing adds before the inner packet. tunnel_overhead also counts the ICV.
inline size_t tunnel_headroom(bool outer_ipv6, bool cookie) {
  return (outer_ipv6 ? kIpv6Header : kIpv4Header) + encapsulation_headroom(cookie);
}
inline size_t tunnel_overhead(bool outer_ipv6, bool cookie) {
  return tunnel_headroom(outer_ipv6, cookie) + kIcvLength;
}

// The constant part of the outer IP headers of many packets.
class OuterHeader {
 public:
  explicit OuterHeader(const Outer& outer);
  // The same header with another destination of the same family.
  OuterHeader to(const Address& destination) const {
    OuterHeader other = *this;
    other.set_destination(destination);
    return other;
  }

  bool ipv6() const { return ipv6_; }
  // Writes the header before `udp`, where a datagram of `udp_length` octets starts. ECN is copied from the
  // inner packet (RFC 6040 section 4.1, normal mode). Returns the start of the outer packet.
  uint8_t* write(uint8_t inner_traffic_class, size_t udp_length, uint8_t* udp) const {
    const uint32_t traffic_class = dscp_ | (inner_traffic_class & inner_bits_);
    if (ipv6_) return write_ipv6(traffic_class, udp_length, udp);
    const uint64_t total = kIpv4Header + udp_length;
    const uint16_t checksum = checksum_fold(sum_ + traffic_class + static_cast<uint32_t>(total));
    uint8_t* const start = udp - kIpv4Header;
    // Each 8-octet word is stored once. The checksum is computed from registers, not from memory that was
    // just stored.
    store_u64(start, first_word_ | uint64_t{traffic_class} << 48 | total << 32);
    store_u64(start + 8, second_word_ | uint64_t{checksum} << 32);
    std::memcpy(start + 16, destination_.data() + 12, 4);
    return start;
  }

 private:
  void set_destination(const Address& destination) {
    destination_ = destination;
    const uint32_t number = load_u32(destination.data() + 12);
    sum_ = constant_sum_ + (number >> 16) + (number & 0xffff);
  }
  uint8_t* write_ipv6(uint32_t traffic_class, size_t udp_length, uint8_t* udp) const {
    uint8_t* const start = udp - kIpv6Header;
    store_u64(start, first_word_ | uint64_t{traffic_class} << 52 | uint64_t{udp_length & 0xffff} << 16);
    std::memcpy(start + 8, source_.data(), source_.size());
    std::memcpy(start + 24, destination_.data(), destination_.size());
    return start;
  }

  Address source_, destination_;
  uint64_t first_word_, second_word_ = 0;  // the first 16 octets of IPv4 or 8 of IPv6
  uint32_t constant_sum_ = 0;              // IPv4: sum of the words that do not depend on the destination
  uint32_t sum_ = 0;                       // constant_sum_ plus the words of the destination
  uint8_t dscp_ = 0, inner_bits_ = 0xff;
  bool ipv6_;
};

// Seals the inner packet of inner_packet.length octets at `inner` in place: writes tunnel_headroom octets
// before it and the ICV after it. `header` supplies version, SPI, IV, cookie, crypt offset, S and D; next
// header and extension length are set here, and the crypt offset is limited as in lay_out_payload. The inner
// packet is not modified, nor is its hop limit. Returns the start of the outer packet, or null with nothing
// written if a length would not fit 16 bits.
[[nodiscard]] uint8_t* seal_tunnel(const Aead& aead, void* expanded_key, const Outer& outer,
                                   const IpPacket& inner_packet, Header header, uint8_t* inner);

inline uint8_t tunnel_next_header(const IpPacket& inner_packet) {
  return inner_packet.version == 4 ? kNextHeaderIpv4 : kNextHeaderIpv6;
}

// Same as seal_tunnel without the AEAD, for which *job is filled, and without the UDP checksum, which must be
// computed after the AEAD.
[[nodiscard]] inline uint8_t* lay_out_tunnel(void* expanded_key, const OuterHeader& outer,
                                             uint16_t udp_source, const IpPacket& inner_packet,
                                             Header* header, uint8_t* inner, AeadJob* job) {
  const size_t udp_length = encapsulation_headroom(header->has_cookie) + inner_packet.length + kIcvLength;
  if ((outer.ipv6() ? 0 : kIpv4Header) + udp_length > UINT16_MAX) return nullptr;
  header->next_header = tunnel_next_header(inner_packet);
  uint8_t* const udp = lay_out_payload(expanded_key, udp_source, header, inner, inner_packet.length, job);
  return outer.write(inner_packet.traffic_class, udp_length, udp);
}

// Parses the packet inside `length` octets of UDP payload after lay_out_opening and the AEAD. read_header
// must have accepted them with a known version. Sets header->cookie to its plaintext. On success *inner
// points to the inner packet, which read_ip accepted and which ends with the payload. A next header other
// than 4 or 41 is kTrailer. The caller must transfer the ECN of the outer header (ecn.h).
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
// Opens a tunnel packet: the AEAD, then read_opened_tunnel.
OpenFault open_tunnel(const Aead& aead, void* expanded_key, Header* header, uint8_t* payload, size_t length,
                      uint8_t** inner, IpPacket* inner_packet);

}  // namespace psp
