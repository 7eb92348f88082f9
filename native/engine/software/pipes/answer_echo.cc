// SPDX-License-Identifier: Apache-2.0
// The one request that a gateway answers itself, at its gateway addresses and for its own VIPs: ICMP and
// ICMPv6 echo (RFC 792, RFC 4443 section 4). The request becomes the reply in place, and goes back to the MAC
// address that it came from. Requests in fragments or with IP options are not answered.
#include <algorithm>
#include <cstring>

#include "engine/neighbours/neighbour_frames.h"
#include "engine/software/pipes/pipes.h"
#include "engine/software/worker.h"
#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

namespace {

// Over the whole message; 0 where a checksum in it holds.
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
void reply_in_place(const Worker& worker, const Packet& packet) {
  const bool ipv6 = packet.ip.version == 6;
  uint8_t* const ip = packet.layer3();
  uint8_t* const icmp = ip + packet.ip.payload_offset;
  std::memcpy(packet.frame(), packet.frame() + 6, 6);
  worker.unsecured.ethernet.write_source(packet.frame(), ipv6);
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

}  // namespace

bool answer_echo(Worker& worker, Packet& packet) {
  if (!is_request(packet)) return false;
  MacAddress host;
  std::memcpy(host.data(), packet.frame() + 6, host.size());
  const bool answers = is_unicast(host) && packet.ip.length <= worker.unsecured.info.mtu &&
                       worker.echo_limit.take(packet.ip.source, worker.now_ns);
  if (answers) reply_in_place(worker, packet);
  const bool answered = answers && worker.unsecured.tx.push(packet.mbuf);
  if (!answered) rte_pktmbuf_free(packet.mbuf);
  worker.counters[answered ? Value::kEchoAnswered : Value::kEchoSuppressed].add();
  worker.counters[Value::kConsumed].add();
  return true;
}

}  // namespace psp
