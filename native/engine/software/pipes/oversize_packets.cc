// SPDX-License-Identifier: Apache-2.0
// An error to a host of ours comes from the gateway address of its family; without one from 192.0.0.8
// (RFC 7600) or the link-local address of the port.
#include "engine/software/pipes/oversize_packets.h"

#include "engine/software/worker.h"
#include "psp/octets.h"
#include "psp/protocols.h"
#include "psp/tunnel.h"

namespace psp {

namespace {

constexpr uint8_t kDummyIpv4[4] = {192, 0, 0, 8};

// Whether the source of a packet may be sent this MTU now.
bool may_tell(Worker& worker, const IpPacket& ip, const uint8_t* octets, uint16_t mtu) {
  // An MTU that the packet keeps already would teach nothing.
  if (mtu == 0 || ip.length <= mtu) return false;
  if (!may_be_told(ip, octets)) return false;
  return worker.icmp_limit.take(ip.source, worker.now_ns);
}

bool tell(Worker& worker, const Packet& packet, uint16_t mtu) {
  if (!may_tell(worker, packet.ip, packet.layer3(), mtu)) return false;
  rte_mbuf* mbuf = rte_pktmbuf_alloc(worker.fragment_pool.get());
  if (mbuf == nullptr) return false;
  Address source = worker.unsecured_rules.sender_for(packet.ip.source);
  if (source == Address{}) source = mapped(kDummyIpv4);
  if (!write_too_big(mbuf, worker.unsecured.info.mac, source, packet.ip, packet.layer3(), mtu)) {
    rte_pktmbuf_free(mbuf);
    return false;
  }
  worker.hosts.send(packet.ip.source, mbuf, worker.now_ms);
  return true;
}

// An error that every path takes once it is sealed: nobody could be told that it is too long itself.
uint16_t longest_error(const Worker& worker) {
  const bool outer_ipv6 = worker.outer_header.ipv6();
  return static_cast<uint16_t>(least_mtu(outer_ipv6) - tunnel_overhead(outer_ipv6, true));
}

bool tell_peer(Worker& worker, const Packet& packet, uint16_t mtu) {
  if (worker.own_packets.full()) return false;
  if (!may_tell(worker, packet.ip, packet.inner, mtu)) return false;
  rte_mbuf* const mbuf = rte_pktmbuf_alloc(worker.fragment_pool.get());
  if (mbuf == nullptr) return false;
  const MacAddress& own = worker.unsecured.info.mac;
  if (!write_too_big(mbuf, own, packet.ip.destination, packet.ip, packet.inner, mtu, longest_error(worker))) {
    rte_pktmbuf_free(mbuf);
    return false;
  }
  std::memcpy(rte_pktmbuf_mtod(mbuf, uint8_t*), own.data(), own.size());
  worker.own_packets.add(mbuf);
  return true;
}

bool take_over(Worker& worker, Packet& packet, FragmentFault fault, const Fragments& fragments) {
  if (fault != FragmentFault::kNone) {
    worker.drop(packet, fault == FragmentFault::kNoMemory ? Drop::kEgressNoMemory : Drop::kEgressTooBig);
    return false;
  }
  rte_pktmbuf_free(packet.mbuf);
  worker.counters[Value::kPacketsFragmented].add();
  worker.counters[Value::kFragmentsMade].add(fragments.count);
  return true;
}

}  // namespace

void complete_checksum(Worker& worker, Packet& packet) {
  if (worker.unsecured.info.completes_checksums) return;
  if (complete_checksum(packet.ip, packet.layer3())) worker.counters[Value::kChecksumsCompleted].add();
}

ToFit to_fit(const Worker& worker, const Packet& packet) {
  ToFit question;
  question.length = packet.ip.length;
  question.ipv6 = packet.ip.version == 6;
  question.dont_fragment = !question.ipv6 && (load_u16(packet.layer3() + 6) & kDontFragment) != 0;
  question.reassembled = packet.reassembled;
  question.gso = packet.ip.length > worker.unsecured.largest_mtu;
  return question;
}

void drop_too_big(Worker& worker, Packet& packet, uint16_t mtu) {
  const bool told = tell(worker, packet, mtu);
  worker.counters[told ? Value::kIcmpSent : Value::kIcmpSuppressed].add();
  worker.drop(packet, Drop::kEgressTooBig);
}

void send_too_big_to_peer(Worker& worker, const Packet& packet, uint16_t mtu) {
  const bool told = tell_peer(worker, packet, mtu);
  worker.counters[told ? Value::kIcmpSent : Value::kIcmpSuppressed].add();
}

bool leave_reassembly(Worker& worker, Packet& packet) {
  rte_mbuf* const copy = rte_pktmbuf_copy(packet.mbuf, worker.fragment_pool.get(), 0, UINT32_MAX);
  if (copy == nullptr) return false;
  rte_pktmbuf_free(packet.mbuf);
  packet.mbuf = copy;
  return true;
}

bool cut(Worker& worker, Packet& packet, uint16_t mtu, Fragments* fragments) {
  const FragmentFault fault = fragment_ipv4(packet.mbuf, mtu, worker.fragment_pool.get(), fragments);
  return take_over(worker, packet, fault, *fragments);
}

bool cut(Worker& worker, Packet& packet, uint16_t mtu, const Unfragmentable& part, Fragments* fragments) {
  const FragmentFault fault = fragment_ipv6(packet.mbuf, mtu, part, worker.identifications.next(),
                                            worker.fragment_pool.get(), fragments);
  return take_over(worker, packet, fault, *fragments);
}

}  // namespace psp
