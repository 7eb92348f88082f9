// SPDX-License-Identifier: Apache-2.0
// The axes of sealed packets for tests: modes, versions, address families, cookie and crypt offsets.
// Functions seal and open one combination, and build its PSP packet directly from the specification with only
// the AEAD of libcrypto.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <tuple>

#include "ip_build.h"
#include "psp/transport.h"
#include "psp/tunnel.h"

namespace psp::test {

inline constexpr uint64_t kTestCookie = 0xc00c1e5500112233;
inline constexpr uint16_t kTestUdpSource = 0xc123;

struct Axes {
  bool transport, inner_ipv6, outer_ipv6, cookie;
  uint8_t version, crypt_offset;

  std::string name() const {
    const auto family = [](bool ipv6) { return ipv6 ? "v6" : "v4"; };
    return std::string(family(inner_ipv6)) + (transport ? "_transport" : "_tunnel_in_") +
           (transport ? "" : family(outer_ipv6)) + "_version" + std::to_string(version) +
           (cookie ? "_vc" : "") + "_crypt_off" + std::to_string(crypt_offset);
  }
};

// Every combination. Crypt offsets: none, one word, the end of the first sealed header, and the maximum.
inline std::vector<Axes> all_axes() {
  std::vector<Axes> all;
  for (int bits = 0; bits < 16; bits++) {
    const bool transport = bits & 1, inner_ipv6 = bits & 2, outer_ipv6 = bits & 4, cookie = bits & 8;
    if (transport && inner_ipv6 != outer_ipv6) continue;
    const int first_header = (transport ? 8 : inner_ipv6 ? 40 : 20) + (cookie ? 8 : 0);
    for (const uint8_t version : {0, 1})
      for (const int offset : {0, 1, first_header / 4, int{kMaxCryptOffset}})
        all.push_back({transport, inner_ipv6, outer_ipv6, cookie, version, static_cast<uint8_t>(offset)});
    for (const uint8_t version : {2, 3})
      all.push_back({transport, inner_ipv6, outer_ipv6, cookie, version, 0});
  }
  return all;
}

inline Outer outer_of(bool ipv6) {
  Outer outer;
  const Octets source = unhex(ipv6 ? "20010db8000000000000000000000a01" : "00000000000000000000ffffc0000201");
  const Octets destination =
      unhex(ipv6 ? "20010db8000000000000000000000b02" : "00000000000000000000ffffc0000202");
  std::copy(source.begin(), source.end(), outer.source.begin());
  std::copy(destination.begin(), destination.end(), outer.destination.begin());
  outer.udp_source = kTestUdpSource;
  return outer;
}

inline Octets key_of(uint8_t version) {
  Octets key(key_length(version));
  std::iota(key.begin(), key.end(), 1);
  return key;
}

// A UDP packet with `data` octets of payload, each different from the octets next to it.
inline Octets inner_packet(bool inner_ipv6, size_t data = 33) {
  Octets payload(data);
  std::iota(payload.begin(), payload.end(), 10);
  return inner_ipv6 ? ipv6(kProtocolUdp, udp(1, 2, payload)) : ipv4(kProtocolUdp, udp(1, 2, payload));
}

inline Header header_of(const Axes& axes) {
  Header header;
  header.version = axes.version;
  header.crypt_offset = axes.crypt_offset;
  header.has_cookie = axes.cookie;
  header.cookie = kTestCookie;
  header.spi = 0x80000001;
  header.iv = 0x6a1b2c3d00000001;
  return header;
}

// Seals in memory of exactly the required length.
inline Octets sealed(const Aead& aead, void* key, const Axes& axes, const Octets& packet,
                     const Header& header, bool udp_checksum = false) {
  const size_t headroom =
      axes.transport ? transport_headroom(axes.cookie) : tunnel_headroom(axes.outer_ipv6, axes.cookie);
  Octets memory = join({Octets(headroom, 0xdb), packet, Octets(kIcvLength, 0xdb)});
  uint8_t* const start = memory.data() + headroom;
  uint8_t* outer = nullptr;
  if (axes.transport) {
    TransportLayout layout;
    EXPECT_EQ(read_transport_layout(read(packet), start, &layout), TransportFault::kNone);
    outer = seal_transport(aead, key, layout, kTestUdpSource, udp_checksum, header, start);
  } else {
    Outer outer_fields = outer_of(axes.outer_ipv6);
    outer_fields.udp_checksum = udp_checksum;
    outer = seal_tunnel(aead, key, outer_fields, read(packet), header, start);
  }
  EXPECT_EQ(outer, memory.data());
  return memory;
}
inline Octets sealed(const Aead& aead, void* key, const Axes& axes, const Octets& packet) {
  return sealed(aead, key, axes, packet, header_of(axes));
}

struct Opened {
  IpFault outer_fault = IpFault::kNone;
  bool is_psp = false;
  HeaderFault header_fault = HeaderFault::kNone;
  OpenFault fault = OpenFault::kNone;
  Header header;
  Octets packet;

  bool good() const {
    return outer_fault == IpFault::kNone && is_psp && header_fault == HeaderFault::kNone &&
           fault == OpenFault::kNone;
  }
};

// Opens a packet from the wire as a gateway does.
inline Opened opened(const Aead& aead, void* key, bool transport, const Octets& wire) {
  Octets memory(wire.begin(), wire.end());
  Opened result;
  IpPacket outer;
  result.outer_fault = read_ip(memory.data(), memory.size(), &outer);
  if (result.outer_fault != IpFault::kNone) return result;
  uint8_t* const udp = memory.data() + outer.payload_offset;
  const size_t available = outer.length - outer.payload_offset;
  const size_t claimed = available < kUdpHeaderLength ? 0 : load_u16(udp + 4);
  result.is_psp = outer.protocol == kProtocolUdp && claimed >= kUdpHeaderLength && claimed <= available &&
                  load_u16(udp + 2) == kUdpPort;
  if (!result.is_psp) return result;
  uint8_t* const payload = udp + kUdpHeaderLength;
  const size_t length = claimed - kUdpHeaderLength;
  result.header_fault = read_header(payload, length, &result.header);
  if (result.header_fault != HeaderFault::kNone) return result;
  uint8_t* inner = nullptr;
  IpPacket packet;
  result.fault =
      transport ? open_transport(aead, key, &result.header, outer, memory.data(), length, &inner, &packet)
                : open_tunnel(aead, key, &result.header, payload, length, &inner, &packet);
  if (result.fault != OpenFault::kNone) return result;
  EXPECT_GE(inner, memory.data());
  EXPECT_LE(inner + packet.length, memory.data() + memory.size());
  result.packet.assign(inner, inner + packet.length);
  return result;
}

// Offset of the PSP header in a packet on the wire.
inline size_t psp_offset(const Octets& wire) {
  return read(wire).payload_offset + kUdpHeaderLength;
}
inline Octets psp_of(const Octets& wire) {
  return Octets(wire.begin() + static_cast<ptrdiff_t>(psp_offset(wire)), wire.end());
}

// Builds the PSP packet according to the specification. `extension` are the whole words after the IV, the
// cookie first if V is set. From psp/ only AES-GCM is used.
inline Octets specified_psp(const Header& header, const Octets& extension, const Octets& payload) {
  Octets psp(16);
  psp[0] = header.next_header;
  psp[1] = static_cast<uint8_t>(1 + extension.size() / 8);
  psp[2] = header.crypt_offset;
  psp[3] = static_cast<uint8_t>((header.sample ? 0x80 : 0) | (header.drop ? 0x40 : 0) | header.version * 4 |
                                (header.has_cookie ? 2 : 0) | 1);
  for (int i = 0; i < 4; i++)
    psp[static_cast<size_t>(4 + i)] = static_cast<uint8_t>(header.spi >> (24 - 8 * i));
  for (int i = 0; i < 8; i++)
    psp[static_cast<size_t>(8 + i)] = static_cast<uint8_t>(header.iv >> (56 - 8 * i));
  psp = join({psp, extension, payload});
  const size_t clear = header.version < 2 ? 16 + 4u * header.crypt_offset : psp.size();
  const size_t end = psp.size();
  psp.resize(end + 16);
  const auto aead = make_aead_libcrypto();
  const ExpandedKey key(*aead, key_of(header.version), header.version);
  const Octets nonce(psp.begin() + 4, psp.begin() + 16);
  aead->seal(key.get(), nonce.data(), psp.data(), clear, psp.data() + clear, end - clear, psp.data() + end);
  return psp;
}

// A packet on the wire: IP, UDP, PSP packet.
inline Octets on_the_wire(bool outer_ipv6, const Octets& psp) {
  const Octets datagram = udp(kTestUdpSource, kUdpPort, psp);
  return outer_ipv6 ? ipv6(kProtocolUdp, datagram) : ipv4(kProtocolUdp, datagram);
}

}  // namespace psp::test
