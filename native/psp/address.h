// SPDX-License-Identifier: Apache-2.0
// Addresses, prefixes and flows as values shared by all native rooms.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

namespace psp {

// An address as 16 octets in network order, IPv4 as ::ffff:a.b.c.d.
using Address = std::array<uint8_t, 16>;
using MacAddress = std::array<uint8_t, 6>;

inline constexpr std::array<uint8_t, 12> kMappedPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

inline bool is_ipv4(const Address& address) {
  return std::memcmp(address.data(), kMappedPrefix.data(), kMappedPrefix.size()) == 0;
}

// The address of 4 octets in network order.
inline Address mapped(const uint8_t octets[4]) {
  Address address;
  std::memcpy(address.data(), kMappedPrefix.data(), kMappedPrefix.size());
  std::memcpy(address.data() + 12, octets, 4);
  return address;
}

struct Prefix {
  Address address{};
  uint8_t length = 0;  // of 128; IPv4 /24 is 120

  bool contains(const Address& candidate) const {
    const size_t whole = length / 8;
    if (std::memcmp(address.data(), candidate.data(), whole) != 0) return false;
    const uint8_t mask = static_cast<uint8_t>(0xff00 >> (length % 8));
    return length % 8 == 0 || ((address[whole] ^ candidate[whole]) & mask) == 0;
  }
};

// One direction of traffic: source VIP, destination VIP.
struct FlowKey {
  Address source{};
  Address destination{};
  bool operator==(const FlowKey&) const = default;
  FlowKey reversed() const { return {destination, source}; }
};
static_assert(sizeof(FlowKey) == 32);

}  // namespace psp
