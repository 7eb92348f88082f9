// SPDX-License-Identifier: Apache-2.0
// Both errors have one format: 8 octets of ICMP that end with the MTU, and then the quoted packet.
#include "engine/ip/icmp_error.h"

#include <algorithm>
#include <cstring>

#include "engine/ports/packet.h"
#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

namespace {

constexpr uint8_t kInternetworkControl = 0xc0;  // RFC 1812 section 4.3.2.5

// Errors of RFC 792 (3, 4, 11, 12) and redirect (5).
bool is_icmp_error(uint8_t type) {
  return (type >= 3 && type <= 5) || type == 11 || type == 12;
}
// Errors (below 128) and redirect.
bool is_icmpv6_error(uint8_t type) {
  return type < 128 || type == 137;
}

bool is_one_host(const Address& address) {
  if (!is_ipv4(address)) return address[0] != 0xff && address != Address{};
  return address[12] < 224 && address[12] != 0 && address[12] != 127;
}

template <size_t N>
std::array<TokenBucket, N> buckets(uint32_t per_second, uint32_t burst) {
  return [&]<size_t... i>(std::index_sequence<i...>) {
    return std::array<TokenBucket, N>{((void)i, TokenBucket(per_second, burst))...};
  }
  (std::make_index_sequence<N>());
}

void write_ipv4(const Address& source, const Address& destination, uint16_t length, uint8_t* ip) {
  ip[0] = kPlainIpv4;
  ip[1] = kInternetworkControl;
  store_u16(ip + 2, length);
  store_u16(ip + 6, kDontFragment);
  ip[8] = kIcmpHopLimit;
  ip[9] = kProtocolIcmp;
  std::memcpy(ip + 12, source.data() + 12, 4);
  std::memcpy(ip + 16, destination.data() + 12, 4);
  write_ipv4_checksum(ip);
}

void write_ipv6(const Address& source, const Address& destination, uint16_t payload, uint8_t* ip) {
  ip[0] = 0x60;
  store_u16(ip + 4, payload);
  ip[6] = kProtocolIcmpv6;
  ip[7] = kIcmpHopLimit;
  std::memcpy(ip + 8, source.data(), 16);
  std::memcpy(ip + 24, destination.data(), 16);
}

}  // namespace

bool may_cause_error(const IpPacket& packet, const uint8_t* octets) {
  if (packet.later_fragment || !is_one_host(packet.source) || !is_one_host(packet.destination)) return false;
  const bool icmp = packet.protocol == (packet.version == 4 ? kProtocolIcmp : kProtocolIcmpv6);
  if (!icmp) return true;
  if (packet.payload_offset >= packet.length) return false;
  const uint8_t type = octets[packet.payload_offset];
  return packet.version == 4 ? !is_icmp_error(type) : !is_icmpv6_error(type);
}

bool write_too_big(rte_mbuf* mbuf, const MacAddress& mac, const Address& source, const IpPacket& packet,
                   const uint8_t* octets, uint16_t mtu, uint16_t longest) {
  const bool ipv6 = packet.version == 6;
  const uint16_t header = ipv6 ? kIpv6Header : kIpv4Header;
  const uint32_t room = std::min(longest, ipv6 ? kIcmpv6Octets : kIcmpOctets) - header - kIcmpHeader;
  const auto quoted = static_cast<uint16_t>(std::min(packet.length, room));
  const auto message = static_cast<uint16_t>(kIcmpHeader + quoted);
  char* const begin = rte_pktmbuf_append(mbuf, static_cast<uint16_t>(kEthernetLength + header + message));
  if (begin == nullptr) return false;
  auto* const frame = reinterpret_cast<uint8_t*>(begin);
  std::memset(frame, 0, kEthernetLength + header + kIcmpHeader);
  EthernetAddress(mac).write_source(frame, ipv6);
  uint8_t* const ip = frame + kEthernetLength;
  uint8_t* const icmp = ip + header;
  std::memcpy(icmp + kIcmpHeader, octets, quoted);
  uint32_t sum = 0;
  if (ipv6) {
    write_ipv6(source, packet.source, message, ip);
    icmp[0] = kIcmpv6TooBig;
    store_u32(icmp + 4, mtu);
    sum = pseudo_header_sum(source, packet.source, kProtocolIcmpv6, message);
  } else {
    write_ipv4(source, packet.source, static_cast<uint16_t>(header + message), ip);
    icmp[0] = kIcmpUnreachable;
    icmp[1] = kFragmentationNeeded;
    store_u16(icmp + 6, mtu);
  }
  store_u16(icmp + 2, checksum_fold(checksum_add(icmp, message, sum)));
  return true;
}

// The interval is rounded up: never more than so many a second.
TokenBucket::TokenBucket(uint32_t per_second, uint32_t burst)
    : interval_ns_((1'000'000'000 + uint64_t{per_second} - 1) / per_second),
      capacity_ns_(interval_ns_ * burst) {}

bool TokenBucket::take(uint64_t now_ns) {
  uint64_t full_at_ns = full_at_ns_.load(std::memory_order_relaxed);
  uint64_t next;
  do {
    next = after_one(full_at_ns, now_ns);
    if (next > now_ns + capacity_ns_) return false;
  } while (!full_at_ns_.compare_exchange_weak(full_at_ns, next, std::memory_order_relaxed));
  return true;
}

IcmpLimit::IcmpLimit() : all_(1000, 50), hosts_(buckets<kHosts>(100, 10)) {}

bool IcmpLimit::take(const Address& host, uint64_t now_ns) {
  TokenBucket& own = hosts_[hash_octets(seed_, host.data(), host.size()) % kHosts];
  if (own.empty(now_ns) || !all_.take(now_ns)) return false;
  return own.take(now_ns);
}

}  // namespace psp
