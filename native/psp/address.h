// SPDX-License-Identifier: Apache-2.0
// Addresses, prefixes and flow keys: value types that all native modules share.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "psp/octets.h"

namespace psp {

// 16 octets in network byte order. IPv4 is an IPv4-mapped IPv6 address, ::ffff:a.b.c.d (RFC 4291 section
// 2.5.5.2).
using Address = std::array<uint8_t, 16>;
using MacAddress = std::array<uint8_t, 6>;

inline constexpr std::array<uint8_t, 12> kMappedPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

inline bool is_ipv4(const Address& address) {
  return load_u64(address.data()) == 0 && load_u64(address.data() + 8) >> 32 == 0xffff;
}

// The IPv4-mapped address of 4 octets in network byte order.
inline Address mapped(const uint8_t octets[4]) {
  // Built as one vector, which occupies no integer unit of the CPU.
  using Words = uint32_t __attribute__((vector_size(16)));
  Words words = {0, 0, swap_to_network(uint32_t{0xffff}), 0};
  uint32_t last;
  std::memcpy(&last, octets, sizeof last);
  words[3] = last;
  return std::bit_cast<Address>(words);
}

// Same result as ==, without a call of memcmp.
inline bool is_same(const Address& one, const Address& other) {
  uint64_t a[2], b[2];
  std::memcpy(a, one.data(), sizeof a);
  std::memcpy(b, other.data(), sizeof b);
  return a[0] == b[0] && a[1] == b[1];
}

struct Prefix {
  Address address{};
  uint8_t length = 0;  // of 128 bits; IPv4 /24 is 120

  bool contains(const Address& candidate) const {
    const auto differing = [&](size_t half) { return load_half(address, half) ^ load_half(candidate, half); };
    if (length == 0) return true;
    if (length <= 64) return differing(0) >> (64 - length) == 0;
    return differing(0) == 0 && differing(1) >> (128 - length) == 0;
  }

 private:
  static uint64_t load_half(const Address& address, size_t half) {
    return load_u64(address.data() + half * 8);
  }
};

// One direction of traffic: source VIP and destination VIP.
struct FlowKey {
  Address source{};
  Address destination{};
  bool operator==(const FlowKey& other) const {
    return is_same(source, other.source) && is_same(destination, other.destination);
  }
  FlowKey reversed() const { return {destination, source}; }
};
static_assert(sizeof(FlowKey) == 32);

}  // namespace psp
