// SPDX-License-Identifier: Apache-2.0
// Builds packets for tests from their parts.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <initializer_list>

#include "hex.h"
#include "psp/ip_packet.h"
#include "psp/octets.h"

namespace psp::test {

inline constexpr uint8_t kHopByHop = 0, kRouting = 43, kFragment = 44, kAuthentication = 51,
                         kDestinationOptions = 60;

inline Octets join(std::initializer_list<Octets> parts) {
  Octets all;
  for (const Octets& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

// RFC 1071, one word at a time.
inline uint16_t plain_checksum(const Octets& octets) {
  uint32_t sum = 0;
  for (size_t i = 0; i < octets.size(); i += 2) {
    sum += static_cast<uint32_t>(octets[i] << 8 | (i + 1 < octets.size() ? octets[i + 1] : 0));
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<uint16_t>(~sum);
}

inline void fix_ipv4_checksum(Octets& packet) {
  const size_t header = std::min<size_t>((packet[0] & 15) * 4u, packet.size());
  store_u16(packet.data() + 10, 0);
  store_u16(packet.data() + 10,
            plain_checksum(Octets(packet.begin(), packet.begin() + static_cast<ptrdiff_t>(header))));
}

inline Octets ipv4(uint8_t protocol, const Octets& payload, size_t options = 0) {
  Octets packet = join({unhex("00b9000000000000400000000a0100050a020009"), Octets(options, 1), payload});
  packet[0] = static_cast<uint8_t>(0x40 | (5 + options / 4));
  packet[9] = protocol;
  store_u16(packet.data() + 2, static_cast<uint16_t>(packet.size()));
  fix_ipv4_checksum(packet);
  return packet;
}

inline Octets ipv6(uint8_t protocol, const Octets& payload) {
  Octets packet = join({unhex("6b900000"
                              "00000040"
                              "fd0100000000000000000000000000a5"
                              "fd020000000000000000000000000019"),
                        payload});
  packet[6] = protocol;
  store_u16(packet.data() + 4, static_cast<uint16_t>(payload.size()));
  return packet;
}

inline Octets udp(uint16_t source, uint16_t destination, const Octets& payload) {
  Octets datagram = join({Octets(8), payload});
  store_u16(datagram.data(), source);
  store_u16(datagram.data() + 2, destination);
  store_u16(datagram.data() + 4, static_cast<uint16_t>(datagram.size()));
  return datagram;
}

// An IPv6 extension header; `length` is a multiple of 8 octets.
inline Octets extension(uint8_t next, size_t length) {
  Octets header(length);
  header[0] = next;
  header[1] = static_cast<uint8_t>(length / 8 - 1);
  return header;
}
inline Octets authentication(uint8_t next, size_t length) {
  Octets header(length);
  header[0] = next;
  header[1] = static_cast<uint8_t>(length / 4 - 2);
  return header;
}
inline Octets fragment(uint8_t next, uint16_t offset, bool more) {
  Octets header(8);
  header[0] = next;
  store_u16(header.data() + 2, static_cast<uint16_t>(offset | more));
  return header;
}

// Parses a packet that read_ip must accept.
inline IpPacket read(const Octets& octets) {
  IpPacket packet;
  EXPECT_EQ(read_ip(octets.data(), octets.size(), &packet), IpFault::kNone) << hex(octets);
  return packet;
}

}  // namespace psp::test
