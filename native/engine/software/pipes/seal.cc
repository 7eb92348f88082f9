// SPDX-License-Identifier: Apache-2.0
// What lies between egress_sampling and the secured port: the partial checksum is completed, the packet
// laid out in its flow's mode under the next IV and gathered; a burst is sealed in one go and sent to the
// next hops of its outer destinations. What does not fit the path is cut before or after that, or ends with
// its sender told (fit.h). Every sealed packet, a sealed fragment too, has an IV of its own.
#include <span>

#include "engine/software/pipes/oversize_packets.h"
#include "engine/software/pipes/pipes.h"
#include "engine/software/worker.h"
#include "psp/protocols.h"
#include "psp/transport.h"
#include "psp/tunnel.h"

namespace psp {

namespace {

constexpr uint16_t kEphemeralPorts = 0xc000;  // 49152 and up (RFC 6335)

// A packet on its way through here.
struct Way {
  uint32_t flow;
  Address hop;
  uint16_t front = 0;   // octets that sealing puts before the packet
  TransportLayout cut;  // transport mode
  bool outer_ipv6;
  bool dont_fragment = true;  // of an outer IPv4 header that we write
};

// Octets in front of a packet for the wire and behind it, in its buffer.
bool has_room(const rte_mbuf* mbuf, size_t front) {
  return rte_pktmbuf_headroom(mbuf) >= front && rte_pktmbuf_tailroom(mbuf) >= kIcvLength;
}

void* expanded_key(Worker& worker, uint32_t number) {
  EgressFlow& flow = worker.flows[number];
  KeyCache& keys = worker.egress_keys;
  if (void* known = keys.find(keys.place_of(number, flow.key_misses), flow.key_tag)) [[likely]]
    return known;
  worker.counters[Value::kKeyCacheMisses].add();
  // The place may hold the key of a packet that was gathered.
  seal_gathered(worker);
  keys.note_miss(number, &flow.key_misses);
  return keys.add(keys.place_of(number, flow.key_misses), flow.key_tag, worker.flows.key_bytes(number),
                  flow.version);
}

inline uint16_t udp_source(const OuterConfig& config, const AddressHash& addresses, const IpPacket& ip,
                           const uint8_t* octets) {
  const uint32_t hash = flow_hash(addresses, ip, octets, 0);
  if (config.source_ports == SourcePorts::kTable) return config.port_table[hash % config.port_table.size()];
  return static_cast<uint16_t>(kEphemeralPorts | (hash & 0x3fff));
}

// But for the IV.
Header header_of(const EgressFlow& flow) {
  Header header;
  header.version = flow.version;
  header.spi = flow.spi;
  header.has_cookie = flow.cookie != 0;
  header.cookie = flow.cookie;
  return header;
}

void count(Worker& worker, EgressFlow& flow, uint64_t packets, uint64_t octets) {
  flow.packets += packets;
  flow.bytes += octets;
  worker.egress_tally.add(flow.peer, packets, octets, worker.now_ms);
}

// Makes room in the batch for at least one packet, which goes to this hop: seals and sends a full batch
// first.
void make_room(Worker& worker, const Address& hop) {
  if (worker.sealing.full()) seal_gathered(worker);
  worker.sealing.begin_run(hop);
}

// Gathers packets of a flow from the first on, as long as they are of the common kind: tunnel mode, and
// nothing to ask about the path. Returns how many.
size_t gather_plain(Worker& worker, uint32_t number, std::span<Packet> packets) {
  EgressFlow& flow = worker.flows[number];
  const auto front = static_cast<uint16_t>(tunnel_headroom(worker.outer_header.ipv6(), flow.cookie != 0));
  // The port's MTU may be less than when the flow was prepared.
  const uint32_t room =
      std::min<uint32_t>(flow.plain_room, room_beside(worker.secured.info.mtu, front + kIcvLength));
  if (packets.front().ip.length > room) return 0;
  // What is the same for all of them.
  void* const key = expanded_key(worker, number);
  const OuterHeader outer = worker.outer_header.to(flow.outer_destination);
  const EthernetAddress ethernet = worker.secured.ethernet;
  const AddressHash addresses{flow.entropy, flow.entropy_swapped};
  const Address& hop = flow.off_link ? *worker.config.secured_gateway : flow.outer_destination;
  const bool completes_checksums = worker.unsecured.info.completes_checksums;
  Header header = header_of(flow);
  header.next_header = tunnel_next_header(packets.front().ip);
  const SharedHeader shared(&header);
  Sealing& sealing = worker.sealing;
  make_room(worker, hop);

  uint64_t octets = 0;
  size_t taken = 0;
  for (; taken < packets.size(); ++taken) {
    Packet& packet = packets[taken];
    if (packet.ip.length > room || packet.sampled || packet.reassembled) break;
    if (!has_room(packet.mbuf, front)) break;
    if (sealing.full()) make_room(worker, hop);
    uint8_t* const inner = packet.layer3();
    if (!completes_checksums && looks_partial(packet.ip, inner)) complete_checksum(worker, packet);
    const uint16_t source_port = udp_source(worker.config.outer, addresses, packet.ip, inner);
    uint8_t* const udp =
        shared.lay_out(key, worker.flows.next_iv(), source_port, inner, packet.ip.length, sealing.next_job());
    const size_t udp_length = static_cast<size_t>(inner - udp) + packet.ip.length + kIcvLength;
    uint8_t* const start = outer.write(packet.ip.traffic_class, udp_length, udp);
    ethernet.write_source(start - kEthernetLength, outer.ipv6());
    rte_mbuf& mbuf = *packet.mbuf;
    mbuf.data_off -= front;
    mbuf.data_len += front + kIcvLength;
    mbuf.pkt_len += front + kIcvLength;
    sealing.add(&mbuf);
    octets += packet.ip.length;
  }
  sealing.octets += octets + taken * sealed_payload_octets(0, header.has_cookie);
  count(worker, flow, taken, octets);
  return taken;
}

// Tunnel mode.
OuterHeader outer_header(Worker& worker, const Way& way) {
  const Address& destination = worker.flows[way.flow].outer_destination;
  if (way.dont_fragment) return worker.outer_header.to(destination);
  Outer outer = outer_of(worker.config);
  outer.destination = destination;
  outer.dont_fragment = false;
  outer.identification = static_cast<uint16_t>(worker.identifications.next());
  return OuterHeader(outer);
}

// Writes all headers in place; *job is the AEAD's part of the frame that goes out then, its destination open.
// False: it has no room, or the sealed packet no form; then it must not leave.
[[nodiscard]] bool lay_out(Worker& worker, const Way& way, void* key, Packet& packet, AeadJob* job) {
  EgressFlow& flow = worker.flows[way.flow];
  const bool tunnel = flow.mode == Mode::kTunnel;
  uint8_t* const octets = packet.layer3();
  if (rte_pktmbuf_append(packet.mbuf, kIcvLength) == nullptr) return false;
  if (rte_pktmbuf_prepend(packet.mbuf, way.front) == nullptr) return false;
  if (packet.sampled) copy_plain(worker, way.flow, octets, packet);

  const AddressHash addresses{flow.entropy, flow.entropy_swapped};
  const uint16_t source_port = udp_source(worker.config.outer, addresses, packet.ip, octets);
  Header header = header_of(flow);
  header.iv = worker.flows.next_iv();
  header.crypt_offset = worker.config.peers[flow.peer].crypt_offset;
  header.sample = packet.sampled;
  const uint8_t* const start =
      tunnel ? lay_out_tunnel(key, outer_header(worker, way), source_port, packet.ip, &header, octets, job)
             : lay_out_transport(key, way.cut, source_port, &header, octets, job);
  // Nothing leaves but what begins where sealing says that the sealed packet does.
  if (start != packet.layer3()) {
    rte_pktmbuf_adj(packet.mbuf, way.front);
    return false;
  }
  worker.secured.ethernet.write_source(packet.frame(), way.outer_ipv6);
  count(worker, flow, 1, packet.ip.length);
  return true;
}

// What the counters of the PSP specification count of a packet that lay_out took.
size_t sealed_octets(const Worker& worker, const Way& way, const Packet& packet) {
  const EgressFlow& flow = worker.flows[way.flow];
  const size_t front = flow.mode == Mode::kTunnel ? 0 : way.cut.header_length;
  return sealed_payload_octets(packet.ip.length - front, flow.cookie != 0);
}

void fill_udp_checksum(const Worker& worker, const Way& way, Packet& packet) {
  const EgressFlow& flow = worker.flows[way.flow];
  if (flow.mode == Mode::kTunnel) {
    const size_t outer = tunnel_headroom(way.outer_ipv6, false) - encapsulation_headroom(false);
    write_udp_checksum(worker.config.secured_address.address, flow.outer_destination,
                       packet.layer3() + outer);
  } else if (way.cut.final_destination) {
    write_udp_checksum(way.cut.source, way.cut.destination, packet.layer3() + way.cut.header_length);
  }
}

// Seals a packet whose sealed octets are asked for at once, behind those that were gathered before it.
[[nodiscard]] bool seal_alone(Worker& worker, const Way& way, Packet& packet) {
  seal_gathered(worker);
  AeadJob job;
  if (!lay_out(worker, way, expanded_key(worker, way.flow), packet, &job)) return false;
  worker.aead.seal(job);
  worker.counters[Value::kTxPackets].add();
  worker.counters[Value::kTxBytes].add(sealed_octets(worker, way, packet));
  if (worker.config.outer.udp_checksum) fill_udp_checksum(worker, way, packet);
  if (packet.sampled) copy_sealed(worker, way.flow, way.hop, packet);
  return true;
}

void turn_away(Worker& worker, uint32_t flow, Packet& packet, Drop reason) {
  worker.counters[Value::kTxError].add();
  capture_unsealed(worker, flow, packet, reason);
  worker.drop(packet, reason);
}

// False: it has no room, or no form.
[[nodiscard]] bool gather(Worker& worker, const Way& way, Packet& packet) {
  // The key comes first, because expanding it may seal and empty the batch.
  void* const key = expanded_key(worker, way.flow);
  make_room(worker, way.hop);
  if (!lay_out(worker, way, key, packet, worker.sealing.next_job())) return false;
  worker.sealing.add(packet.mbuf);
  worker.sealing.octets += sealed_octets(worker, way, packet);
  return true;
}

void seal_whole(Worker& worker, const Way& way, Packet& packet) {
  if (!packet.sampled && !packet.reassembled && !worker.config.outer.udp_checksum) {
    if (!gather(worker, way, packet)) turn_away(worker, way.flow, packet, Drop::kEgressTooBig);
    return;
  }
  if (!seal_alone(worker, way, packet)) {
    turn_away(worker, way.flow, packet, Drop::kEgressTooBig);
    return;
  }
  if (packet.reassembled && !leave_reassembly(worker, packet)) {
    worker.drop(packet, Drop::kEgressNoMemory);
    return;
  }
  worker.next_hops.send(way.hop, packet.mbuf, worker.now_ms);
}

// An inner IPv4 packet in tunnel mode: each fragment is a packet of its own.
void cut_and_seal(Worker& worker, const Way& way, Packet& packet, uint16_t mtu) {
  const Packet whole = packet;
  Fragments fragments;
  if (!cut(worker, packet, mtu, &fragments)) return;
  for (uint32_t i = 0; i < fragments.count; ++i) {
    Packet part = whole;
    part.mbuf = fragments.mbufs[i];
    read_ip(part.layer3(), part.layer3_length(), &part.ip);
    seal_whole(worker, way, part);
  }
}

// What we wrote ourselves gets an identification of ours. In transport mode IPv4 keeps the host's: it let the
// packet be cut, or cut it, so the number is none of those that mean nothing (RFC 6864), and all that leaves
// between these addresses is numbered by one who counts. Another number would reach the far host, which may
// authenticate it (AH).
void seal_and_cut(Worker& worker, Way& way, Packet& packet, uint16_t mtu) {
  const bool tunnel = worker.flows[way.flow].mode == Mode::kTunnel;
  way.dont_fragment = false;
  if (!seal_alone(worker, way, packet)) {
    turn_away(worker, way.flow, packet, Drop::kEgressTooBig);
    return;
  }
  const Unfragmentable part =
      tunnel ? Unfragmentable{} : Unfragmentable{way.cut.header_length, way.cut.protocol_offset};
  Fragments fragments;
  const bool done =
      way.outer_ipv6 ? cut(worker, packet, mtu, part, &fragments) : cut(worker, packet, mtu, &fragments);
  if (!done) return;
  for (uint32_t i = 0; i < fragments.count; ++i) {
    worker.next_hops.send(way.hop, fragments.mbufs[i], worker.now_ms);
  }
}

// What the fence lets out (services/dataplane/adapters/fence_rules.ts): the kernel finds UDP behind so much
// and no more, and of a frame that it refuses nobody would be told why.
bool passes_fence(const TransportLayout& cut) {
  constexpr uint16_t kLongestFront = 240;
  constexpr uint8_t kMostExtensions = 3;
  return cut.header_length <= kLongestFront && cut.extensions <= kMostExtensions;
}

Drop reason_of(TransportFault fault) {
  return fault == TransportFault::kTunnelProtocol ? Drop::kEgressTransportIpInIp
                                                  : Drop::kEgressTransportUnsealable;
}

// An IPv6 packet in transport mode that its host fragmented, as its link takes no packet of this length. It
// leaves in fragments too, which is all that shows the far gateway that no error is to be reported.
bool must_show_fragments(const Worker& worker, const EgressFlow& flow, const Packet& packet) {
  return packet.reassembled && packet.ip.version == 6 && flow.mode == Mode::kTransport &&
         packet.ip.length > worker.unsecured.info.mtu;
}

void seal_any(Worker& worker, uint32_t number, Packet& packet) {
  const EgressFlow& flow = worker.flows[number];
  forget_old_path_mtu(worker, number);
  const bool tunnel = flow.mode == Mode::kTunnel;
  Way way;
  way.flow = number;
  way.outer_ipv6 = tunnel ? !is_ipv4(worker.config.secured_address.address) : packet.ip.version == 6;
  if (!next_hop(worker, flow.outer_destination, &way.hop)) {
    turn_away(worker, number, packet, Drop::kEgressNoNextHop);
    return;
  }
  complete_checksum(worker, packet);
  if (!tunnel) {
    const TransportFault fault = read_transport_layout(packet.ip, packet.layer3(), &way.cut);
    if (fault != TransportFault::kNone) {
      turn_away(worker, number, packet, reason_of(fault));
      return;
    }
    if (!passes_fence(way.cut)) {
      turn_away(worker, number, packet, Drop::kEgressTransportUnsealable);
      return;
    }
  }
  const bool cookie = flow.cookie != 0;
  way.front =
      static_cast<uint16_t>(tunnel ? tunnel_headroom(way.outer_ipv6, cookie) : transport_headroom(cookie));
  const uint32_t room = room_beside(path_mtu(worker, number), way.front + kIcvLength);
  // The port's MTU is more than when the flow was prepared.
  if (flow.plain_room != 0 && flow.plain_room < room) prepare(worker, number);
  if (packet.ip.length <= room) {
    if (!must_show_fragments(worker, flow, packet)) return seal_whole(worker, way, packet);
    return seal_and_cut(worker, way, packet, packet.ip.length);
  }
  const Fitting fitting = fit_sealed(to_fit(worker, packet), room, flow.mode);
  switch (fitting.fit) {
    case Fit::kWhole:
      seal_whole(worker, way, packet);
      break;
    case Fit::kCut:
      cut_and_seal(worker, way, packet, fitting.mtu);
      break;
    case Fit::kCutSealed:
      seal_and_cut(worker, way, packet, path_mtu(worker, number));
      break;
    case Fit::kTooBig:
      capture_unsealed(worker, number, packet, Drop::kEgressTooBig);
      drop_too_big(worker, packet, fitting.mtu);
      break;
  }
}

}  // namespace

Outer outer_of(const EngineConfig& config) {
  Outer outer;
  outer.source = config.secured_address.address;
  outer.hop_limit = config.outer.hop_limit;
  outer.dscp = config.outer.dscp;
  return outer;
}

bool next_hop(const Worker& worker, const Address& destination, Address* hop) {
  if (worker.config.secured_address.contains(destination)) {
    *hop = destination;
    return true;
  }
  if (worker.config.secured_gateway) *hop = *worker.config.secured_gateway;
  return worker.config.secured_gateway.has_value();
}

void seal_gathered(Worker& worker) {
  Sealing& sealing = worker.sealing;
  worker.aead.seal_burst(sealing.jobs.data(), sealing.count);
  sealing.end_run();
  uint16_t first = 0;
  for (uint16_t run = 0; run < sealing.run_count; first = sealing.runs[run++].end) {
    const auto& [hop, end] = sealing.runs[run];
    if (end != first) worker.next_hops.send(hop, &sealing.mbufs[first], end - first, worker.now_ms);
  }
  worker.counters[Value::kTxPackets].add(sealing.count);
  worker.counters[Value::kTxBytes].add(sealing.octets);
  sealing.clear();
  worker.egress_tally.flush(worker.now_ms);
}

void prepare(Worker& worker, uint32_t number) {
  EgressFlow& flow = worker.flows[number];
  const OuterConfig& outer = worker.config.outer;
  const AddressHash hash =
      address_hash(flow.key.source, flow.key.destination, outer.source_ports == SourcePorts::kSymmetricHash);
  flow.entropy = hash.value;
  flow.entropy_swapped = hash.swapped;
  flow.off_link = !worker.config.secured_address.contains(flow.outer_destination);
  const bool has_hop = !flow.off_link || worker.config.secured_gateway;
  const bool plain = flow.mode == Mode::kTunnel && has_hop && !outer.udp_checksum &&
                     worker.config.peers[flow.peer].crypt_offset == 0;
  const size_t overhead = tunnel_overhead(worker.outer_header.ipv6(), flow.cookie != 0);
  flow.plain_room = plain ? static_cast<uint16_t>(room_beside(path_mtu(worker, number), overhead)) : 0;
}

void seal(Worker& worker, uint32_t number, std::span<Packet> packets) {
  while (!packets.empty()) {
    packets = packets.subspan(gather_plain(worker, number, packets));
    if (packets.empty()) return;
    seal_any(worker, number, packets.front());
    packets = packets.subspan(1);
  }
}

}  // namespace psp
