// SPDX-License-Identifier: Apache-2.0
// Packets wait in a batch for the AEAD, which seals many in a row; their frames are in lcore.to_wire by then.
// A packet whose sealed octets are needed at once (a sample, a UDP checksum, fragments) is sealed by itself.
#include "engine/software/pipes/egress/seal_packet.h"

#include "engine/software/pipes/failed_packets.h"
#include "engine/software/pipes/oversize_packets.h"
#include "engine/software/pipes/sampled_packets.h"

namespace psp {

namespace {

// Tunnel mode.
OuterHeader outer_header(Lcore& lcore, const SealPath& path, const Address& destination) {
  if (path.dont_fragment) return lcore.outer_header.to(destination);
  Outer outer = outer_of(lcore.config);
  outer.destination = destination;
  outer.dont_fragment = false;
  outer.identification = static_cast<uint16_t>(lcore.shared->identifications.next());
  return OuterHeader(outer);
}

// Writes all headers in place, except the Ethernet destination; *job is the AEAD's part. False as of
// seal_at_once.
[[nodiscard]] bool lay_out(Lcore& lcore, const SealPath& path, void* key, Packet& packet, AeadJob* job) {
  EgressFlow& flow = lcore.flows[packet.flow];
  const bool tunnel = flow.mode == Mode::kTunnel;
  uint8_t* const octets = packet.layer3();
  if (rte_pktmbuf_append(packet.mbuf, kIcvLength) == nullptr) return false;
  if (rte_pktmbuf_prepend(packet.mbuf, path.front) == nullptr) return false;
  if (packet.sampled) copy_plain(lcore, octets, packet);

  const AddressHash addresses{flow.entropy, flow.entropy_swapped};
  const uint16_t source_port = udp_source(lcore.config.outer, addresses, packet.ip, octets);
  Header header = header_of(flow);
  header.iv = lcore.flows.next_iv();
  header.crypt_offset = lcore.topology->peers[flow.peer].crypt_offset;
  header.sample = packet.sampled;
  const uint8_t* const start =
      tunnel ? lay_out_tunnel(key, outer_header(lcore, path, flow.outer_destination), source_port, packet.ip,
                              &header, octets, job)
             : lay_out_transport(key, path.transport, source_port, &header, octets, job);
  // Nothing leaves unless it begins where sealing says that the sealed packet does.
  if (start != packet.layer3()) {
    rte_pktmbuf_adj(packet.mbuf, path.front);
    return false;
  }
  lcore.secured.ethernet.write_source(packet.frame(), path.outer_ipv6);
  count_sealed(lcore, flow, 1, packet.ip.length);
  return true;
}

// Octets that the counters of the PSP specification count for a packet that lay_out accepted.
size_t sealed_octets(const Lcore& lcore, const SealPath& path, const Packet& packet) {
  const EgressFlow& flow = lcore.flows[packet.flow];
  const size_t front = flow.mode == Mode::kTunnel ? 0 : path.transport.header_length;
  return sealed_payload_octets(packet.ip.length - front, flow.cookie != 0);
}

void fill_udp_checksum(const Lcore& lcore, const SealPath& path, Packet& packet) {
  const EgressFlow& flow = lcore.flows[packet.flow];
  if (flow.mode == Mode::kTunnel) {
    const size_t outer = tunnel_headroom(path.outer_ipv6, false) - encapsulation_headroom(false);
    write_udp_checksum(lcore.config.secured_address.address, flow.outer_destination, packet.layer3() + outer);
  } else if (path.transport.final_destination) {
    write_udp_checksum(path.transport.source, path.transport.destination,
                       packet.layer3() + path.transport.header_length);
  }
}

// Adds a packet to the batch. False as of seal_at_once.
[[nodiscard]] bool gather(Lcore& lcore, const SealPath& path, Packet& packet) {
  // The key comes first, because expanding it may seal and empty the batch.
  void* const key = expanded_key(lcore, packet.flow);
  if (lcore.sealing.full()) seal_batch(lcore);
  if (!lay_out(lcore, path, key, packet, lcore.sealing.next_job())) return false;
  lcore.sealing.add();
  lcore.sealing.octets += sealed_octets(lcore, path, packet);
  lcore.to_wire.add(path.hop, packet.mbuf);
  return true;
}

}  // namespace

void seal_batch(Lcore& lcore) {
  Sealing& sealing = lcore.sealing;
  lcore.aead.seal_burst(sealing.jobs.data(), sealing.count);
  lcore.counters[Value::kTxPackets].add(sealing.count);
  lcore.counters[Value::kTxBytes].add(sealing.octets);
  sealing.clear();
  lcore.egress_tally.flush(lcore.now_ms);
}

void seal_whole(Lcore& lcore, const SealPath& path, Packet& packet) {
  if (!packet.sampled && !packet.reassembled && !lcore.config.outer.udp_checksum) {
    if (!gather(lcore, path, packet)) drop_unsealed(lcore, packet, Drop::kEgressTooBig);
    return;
  }
  if (!seal_at_once(lcore, path, packet)) return drop_unsealed(lcore, packet, Drop::kEgressTooBig);
  if (packet.reassembled && !leave_reassembly(lcore, packet)) {
    return lcore.drop(packet, Drop::kEgressNoMemory);
  }
  lcore.to_wire.add(path.hop, packet.mbuf);
}

bool seal_at_once(Lcore& lcore, const SealPath& path, Packet& packet) {
  AeadJob job;
  if (!lay_out(lcore, path, expanded_key(lcore, packet.flow), packet, &job)) return false;
  lcore.aead.seal(job);
  lcore.counters[Value::kTxPackets].add();
  lcore.counters[Value::kTxBytes].add(sealed_octets(lcore, path, packet));
  if (lcore.config.outer.udp_checksum) fill_udp_checksum(lcore, path, packet);
  if (packet.sampled) copy_sealed(lcore, path.hop, packet);
  return true;
}

void drop_unsealed(Lcore& lcore, const Packet& packet, Drop reason) {
  capture_unsealed(lcore, packet, reason);
  lcore.drop_psp(packet, reason);
}

}  // namespace psp
