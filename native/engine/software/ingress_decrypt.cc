// SPDX-License-Identifier: Apache-2.0
// Takes UDP/1000 to our own address, in transport mode to a VIP, and opens what has an SPI that we offered;
// everything else ends before any AES, but for what the bypass names and too-big messages that prove
// themselves. Fragments are put together first, so that packets are judged whole. The record of the SPI says
// how a packet is opened and where it may arrive; nothing in the packet does. Keys are derived from the
// master key of the SPI's slot; only a packet with a good ICV puts its key into the cache, so that forged
// packets push nothing out.
#include "engine/software/pipes.h"
#include "engine/software/wire_icmp.h"
#include "engine/software/worker.h"
#include "psp/ecn.h"
#include "psp/octets.h"
#include "psp/secret.h"
#include "psp/transport.h"
#include "psp/tunnel.h"

namespace psp {

namespace {

enum class Edge : uint8_t {
  kIngressAcl,
  kBypass,
  kSyndromeIcv,
  kSyndromeTrailer,
  kReassembly,  // a fragment that was taken
  kConsumed,
  kNotForUs,
  kNotPsp,
  kIcmp,
  kIcmpUnproven,
  kMalformed,
  kPspMalformed,
  kUdpChecksum,
  kHeaderTruncated,
  kHeaderMalformed,
  kHeaderCryptOffset,
  kUnknownVersion,
  kUnknownSpi,
  kWrongMode,
  kNoKey,
};

Edge fault_of(HeaderFault fault) {
  switch (fault) {
    case HeaderFault::kTruncated:
      return Edge::kHeaderTruncated;
    case HeaderFault::kCryptOffset:
      return Edge::kHeaderCryptOffset;
    default:
      return Edge::kHeaderMalformed;
  }
}

// The expanded key, or null where the slot has no master key. *trial: it is not in the cache yet.
void* key_of(Worker& worker, const Header& header, bool* trial) {
  const uint64_t tag = ReceiveSpis::key_tag(header.spi, header.version);
  void* key = worker.ingress_keys.find(tag);
  *trial = key == nullptr;
  if (!*trial) return key;
  const MasterKey* master = worker.master_keys[slot_of(header.spi)].get();
  if (master == nullptr) return nullptr;
  worker.counters[Value::kKeyCacheMisses].add();
  uint8_t octets[32];
  master->derive(header.spi, header.version, octets);
  key = worker.ingress_keys.try_out(octets, header.version);
  wipe(octets, sizeof octets);
  return key;
}

// Opens `length` octets of PSP packet at `psp`.
Edge open(Worker& worker, Mode mode, Header header, uint8_t* psp, size_t length, Packet& packet) {
  bool trial = false;
  void* const key = key_of(worker, header, &trial);
  if (key == nullptr) return Edge::kNoKey;
  const uint8_t outer_ecn = packet.ip.traffic_class & kEcnMask;
  const IpPacket outer = packet.ip;
  if (worker.capture.ingress()) keep_frame(worker, packet);
  const OpenFault fault = mode == Mode::kTunnel
                              ? open_tunnel(worker.aead, key, &header, psp, length, &packet.inner, &packet.ip)
                              : open_transport(worker.aead, key, &header, outer, packet.layer3(), length,
                                               &packet.inner, &packet.ip);
  if (fault == OpenFault::kIcv) return Edge::kSyndromeIcv;
  if (trial) worker.ingress_keys.promote(ReceiveSpis::key_tag(header.spi, header.version));
  if (fault == OpenFault::kTrailer) return Edge::kSyndromeTrailer;
  worker.counters[Value::kRxPackets].add();
  worker.counters[Value::kRxBytes].add(sealed_payload_octets(length));
  packet.outer_ecn = outer_ecn;
  packet.has_cookie = header.has_cookie;
  packet.sampled = header.sample;
  packet.marked_drop = header.drop;
  packet.cookie = header.cookie;
  return Edge::kIngressAcl;
}

bool is_psp(const Packet& packet) {
  if (packet.ip.protocol != kProtocolUdp) return false;
  if (packet.ip.length - packet.ip.payload_offset < kUdpHeaderLength) return false;
  return load_u16(packet.layer3() + packet.ip.payload_offset + 2) == kUdpPort;
}

Edge read_psp(Worker& worker, bool to_us, Packet& packet) {
  uint8_t* const udp = packet.layer3() + packet.ip.payload_offset;
  const size_t claimed = load_u16(udp + 4);
  if (claimed < kUdpHeaderLength || claimed > packet.ip.length - packet.ip.payload_offset) {
    return Edge::kPspMalformed;
  }
  const bool known_good = packet.mbuf->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_GOOD;
  if (!known_good && !udp_checksum_ok(packet.ip, packet.layer3())) return Edge::kUdpChecksum;

  uint8_t* const psp = udp + kUdpHeaderLength;
  const size_t length = claimed - kUdpHeaderLength;
  Header header;
  const HeaderFault fault = read_header(psp, length, &header);
  if (fault != HeaderFault::kNone) return fault_of(fault);
  if (!is_known_version(header.version)) return Edge::kUnknownVersion;
  packet.receive_spi = worker.receive_spis.find(header.spi, header.version);
  if (packet.receive_spi == 0) return Edge::kUnknownSpi;
  const Mode mode = worker.receive_spis[packet.receive_spi].mode;
  if ((mode == Mode::kTunnel) != to_us) return Edge::kWrongMode;
  return open(worker, mode, header, psp, length, packet);
}

// Nobody on the wire has an address of ours, and link-local ones mean somebody else here.
bool may_pass_in_the_clear(const Worker& worker, const Address& source) {
  return !is_link_local(source) && worker.peers.owner(source) != Peers::kLocal;
}

// What is not PSP and for an address of ours. *rule: for kBypass.
Edge read_other(Worker& worker, bool to_us, const Packet& packet, uint32_t* rule) {
  Edge edge = Edge::kNotPsp;
  if (is_icmp(packet.ip)) {
    switch (hear_icmp(worker, packet)) {
      case IcmpFate::kLearned:
        return Edge::kConsumed;
      case IcmpFate::kMalformed:
        return Edge::kMalformed;
      case IcmpFate::kUnproven:
        edge = Edge::kIcmpUnproven;
        break;
      case IcmpFate::kOther:
        edge = Edge::kIcmp;
        break;
    }
  }
  if (to_us || !may_pass_in_the_clear(worker, packet.ip.source)) return edge;
  const auto match = worker.bypass.matches_from_wire(packet.ip, packet.layer3());
  if (!match) return edge;
  *rule = *match;
  return Edge::kBypass;
}

Edge choose(Worker& worker, Packet& packet, uint32_t* rule) {
  const Address& destination = packet.ip.destination;
  const bool to_us = destination == worker.config.secured_address.address;
  if (!to_us && !(worker.vips_on_wire && worker.peers.owner(destination) == Peers::kLocal)) {
    return Edge::kNotForUs;
  }
  if (packet.ip.fragment && !worker.ingress_reassembly.add(packet, worker.now_ms)) return Edge::kReassembly;
  return is_psp(packet) ? read_psp(worker, to_us, packet) : read_other(worker, to_us, packet, rule);
}

Drop reason_of(Edge edge) {
  switch (edge) {
    case Edge::kNotForUs:
      return Drop::kIngressNotForUs;
    case Edge::kNotPsp:
      return Drop::kIngressNotPsp;
    case Edge::kIcmp:
      return Drop::kIngressIcmp;
    case Edge::kIcmpUnproven:
      return Drop::kIngressIcmpUnproven;
    case Edge::kUdpChecksum:
      return Drop::kIngressUdpChecksum;
    case Edge::kHeaderTruncated:
      return Drop::kIngressHeaderTruncated;
    case Edge::kHeaderMalformed:
      return Drop::kIngressHeaderMalformed;
    case Edge::kHeaderCryptOffset:
      return Drop::kIngressHeaderCryptOffset;
    case Edge::kUnknownVersion:
      return Drop::kIngressUnknownVersion;
    case Edge::kUnknownSpi:
      return Drop::kIngressUnknownSpi;
    case Edge::kWrongMode:
      return Drop::kIngressWrongMode;
    case Edge::kNoKey:
      return Drop::kIngressNoKey;
    default:
      return Drop::kIngressMalformed;
  }
}

// The counters of the PSP specification ("Statistics").
void count_fault(Worker& worker, Edge edge) {
  switch (edge) {
    case Edge::kPspMalformed:
    case Edge::kUdpChecksum:
    case Edge::kHeaderTruncated:
    case Edge::kHeaderMalformed:
    case Edge::kHeaderCryptOffset:
      worker.counters[Value::kRxError].add();
      break;
    case Edge::kUnknownVersion:
    case Edge::kNoKey:
      worker.counters[Value::kRxBad].add();
      break;
    default:
      break;
  }
}

}  // namespace

void ingress_decrypt(Worker& worker, Burst& burst) {
  uint16_t kept = 0;
  for (uint16_t i = 0; i < burst.count; ++i) {
    Packet& packet = burst.packets[i];
    uint32_t rule = 0;
    const Edge edge = choose(worker, packet, &rule);
    if (edge == Edge::kReassembly) continue;
    if (edge == Edge::kIngressAcl) {
      worker.counters.hit(Pipe::kIngressDecrypt);
      burst.packets[kept++] = packet;
      continue;
    }
    worker.counters.miss(Pipe::kIngressDecrypt);
    switch (edge) {
      case Edge::kBypass:
        ingress_bypass(worker, rule, packet);
        break;
      case Edge::kConsumed:
        worker.counters[Value::kTooBigLearned].add();
        worker.counters[Value::kConsumed].add();
        rte_pktmbuf_free(packet.mbuf);
        break;
      case Edge::kSyndromeIcv:
        syndrome_stats(worker, packet, OpenFault::kIcv);
        break;
      case Edge::kSyndromeTrailer:
        syndrome_stats(worker, packet, OpenFault::kTrailer);
        break;
      default:
        count_fault(worker, edge);
        worker.drop(packet, reason_of(edge));
    }
  }
  burst.count = kept;
}

}  // namespace psp
