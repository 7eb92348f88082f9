// SPDX-License-Identifier: Apache-2.0
// The one error that a gateway reports, to its own hosts and to those of peers: a packet is too long for its
// next link. ICMP "fragmentation needed and DF set" (RFC 792, RFC 1191) and ICMPv6 "packet too big" (RFC 4443
// section 3.2), and the packets about which no error may be sent.
#pragma once

#include <rte_mbuf.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

#include "engine/memory/hash_index.h"
#include "psp/ip_packet.h"

namespace psp {

inline constexpr uint16_t kIcmpOctets = 576;     // of a whole ICMP error at most (RFC 1812 section 4.3.2.3)
inline constexpr uint16_t kIcmpv6Octets = 1280;  // the same for ICMPv6 (RFC 4443 section 2.4 c)

// Whether an error about this packet may be sent: not about ICMP errors and redirects, not about fragments
// after the first, and not where source or destination is no single host (RFC 1122 section 3.2.2, RFC 4443
// section 2.4 e).
bool may_cause_error(const IpPacket& packet, const uint8_t* octets);

// Writes an Ethernet frame, without its destination, that reports the MTU to the sender of a packet. It
// quotes as much of the packet as fits into an error of at most `longest` octets. False: no space in the
// mbuf.
bool write_too_big(rte_mbuf* mbuf, const MacAddress& mac, const Address& source, const IpPacket& packet,
                   const uint8_t* octets, uint16_t mtu, uint16_t longest = kIcmpv6Octets);

// A token bucket for all lcores: a permission costs an interval, and a full bucket holds `burst` of them.
// Its state is the time at which the bucket is full again (GCRA), a single atomic word.
class TokenBucket {
 public:
  // Full at first.
  TokenBucket(uint32_t per_second, uint32_t burst);
  // Takes a permission if there is one. The clocks of the callers, in nanoseconds, are nearly the same.
  bool take(uint64_t now_ns);
  bool empty(uint64_t now_ns) const {
    return after_one(full_at_ns_.load(std::memory_order_relaxed), now_ns) > now_ns + capacity_ns_;
  }

 private:
  uint64_t after_one(uint64_t full_at_ns, uint64_t now_ns) const {
    return std::max(full_at_ns, now_ns) + interval_ns_;
  }

  const uint64_t interval_ns_, capacity_ns_;
  std::atomic<uint64_t> full_at_ns_{0};
};

// Limits the errors of all lcores together: 1000 a second with bursts of 50, and 100 a second with bursts of
// 10 to one host. Hosts are distinguished by a seeded hash, so that memory stays bounded; two hosts may share
// a bucket.
class IcmpLimit {
 public:
  IcmpLimit();
  bool take(const Address& host, uint64_t now_ns);

 private:
  static constexpr size_t kHosts = 256;
  HashSeed seed_;
  TokenBucket all_;
  std::array<TokenBucket, kHosts> hosts_;
};

}  // namespace psp
