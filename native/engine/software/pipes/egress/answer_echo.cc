// SPDX-License-Identifier: Apache-2.0
// Answers echo requests (RFC 792, RFC 4443 section 4) of local VIPs to a gateway address, as often as the
// rate limit allows; a gateway answers nothing else. The request becomes the reply in place, and goes back to
// the MAC address that it came from. Requests in fragments or with IP options are not answered.
#include <algorithm>
#include <cstring>

#include "engine/neighbours/neighbour_frames.h"
#include "engine/software/pipes/edge.h"
#include "engine/software/pipes/egress/egress.h"
#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

namespace {

enum class Edge : uint8_t {
  kReply = kNextEdge,  // to the host
  kSuppressed,         // consumed
  kLocalDestination = drops(Drop::kEgressLocalDestination),
};

// Of the whole message; 0 when the checksum in it is correct.
uint16_t checksum_of(const IpPacket& ip, const uint8_t* icmp) {
  const uint32_t length = ip.length - ip.payload_offset;
  return checksum_fold(checksum_add(icmp, length, ip.version == 6 ? pseudo_header_sum(ip, length) : 0));
}

bool is_request(const Packet& packet) {
  const IpPacket& ip = packet.ip;
  const bool ipv6 = ip.version == 6;
  if (ip.protocol != (ipv6 ? kProtocolIcmpv6 : kProtocolIcmp) || ip.fragment) return false;
  if (ip.payload_offset != (ipv6 ? kIpv6Header : kIpv4Header)) return false;
  if (ip.length - ip.payload_offset < kIcmpHeader) return false;
  const uint8_t* const icmp = packet.layer3() + ip.payload_offset;
  return icmp[0] == (ipv6 ? kIcmpv6EchoRequest : kIcmpEchoRequest) && icmp[1] == 0 &&
         checksum_of(ip, icmp) == 0;
}

// Source and destination change places, which changes no checksum.
void reply_in_place(const Lcore& lcore, const Packet& packet) {
  const bool ipv6 = packet.ip.version == 6;
  uint8_t* const ip = packet.layer3();
  uint8_t* const icmp = ip + packet.ip.payload_offset;
  std::memcpy(packet.frame(), packet.frame() + 6, 6);
  lcore.unsecured.ethernet.write_source(packet.frame(), ipv6);
  if (ipv6) {
    std::swap_ranges(ip + 8, ip + 24, ip + 24);
    ip[7] = kIcmpHopLimit;
  } else {
    std::swap_ranges(ip + 12, ip + 16, ip + 16);
    ip[8] = kIcmpHopLimit;
    store_u16(ip + 4, 0);
    store_u16(ip + 6, kDontFragment);
    write_ipv4_checksum(ip);
  }
  icmp[0] = ipv6 ? kIcmpv6EchoReply : kIcmpEchoReply;
  store_u16(icmp + 2, 0);
  store_u16(icmp + 2, checksum_of(packet.ip, icmp));
}

Edge choose(Lcore& lcore, const Packet& packet) {
  if (!is_request(packet)) return Edge::kLocalDestination;
  MacAddress host;
  std::memcpy(host.data(), packet.frame() + 6, host.size());
  const bool answers = is_unicast(host) && packet.ip.length <= lcore.unsecured.info.mtu &&
                       lcore.shared->echo_limit.take(packet.ip.source, lcore.now_ns);
  return answers ? Edge::kReply : Edge::kSuppressed;
}

// False: the port's queue is full, and the request stays.
bool reply(Lcore& lcore, const Packet& packet) {
  reply_in_place(lcore, packet);
  if (!lcore.unsecured.tx.push(packet.mbuf)) return false;
  lcore.counters[Value::kEchoAnswered].add();
  lcore.counters[Value::kConsumed].add();
  return true;
}

}  // namespace

void answer_echo(Lcore& lcore, Burst& to_gateway) {
  for (const Packet& packet : to_gateway) {
    const Edge edge = choose(lcore, packet);
    if (is_drop(edge)) {
      lcore.drop(Pipe::kEgressRoot, packet, reason_of(edge));
      continue;
    }
    lcore.counters.hit(Pipe::kEgressRoot);
    if (edge == Edge::kReply && reply(lcore, packet)) continue;
    lcore.counters[Value::kEchoSuppressed].add();
    lcore.consume(packet);
  }
  to_gateway.count = 0;
}

}  // namespace psp
