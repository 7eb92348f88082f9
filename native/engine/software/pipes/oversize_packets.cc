// SPDX-License-Identifier: Apache-2.0
// An error to a host of ours comes from the gateway address of its family; where there is none, from
// 192.0.0.8 (RFC 7600) or from the link-local address of the port.
#include "engine/software/pipes/oversize_packets.h"

#include "psp/octets.h"
#include "psp/protocols.h"
#include "psp/tunnel.h"

namespace psp {

namespace {

constexpr uint8_t kDummyIpv4[4] = {192, 0, 0, 8};

// Whether the source of a packet may receive this MTU now.
bool may_report(Lcore& lcore, const IpPacket& ip, const uint8_t* octets, uint16_t mtu) {
  // The packet is within this MTU already.
  if (mtu == 0 || ip.length <= mtu) return false;
  if (!may_cause_error(ip, octets)) return false;
  return lcore.shared->icmp_limit.take(ip.source, lcore.now_ns);
}

bool send_to_host(Lcore& lcore, const Packet& packet, uint16_t mtu) {
  if (!may_report(lcore, packet.ip, packet.layer3(), mtu)) return false;
  rte_mbuf* mbuf = rte_pktmbuf_alloc(lcore.shared->fragment_pool.get());
  if (mbuf == nullptr) return false;
  Address source = lcore.unsecured_rules.sender_for(packet.ip.source);
  if (source == Address{}) source = mapped(kDummyIpv4);
  if (!write_too_big(mbuf, lcore.unsecured.info.mac, source, packet.ip, packet.layer3(), mtu)) {
    rte_pktmbuf_free(mbuf);
    return false;
  }
  lcore.to_hosts.add(packet.ip.source, mbuf);
  return true;
}

// Every path takes an error of this length once it is sealed: no error could report that it is too long
// itself.
uint16_t longest_error(const Lcore& lcore) {
  const bool outer_ipv6 = lcore.outer_header.ipv6();
  return static_cast<uint16_t>(least_mtu(outer_ipv6) - tunnel_overhead(outer_ipv6, true));
}

bool send_to_peer(Lcore& lcore, const Packet& packet, uint16_t mtu) {
  if (lcore.own_packets.full()) return false;
  if (!may_report(lcore, packet.ip, packet.inner, mtu)) return false;
  rte_mbuf* const mbuf = rte_pktmbuf_alloc(lcore.shared->fragment_pool.get());
  if (mbuf == nullptr) return false;
  const MacAddress& own = lcore.unsecured.info.mac;
  if (!write_too_big(mbuf, own, packet.ip.destination, packet.ip, packet.inner, mtu, longest_error(lcore))) {
    rte_pktmbuf_free(mbuf);
    return false;
  }
  std::memcpy(rte_pktmbuf_mtod(mbuf, uint8_t*), own.data(), own.size());
  lcore.own_packets.add(mbuf);
  return true;
}

// Frees the packet that was fragmented, or drops it.
bool finish(Lcore& lcore, Packet& packet, FragmentFault fault, const Fragments& fragments) {
  if (fault != FragmentFault::kNone) {
    lcore.drop(packet, reason_of(fault, lcore.to_wire, lcore.secured.tx, Drop::kEgressTooBig,
                                 Drop::kEgressNoMemory, Drop::kEgressTxFull));
    return false;
  }
  rte_pktmbuf_free(packet.mbuf);
  lcore.counters[Value::kPacketsFragmented].add();
  lcore.counters[Value::kFragmentsMade].add(fragments.count);
  return true;
}

}  // namespace

void complete_checksum(Lcore& lcore, Packet& packet) {
  if (lcore.unsecured.info.completes_checksums) return;
  if (complete_checksum(packet.ip, packet.layer3())) lcore.counters[Value::kChecksumsCompleted].add();
}

PacketLength length_of(const Lcore& lcore, const Packet& packet) {
  PacketLength length;
  length.length = packet.ip.length;
  length.ipv6 = packet.ip.version == 6;
  length.dont_fragment = !length.ipv6 && (load_u16(packet.layer3() + 6) & kDontFragment) != 0;
  length.reassembled = packet.reassembled;
  length.gso = packet.ip.length > lcore.unsecured.largest_mtu;
  return length;
}

void report_too_big(Lcore& lcore, const Packet& packet, uint16_t mtu) {
  const bool sent = send_to_host(lcore, packet, mtu);
  lcore.counters[sent ? Value::kIcmpSent : Value::kIcmpSuppressed].add();
}

void report_too_big_to_peer(Lcore& lcore, const Packet& packet, uint16_t mtu) {
  const bool sent = send_to_peer(lcore, packet, mtu);
  lcore.counters[sent ? Value::kIcmpSent : Value::kIcmpSuppressed].add();
}

bool leave_reassembly(Lcore& lcore, Packet& packet) {
  rte_mbuf* const copy = rte_pktmbuf_copy(packet.mbuf, lcore.shared->fragment_pool.get(), 0, UINT32_MAX);
  if (copy == nullptr) return false;
  rte_pktmbuf_free(packet.mbuf);
  packet.mbuf = copy;
  return true;
}

Drop reason_of(FragmentFault fault, const Outgoing& outgoing, const TxQueue& tx, Drop too_big, Drop no_memory,
               Drop tx_full) {
  if (fault != FragmentFault::kNoMemory) return too_big;
  return outgoing.size() >= tx.room() ? tx_full : no_memory;
}

bool fragment(Lcore& lcore, Packet& packet, uint16_t mtu, Fragments* fragments) {
  const FragmentFault fault = fragment_ipv4(packet.mbuf, mtu, lcore.shared->fragment_pool.get(), fragments);
  return finish(lcore, packet, fault, *fragments);
}

bool fragment(Lcore& lcore, Packet& packet, uint16_t mtu, const Unfragmentable& part, Fragments* fragments) {
  const FragmentFault fault = fragment_ipv6(packet.mbuf, mtu, part, lcore.shared->identifications.next(),
                                            lcore.shared->fragment_pool.get(), fragments);
  return finish(lcore, packet, fault, *fragments);
}

}  // namespace psp
