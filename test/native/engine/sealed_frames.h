// SPDX-License-Identifier: Apache-2.0
// Frames on the wire taken apart again: fragments joined, sealed packets opened by native/psp. And the odder
// packets that hosts send.
#pragma once

#include <map>

#include "gateway.h"
#include "psp/octets.h"
#include "psp/transport.h"

namespace psp {

// A frame that a gateway sealed, taken apart.
struct Unsealed {
  bool opened = false;
  IpPacket outer;  // in transport mode the packet's own header
  Frame outer_octets;
  uint16_t udp_source = 0;
  uint16_t udp_checksum = 0;
  bool udp_checksum_holds = false;
  Header header;
  Frame inner;
};

inline Unsealed unseal(const Frame& frame, const EgressKey& key) {
  static const auto aead = make_aead_libcrypto();
  Unsealed result;
  Frame copy(frame.begin() + 14, frame.end());
  if (read_ip(copy.data(), copy.size(), &result.outer) != IpFault::kNone) return result;
  if (result.outer.protocol != kProtocolUdp || result.outer.length != copy.size()) return result;
  result.outer_octets = copy;
  uint8_t* const udp = copy.data() + result.outer.payload_offset;
  if (load_u16(udp + 2) != kUdpPort) return result;
  result.udp_source = load_u16(udp);
  result.udp_checksum = load_u16(udp + 6);
  result.udp_checksum_holds = udp_checksum_ok(result.outer, copy.data());
  uint8_t* const payload = udp + 8;
  const size_t length = load_u16(udp + 4) - size_t{8};
  if (read_header(payload, length, &result.header) != HeaderFault::kNone) return result;
  void* expanded = std::aligned_alloc(kAeadKeyAlignment, (aead->expanded_size() + 63) / 64 * 64);
  aead->construct(expanded);
  aead->expand(expanded, key.key.data(), key.version);
  uint8_t* inner = nullptr;
  IpPacket packet;
  const OpenFault fault = key.mode == Mode::kTunnel
                              ? open_tunnel(*aead, expanded, &result.header, payload, length, &inner, &packet)
                              : open_transport(*aead, expanded, &result.header, result.outer, copy.data(),
                                               length, &inner, &packet);
  aead->destroy(expanded);
  std::free(expanded);
  result.opened = fault == OpenFault::kNone;
  if (result.opened) result.inner.assign(inner, inner + packet.length);
  return result;
}

// One fragment by its header: where it lies, and the headers in front of it.
struct Piece {
  uint32_t offset = 0, identification = 0;
  bool more = false;
  Frame headers, octets;
};

inline Piece piece_of(const Frame& frame) {
  const Frame ip(frame.begin() + 14, frame.end());
  IpPacket packet;
  EXPECT_EQ(read_ip(ip.data(), ip.size(), &packet), IpFault::kNone);
  EXPECT_EQ(packet.length, ip.size());
  EXPECT_TRUE(packet.fragment);
  Piece piece;
  size_t front;
  if (packet.version == 4) {
    front = (ip[0] & 15) * size_t{4};
    piece.offset = (get16(ip, 6) & 0x1fffu) * 8;
    piece.more = (get16(ip, 6) & 0x2000) != 0;
    piece.identification = get16(ip, 4);
    piece.headers.assign(ip.begin(), ip.begin() + static_cast<ptrdiff_t>(front));
  } else {
    // The fragment header is the last of those in front of the piece, and these tests need no others behind.
    size_t at = 40;
    uint8_t next = ip[6];
    for (; next != kProtocolFragment && at + 8 <= ip.size(); at += (ip[at + 1] + size_t{1}) * 8)
      next = ip[at];
    front = at + 8;
    piece.offset = get16(ip, at + 2) & 0xfff8u;
    piece.more = (get16(ip, at + 2) & 1) != 0;
    piece.identification = static_cast<uint32_t>(get16(ip, at + 4)) << 16 | get16(ip, at + 6);
    piece.headers.assign(ip.begin(), ip.begin() + static_cast<ptrdiff_t>(at));
    // As it would stand without fragmentation.
    size_t names = 6;
    for (size_t header = 40; header < at; header += (ip[header + 1] + size_t{1}) * 8) names = header;
    piece.headers[names] = ip[at];
  }
  piece.octets.assign(ip.begin() + static_cast<ptrdiff_t>(front), ip.end());
  return piece;
}

// The frame whose fragments these are, which must be all, once, and of one packet.
inline Frame joined(const std::vector<Frame>& frames) {
  std::map<uint32_t, Piece> pieces;
  for (const Frame& frame : frames) {
    const Piece piece = piece_of(frame);
    EXPECT_TRUE(pieces.emplace(piece.offset, piece).second);
  }
  Frame payload;
  for (const auto& [offset, piece] : pieces) {
    EXPECT_EQ(offset, payload.size());
    EXPECT_EQ(piece.identification, pieces.begin()->second.identification);
    EXPECT_EQ(piece.more, offset != pieces.rbegin()->first);
    payload.insert(payload.end(), piece.octets.begin(), piece.octets.end());
  }
  Frame ip = pieces.begin()->second.headers;
  const size_t front = ip.size();
  ip.insert(ip.end(), payload.begin(), payload.end());
  if (ip[0] >> 4 == 4) {
    put16(ip, 2, static_cast<uint32_t>(ip.size()));
    put16(ip, 6, 0);
    put16(ip, 10, 0);
    put16(ip, 10, checksum_fold(checksum_add(ip.data(), front, 0)));
  } else {
    put16(ip, 4, static_cast<uint32_t>(ip.size() - 40));
  }
  Frame frame(frames[0].begin(), frames[0].begin() + 14);
  frame.insert(frame.end(), ip.begin(), ip.end());
  return frame;
}

inline void fix_ipv4(Frame& ip) {
  put16(ip, 10, 0);
  put16(ip, 10, checksum_fold(checksum_add(ip.data(), (ip[0] & 15) * size_t{4}, 0)));
}

// Sets identification and the flags-and-offset field of an IPv4 packet.
inline Frame ipv4_marked(Frame ip, uint16_t identification, uint16_t marks) {
  put16(ip, 4, identification);
  put16(ip, 6, marks);
  fix_ipv4(ip);
  return ip;
}
inline Frame with_df(Frame ip) {
  return ipv4_marked(std::move(ip), 0, 0x4000);
}
// Puts options of a length that is a multiple of 4 behind the fixed header.
inline Frame with_options(Frame ip, const Frame& options) {
  ip.insert(ip.begin() + 20, options.begin(), options.end());
  ip[0] = static_cast<uint8_t>(ip[0] + options.size() / 4);
  put16(ip, 2, static_cast<uint32_t>(ip.size()));
  fix_ipv4(ip);
  return ip;
}
// Puts extension headers behind the fixed IPv6 header; the first is of type `first`, and their last must name
// what follows already.
inline Frame with_extensions(Frame ip, uint8_t first, const Frame& extensions) {
  ip.insert(ip.begin() + 40, extensions.begin(), extensions.end());
  ip[6] = first;
  put16(ip, 4, static_cast<uint32_t>(ip.size() - 40));
  return ip;
}
inline Frame from_host(const Frame& ip) {
  return ethernet(kUnsecuredMac, kHostMac, ip[0] >> 4 == 4 ? 0x0800 : 0x86dd, ip);
}
// A UDP packet of `length` octets with a payload that differs everywhere.
inline Frame long_packet(const std::string& source, const std::string& destination, size_t length) {
  const size_t headers = (is_ipv4(address(source)) ? 20 : 40) + 8;
  Frame payload(length - headers);
  for (size_t i = 0; i < payload.size(); ++i) payload[i] = static_cast<uint8_t>(i * 7 + i / 256);
  return ip_packet(address(source), address(destination), kProtocolUdp, udp(4000, 5000, payload));
}

inline EgressKey transport_key(uint32_t spi, uint8_t version = 0) {
  EgressKey key = egress_key(spi);
  key.version = version;
  key.mode = Mode::kTransport;
  return key;
}

}  // namespace psp
