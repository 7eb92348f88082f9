// SPDX-License-Identifier: Apache-2.0
// Takes UDP/1000 to our own address, in transport mode to a VIP, and opens what has an SPI that we offered;
// everything else ends before any AES, but for what the bypass names and too-big messages that prove
// themselves. Fragments are put together first, so that packets are judged whole. The record of the SPI says
// how a packet is opened and where it may arrive; nothing in the packet does. Keys are derived from the
// master key of the SPI's slot; only a packet with a good ICV puts its key into the cache, so that forged
// packets push nothing out. A burst goes through in steps: what its packets are, what their SPIs mean, and
// the AEAD over all whose keys are at hand; a packet whose key is not is opened by itself, in its turn.
#include "engine/software/pipes/pipes.h"
#include "engine/software/pipes/wire_icmp.h"
#include "engine/software/worker.h"
#include "psp/ecn.h"
#include "psp/octets.h"
#include "psp/protocols.h"
#include "psp/secret.h"
#include "psp/transport.h"
#include "psp/tunnel.h"

namespace psp {

namespace {

enum class Edge : uint8_t {
  kIngressAcl,
  kLookUp,  // a PSP packet whose SPI comes next
  kBypass,
  kSyndromeIcv,
  kSyndromeTrailer,
  kReassembly,  // a fragment that was taken
  kMainLcore,
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

bool is_psp(const Packet& packet) {
  if (packet.ip.protocol != kProtocolUdp) return false;
  if (packet.ip.length - packet.ip.payload_offset < kUdpHeaderLength) return false;
  return load_u16(packet.layer3() + packet.ip.payload_offset + 2) == kUdpPort;
}

Edge read_psp(bool to_us, Packet& packet, Reading* reading) {
  uint8_t* const udp = packet.layer3() + packet.ip.payload_offset;
  const size_t claimed = load_u16(udp + 4);
  if (claimed < kUdpHeaderLength || claimed > packet.ip.length - packet.ip.payload_offset) {
    return Edge::kPspMalformed;
  }
  const bool none = load_u16(udp + 6) == 0;
  const bool known_good = packet.mbuf->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_GOOD;
  if (!none && !known_good && !udp_checksum_ok(packet.ip, packet.layer3())) return Edge::kUdpChecksum;

  uint8_t* const psp = udp + kUdpHeaderLength;
  const size_t length = claimed - kUdpHeaderLength;
  const HeaderFault fault = read_header(psp, length, &reading->header);
  if (fault != HeaderFault::kNone) return fault_of(fault);
  if (!is_known_version(reading->header.version)) return Edge::kUnknownVersion;
  reading->packet = &packet;
  reading->psp = psp;
  reading->length = length;
  reading->to_us = to_us;
  return Edge::kLookUp;
}

// Nobody on the wire has an address of ours, and link-local ones mean somebody else here.
bool may_pass_in_the_clear(const Worker& worker, const Address& source) {
  return !is_link_local(source) && worker.peers.owner(source) != Peers::kLocal;
}

// What is not PSP and for an address of ours. *rule: for kBypass.
Edge read_other(Worker& worker, bool to_us, const Packet& packet, uint32_t* rule) {
  Edge edge = Edge::kNotPsp;
  if (is_icmp(packet.ip)) {
    if (worker.other) return Edge::kMainLcore;
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

// *reading: for kLookUp; *rule: for kBypass.
Edge choose(Worker& worker, Packet& packet, Reading* reading, uint32_t* rule) {
  const Address& destination = packet.ip.destination;
  const bool to_us = is_same(destination, worker.config.secured_address.address);
  if (!to_us && !(worker.vips_on_wire && worker.peers.owner(destination) == Peers::kLocal)) {
    return Edge::kNotForUs;
  }
  if (packet.ip.fragment && worker.other) return Edge::kMainLcore;
  if (packet.ip.fragment && !worker.ingress_reassembly.add(packet, worker.now_ms)) return Edge::kReassembly;
  return is_psp(packet) ? read_psp(to_us, packet, reading) : read_other(worker, to_us, packet, rule);
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

// The end of a packet that goes no further in this direction's pipes. `value`: the rule for kBypass, for
// kMainLcore the hash that keeps its order.
void end(Worker& worker, Packet& packet, Edge edge, uint32_t value) {
  if (edge == Edge::kReassembly) return;
  if (edge == Edge::kMainLcore) {
    worker.counters.unhit(Pipe::kIngressRoot);
    worker.hand_off(Direction::kIngress, value, packet);
    return;
  }
  worker.counters.miss(Pipe::kIngressDecrypt);
  switch (edge) {
    case Edge::kBypass:
      ingress_bypass(worker, value, packet);
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

// Of the same SPI, and to be looked up and opened in the same way.
bool is_as_before(const Reading& before, const Reading& reading) {
  return reading.header.spi == before.header.spi && reading.header.version == before.header.version &&
         reading.to_us == before.to_us;
}

void read(Worker& worker, Burst& burst) {
  Opening& opening = worker.opening;
  const ReceiveSpis& spis = worker.receive_spis;
  Reading* const begin = opening.readings.data();
  Reading* next = begin;
  for (Packet& packet : burst) {
    Reading& reading = *next;
    uint32_t rule = 0;
    const Edge edge = choose(worker, packet, &reading, &rule);
    if (edge != Edge::kLookUp) {
      end(worker, packet, edge, rule);
      continue;
    }
    reading.as_before = next++ != begin && is_as_before((&reading)[-1], reading);
    if (reading.as_before) continue;
    reading.hash = spis.hash(reading.header.spi);
    worker.other ? worker.other->spis.prefetch(reading.hash) : spis.prefetch(reading.hash);
    opening.fresh[opening.fresh_count++] = &reading;
  }
  opening.read = static_cast<uint16_t>(next - begin);
}

// Asks memory for all that the SPIs of a burst need before any of it is read.
void prefetch(Worker& worker) {
  const std::span fresh(worker.opening.fresh.data(), worker.opening.fresh_count);
  if (worker.other) {
    const SpiCopies& copies = worker.other->spis;
    for (Reading* reading : fresh) reading->number = copies.prefetch_copy(reading->hash);
    for (const Reading* reading : fresh) {
      if (reading->number == 0) continue;
      copies.prefetch_rest(reading->number, reading->header.version, reading->length);
    }
    return;
  }
  for (Reading* reading : fresh) reading->number = worker.receive_spis.prefetch_record(reading->hash);
  for (const Reading* reading : fresh) {
    if (reading->number == 0) continue;
    worker.ingress_keys.prefetch(worker.receive_spis.key_place(reading->number), reading->header.version,
                                 reading->length);
  }
}

// On an lcore that is not the first: the place of the SPI's copy, or 0; *sure: there is no such SPI.
uint32_t find_copy(WorkerState& other, const Reading& reading, bool* sure) {
  *sure = false;
  if (other.lanes.is_behind(Handoff::kFromWire, reading.hash)) return 0;
  return other.spis.find(reading.header.spi, reading.header.version, reading.hash, sure);
}

Edge look_up(Worker& worker, Reading& reading) {
  const Header& header = reading.header;
  reading.number = 0;
  if (reading.as_before) reading.hash = worker.receive_spis.hash(header.spi);
  bool sure = true;
  const uint32_t number = worker.other ? find_copy(*worker.other, reading, &sure)
                                       : worker.receive_spis.find(header.spi, header.version, reading.hash);
  if (number == 0) return sure ? Edge::kUnknownSpi : Edge::kMainLcore;
  if ((worker.receive_spis[number].mode == Mode::kTunnel) != reading.to_us) return Edge::kWrongMode;
  worker.receive_spis.prefetch_flow(number);
  reading.number = reading.packet->receive_spi = number;
  return Edge::kIngressAcl;
}

// Reads what is in the clear now.
Edge read_opened(Reading& reading) {
  Packet& packet = *reading.packet;
  Header& header = reading.header;
  packet.outer_ecn = packet.ip.traffic_class & kEcnMask;
  OpenFault fault;
  if (reading.to_us) {  // tunnel mode
    fault = read_opened_tunnel(&header, reading.psp, reading.length, &packet.inner, &packet.ip);
  } else {
    const IpPacket outer = packet.ip;
    fault = read_opened_transport(&header, outer, packet.layer3(), reading.length, &packet.inner, &packet.ip);
  }
  if (fault == OpenFault::kTrailer) return Edge::kSyndromeTrailer;
  packet.has_cookie = header.has_cookie;
  packet.sampled = header.sample;
  packet.marked_drop = header.drop;
  packet.cookie = header.cookie;
  return Edge::kIngressAcl;
}

// What becomes of a packet behind the AEAD: kept, or its end.
void finish(Worker& worker, Reading& reading, Edge edge) {
  Packet& packet = *reading.packet;
  if (edge == Edge::kIngressAcl) edge = read_opened(reading);
  if (edge != Edge::kIngressAcl) return end(worker, packet, edge, 0);
  Opening& opening = worker.opening;
  opening.octets += sealed_payload_octets(reading.length);
  opening.sampled += packet.sampled;
  opening.kept = Burst::keep(opening.kept, packet);
}

void open_gathered(Worker& worker) {
  Opening& opening = worker.opening;
  std::array<bool, kBurst> opened;
  worker.aead.open_burst(opening.jobs.data(), opening.count, opened.data());
  const uint16_t count = opening.count;
  for (uint16_t i = 0; i < count; ++i) {
    finish(worker, *opening.waiting[i], opened[i] ? Edge::kIngressAcl : Edge::kSyndromeIcv);
  }
  opening.count = 0;
}

// A key derived anew; null where the slot has no master key.
void* try_out(Worker& worker, const Header& header) {
  const MasterKey* const master = worker.master_keys[slot_of(header.spi)];
  if (master == nullptr) return nullptr;
  worker.counters[Value::kKeyCacheMisses].add();
  uint8_t octets[32];
  master->derive(header.spi, header.version, octets);
  const uint64_t tag = ReceiveSpis::key_tag(header.spi, header.version);
  void* const key = worker.ingress_keys.try_out(tag, octets, header.version);
  wipe(octets, sizeof octets);
  return key;
}

// `key`: null when it is not in the cache, which takes it if it proves good.
Edge open_alone(Worker& worker, Reading& reading, void* key) {
  const bool trial = key == nullptr;
  if (trial) key = try_out(worker, reading.header);
  if (key == nullptr) return Edge::kNoKey;
  if (worker.capture.ingress()) keep_frame(worker, *reading.packet);
  AeadJob job;
  lay_out_opening(key, reading.header, reading.psp, reading.length, &job);
  if (!worker.aead.open(job)) return Edge::kSyndromeIcv;
  if (trial) {
    worker.receive_spis.note_key_miss(reading.number);
    worker.ingress_keys.promote(worker.receive_spis.key_place(reading.number));
  }
  return Edge::kIngressAcl;
}

void gather(Opening& opening, Reading& reading) {
  const uint16_t at = opening.count++;
  lay_out_opening(reading.key, reading.header, reading.psp, reading.length, &opening.jobs[at]);
  opening.waiting[at] = &reading;
}

// Whether the packet is opened as the one before it, with the same key.
bool continues(const Worker& worker, Reading& reading) {
  if (!reading.as_before || worker.capture.ingress()) return false;
  const Reading& before = (&reading)[-1];
  // Only a packet whose SPI was found has its record's number, and a key if it was at hand.
  if (before.number == 0 || before.key == nullptr) return false;
  reading.number = reading.packet->receive_spi = before.number;
  reading.key = before.key;
  return true;
}

void open(Worker& worker, Reading& reading) {
  const uint64_t tag = ReceiveSpis::key_tag(reading.header.spi, reading.header.version);
  reading.key = worker.ingress_keys.find(worker.receive_spis.key_place(reading.number), tag);
  // A capture keeps one frame, that of the packet opened next.
  if (reading.key != nullptr && !worker.capture.ingress()) return gather(worker.opening, reading);
  open_gathered(worker);
  finish(worker, reading, open_alone(worker, reading, reading.key));
}

}  // namespace

void ingress_decrypt(Worker& worker, Burst& burst) {
  Opening& opening = worker.opening;
  opening.read = opening.fresh_count = opening.sampled = 0;
  opening.octets = 0;
  opening.kept = burst.begin();
  if (burst.count == 0) return;
  read(worker, burst);
  prefetch(worker);
  for (Reading& reading : std::span(opening.readings.data(), opening.read)) {
    if (continues(worker, reading)) {
      gather(opening, reading);
      continue;
    }
    const Edge edge = look_up(worker, reading);
    if (edge == Edge::kIngressAcl) {
      open(worker, reading);
    } else {
      end(worker, *reading.packet, edge, reading.hash);
    }
  }
  open_gathered(worker);
  const uint16_t kept = burst.end_at(opening.kept);
  worker.counters.hit(Pipe::kIngressDecrypt, kept);
  worker.counters[Value::kRxPackets].add(kept);
  worker.counters[Value::kRxBytes].add(opening.octets);
}

}  // namespace psp
