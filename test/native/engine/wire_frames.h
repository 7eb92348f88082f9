// SPDX-License-Identifier: Apache-2.0
// Frames that come from the wire, written by hand: PSP of any mode, version and odd header, cut into
// fragments, and ICMP. Of the code under test only the AEAD and the header's layout are used.
#pragma once

#include "sealed_frames.h"

namespace psp {

struct WireOptions {
  uint64_t iv = 1;
  uint8_t crypt_offset = 0;
  uint8_t extension_words = 0;  // of 8 octets
  uint8_t reserved = 0;         // the two bits in front of the crypt offset
  bool sample = false;
  bool zero_cookie = false;             // V with a cookie of 0
  std::optional<uint8_t> next_header;   // other than the truth
  std::optional<uint8_t> wire_version;  // other than the key's
  uint8_t traffic_class = 0;            // of a tunnel's outer header
  bool udp_checksum = false;
  std::string from = "192.0.2.2", to = "192.0.2.1";  // outer addresses in tunnel mode
};

// The PSP packet of `payload`.
inline Frame psp_octets(const EgressKey& key, uint8_t next_header, const Frame& payload,
                        const WireOptions& options) {
  static const auto aead = make_aead_libcrypto();
  Header header;
  header.next_header = options.next_header.value_or(next_header);
  header.has_cookie = key.cookie != 0 || options.zero_cookie;
  header.cookie = key.cookie;
  header.ext_length = static_cast<uint8_t>(1 + (header.has_cookie ? 1 : 0) + options.extension_words);
  header.crypt_offset = options.crypt_offset;
  header.sample = options.sample;
  header.version = options.wire_version.value_or(key.version);
  header.spi = key.spi;
  header.iv = options.iv;
  Frame psp(header.length() + payload.size() + kIcvLength, 0xee);
  write_header(header, psp.data());
  psp[2] |= static_cast<uint8_t>(options.reserved << 6);
  std::copy(payload.begin(), payload.end(), psp.begin() + static_cast<ptrdiff_t>(header.length()));
  const size_t end = psp.size() - kIcvLength;
  const size_t clear = header.version <= 1 ? kHeaderLength + size_t{4} * options.crypt_offset : end;
  void* expanded = std::aligned_alloc(kAeadKeyAlignment, (aead->expanded_size() + 63) / 64 * 64);
  aead->construct(expanded);
  aead->expand(expanded, key.key.data(), key.version);
  aead->seal(expanded, &psp[4], psp.data(), clear, psp.data() + clear, end - clear, psp.data() + end);
  aead->destroy(expanded);
  std::free(expanded);
  return psp;
}

inline Frame from_wire(const Frame& ip) {
  return ethernet(kSecuredMac, kPeerMac, ip[0] >> 4 == 4 ? 0x0800 : 0x86dd, ip);
}

// A frame with `inner` sealed in the key's mode. In transport mode `inner` has neither options nor
// extension headers.
inline Frame on_wire(const EgressKey& key, const Frame& inner, const WireOptions& options = {}) {
  const bool ipv4 = inner[0] >> 4 == 4, tunnel = key.mode == Mode::kTunnel;
  const size_t front = ipv4 ? 20 : 40;
  Address source = address(options.from), destination = address(options.to);
  uint8_t traffic_class = options.traffic_class, hop_limit = 64;
  Frame payload = inner;
  uint8_t next_header = ipv4 ? 4 : 41;
  if (!tunnel) {
    IpPacket packet;
    EXPECT_EQ(read_ip(inner.data(), inner.size(), &packet), IpFault::kNone);
    source = packet.source;
    destination = packet.destination;
    traffic_class = packet.traffic_class;
    hop_limit = inner[ipv4 ? 8 : 7];
    next_header = packet.protocol;
    payload.assign(inner.begin() + static_cast<ptrdiff_t>(front), inner.end());
  }
  Frame datagram = udp(50000, 1000, psp_octets(key, next_header, payload, options));
  if (options.udp_checksum) write_udp_checksum(source, destination, datagram.data());
  Frame ip = ip_packet(source, destination, kProtocolUdp, datagram, traffic_class, hop_limit);
  if (ipv4 && !tunnel) ip = ipv4_marked(std::move(ip), get16(inner, 4), get16(inner, 6));
  return from_wire(ip);
}

// Cuts the frame's IP packet at multiples of `step` octets of data. IPv6 packets get a fragment header behind
// their first `front` octets, whose protocol octet stands at `names`.
inline std::vector<Frame> in_fragments(const Frame& frame, size_t step, uint32_t identification = 7,
                                       size_t front = 40, size_t names = 6) {
  const Frame ip(frame.begin() + 14, frame.end());
  const bool ipv4 = ip[0] >> 4 == 4;
  if (ipv4) front = (ip[0] & 15) * size_t{4};
  std::vector<Frame> result;
  for (size_t at = front; at < ip.size(); at += step) {
    const size_t end = std::min(ip.size(), at + step);
    const size_t offset = at - front;
    Frame piece(ip.begin(), ip.begin() + static_cast<ptrdiff_t>(front));
    if (!ipv4) {
      Frame extension(8);
      extension[0] = ip[names];
      put16(extension, 2, static_cast<uint32_t>(offset | (end < ip.size() ? 1 : 0)));
      put16(extension, 4, identification >> 16);
      put16(extension, 6, identification);
      piece[names] = kProtocolFragment;
      piece.insert(piece.end(), extension.begin(), extension.end());
    }
    piece.insert(piece.end(), ip.begin() + static_cast<ptrdiff_t>(at),
                 ip.begin() + static_cast<ptrdiff_t>(end));
    if (ipv4) {
      put16(piece, 2, static_cast<uint32_t>(piece.size()));
      piece = ipv4_marked(std::move(piece), static_cast<uint16_t>(identification),
                          static_cast<uint16_t>(offset / 8 | (end < ip.size() ? 0x2000 : 0)));
    } else {
      put16(piece, 4, static_cast<uint32_t>(piece.size() - 40));
    }
    Frame whole(frame.begin(), frame.begin() + 14);
    whole.insert(whole.end(), piece.begin(), piece.end());
    result.push_back(whole);
  }
  return result;
}

// An ICMP or ICMPv6 packet with this body, its checksum computed.
inline Frame icmp_packet(const std::string& source, const std::string& destination, Frame body) {
  const Address from = address(source), to = address(destination);
  const bool ipv4 = is_ipv4(from);
  const auto length = static_cast<uint32_t>(body.size());
  put16(body, 2, 0);
  const uint32_t pseudo = ipv4 ? 0 : pseudo_header_sum(from, to, kProtocolIcmpv6, length);
  put16(body, 2, checksum_fold(checksum_add(body.data(), length, pseudo)));
  return ip_packet(from, to, ipv4 ? kProtocolIcmp : kProtocolIcmpv6, body);
}

// A router tells that the packet in `frame` is too big; the quote is cut to `quoted` octets.
inline Frame too_big(const std::string& router, const std::string& to, uint32_t mtu, const Frame& frame,
                     size_t quoted = 1000) {
  const bool ipv4 = is_ipv4(address(to));
  Frame body = {static_cast<uint8_t>(ipv4 ? 3 : 2), static_cast<uint8_t>(ipv4 ? 4 : 0), 0, 0, 0, 0, 0, 0};
  put16(body, 4, ipv4 ? 0 : mtu >> 16);
  put16(body, 6, mtu);
  const size_t end = std::min(frame.size(), 14 + quoted);
  body.insert(body.end(), frame.begin() + 14, frame.begin() + static_cast<ptrdiff_t>(end));
  return from_wire(icmp_packet(router, to, std::move(body)));
}

inline EgressKey mode_key(uint32_t spi, uint8_t version, Mode mode, uint64_t cookie = 0) {
  EgressKey key = key_of(spi, version);
  key.mode = mode;
  key.cookie = cookie;
  return key;
}

inline Frame ip_of(const Frame& frame) {
  return Frame(frame.begin() + 14, frame.end());
}

}  // namespace psp
