// SPDX-License-Identifier: Apache-2.0
// Fragments IP packets (RFC 791 section 3.2, RFC 8200 section 4.5), each fragment in an mbuf of its own. The
// packet stays unchanged and the caller's. Knows nothing of keys or of the path that fragments take.
#pragma once

#include <rte_mbuf.h>

#include <array>
#include <atomic>
#include <cstdint>

namespace psp {

// A packet of 65535 octets in the smallest fragments that an MTU of 576 requires.
inline constexpr uint32_t kFragmentsAtMost = 192;

enum class FragmentFault : uint8_t {
  kNone,
  kNoMemory,       // the pool has too few mbufs left
  kUnfragmentable  // no fragments of this packet fit the MTU, their numbers 16 bits, or an mbuf of the pool
};

struct Fragments {
  std::array<rte_mbuf*, kFragmentsAtMost> mbufs;  // in the order of their offsets
  uint32_t count = 0;
};

// The unfragmentable part of an IPv6 packet, which precedes each fragment.
struct Unfragmentable {
  uint16_t front = 40;           // octets of headers
  uint16_t protocol_offset = 6;  // of the octet that names what follows them
};

// Fragments the frame, an Ethernet header and an IPv4 packet that read_ip accepted, into frames whose packets
// have at most `mtu` octets. A fragment is fragmented further and keeps its offset. Options without the
// copied flag stay in the first fragment. All or nothing. Unfragmentable: the MTU leaves no space for 8
// octets or requires more than kFragmentsAtMost, or the packet is a fragment that ends after the 65535th
// octet.
[[nodiscard]] FragmentFault fragment_ipv4(const rte_mbuf* frame, uint32_t mtu, rte_mempool* pool,
                                          Fragments* fragments);

// The same for an IPv6 packet without a fragment header in its unfragmentable part.
[[nodiscard]] FragmentFault fragment_ipv6(const rte_mbuf* frame, uint32_t mtu, const Unfragmentable& part,
                                          uint32_t identification, rte_mempool* pool, Fragments* fragments);

// Identifications of packets that we fragment, of all lcores: none repeats within 2^32, nor its low half
// within 2^16. The start and the order are chosen at random.
class Identifications {
 public:
  Identifications();
  uint32_t next() { return (count_.fetch_add(1, std::memory_order_relaxed) * kOdd) ^ mask_; }

 private:
  static constexpr uint32_t kOdd = 0x9e3779b1;
  std::atomic<uint32_t> count_;
  uint32_t mask_;
};

}  // namespace psp
