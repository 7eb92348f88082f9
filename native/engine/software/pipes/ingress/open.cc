// SPDX-License-Identifier: Apache-2.0
// Opens packets in place. Keys are derived from the master key of the SPI's slot; only a packet with a good
// ICV puts its key into the cache, so that forged packets evict nothing. The AEAD runs over all packets in a
// row whose keys are in the cache; a packet whose key is not is opened by itself, in its turn.
#include "engine/software/pipes/edge.h"
#include "engine/software/pipes/failed_packets.h"
#include "engine/software/pipes/ingress/ingress.h"
#include "psp/ecn.h"
#include "psp/secret.h"
#include "psp/transport.h"
#include "psp/tunnel.h"

namespace psp {

namespace {

enum class Edge : uint8_t {
  kIngressSampling = kNextEdge,
  kSyndromeStats,
  kNoKey = drops(Drop::kIngressNoKey),
};

// Packets of the burst that wait for the AEAD, and those that were opened.
struct Opening {
  std::array<AeadJob, kBurst> jobs;
  std::array<Packet*, kBurst> waiting;  // whose jobs they are
  uint16_t count = 0;
  Packet* kept;         // where the next packet that was opened goes
  uint64_t octets = 0;  // sealed, of those that were opened
};

// Reads what is in the clear once the AEAD has run.
inline OpenFault read_opened(Packet& packet) {
  packet.outer_ecn = packet.ip.traffic_class & kEcnMask;
  if (packet.to_us) {  // tunnel mode
    return read_opened_tunnel(&packet.header, packet.psp, packet.psp_length, &packet.inner, &packet.ip);
  }
  const IpPacket outer = packet.ip;
  return read_opened_transport(&packet.header, outer, packet.layer3(), packet.psp_length, &packet.inner,
                               &packet.ip);
}

// `opened`: whether the ICV was good.
inline Edge choose(Packet& packet, bool opened) {
  packet.open_fault = opened ? read_opened(packet) : OpenFault::kIcv;
  packet.sampled = packet.header.sample;
  return packet.open_fault == OpenFault::kNone ? Edge::kIngressSampling : Edge::kSyndromeStats;
}

inline void leave(Lcore& lcore, Opening& opening, Packet& packet, Edge edge) {
  switch (edge) {
    [[likely]] case Edge::kIngressSampling : opening.octets += sealed_payload_octets(packet.psp_length);
    opening.kept = Burst::keep(opening.kept, packet);
    break;
    case Edge::kSyndromeStats:
      lcore.counters.miss(Pipe::kIngressDecrypt);
      lcore.unopened.add(packet);
      break;
    default:
      lcore.counters.miss(Pipe::kIngressDecrypt);
      lcore.drop_psp(packet, reason_of(edge));
  }
}

void open_batch(Lcore& lcore, Opening& opening) {
  std::array<bool, kBurst> opened;
  lcore.aead.open_burst(opening.jobs.data(), opening.count, opened.data());
  for (uint16_t i = 0; i < opening.count; ++i) {
    Packet& packet = *opening.waiting[i];
    leave(lcore, opening, packet, choose(packet, opened[i]));
  }
  opening.count = 0;
}

// Derives a key that has not proved itself; null where the slot has no master key.
void* try_out(Lcore& lcore, const Header& header) {
  const MasterKey* const master = lcore.master_keys[slot_of(header.spi)];
  if (master == nullptr) return nullptr;
  lcore.counters[Value::kKeyCacheMisses].add();
  uint8_t octets[32];
  master->derive(header.spi, header.version, octets);
  const uint64_t tag = SpiRecords::key_tag(header.spi, header.version);
  void* const key = lcore.ingress_keys.try_out(tag, octets, header.version);
  wipe(octets, sizeof octets);
  return key;
}

// Opens a packet whose key is not in the cache. The key enters the cache when it proves good.
Edge open_with_new_key(Lcore& lcore, Packet& packet) {
  void* const key = try_out(lcore, packet.header);
  if (key == nullptr) return Edge::kNoKey;
  AeadJob job;
  lay_out_opening(key, packet.header, packet.psp, packet.psp_length, &job);
  const bool opened = lcore.aead.open(job);
  if (opened) {
    ReceiveSpi& spi = lcore.spis[packet.receive_spi];
    lcore.ingress_keys.note_miss(packet.receive_spi, &spi.key_misses);
    lcore.ingress_keys.promote(lcore.ingress_keys.slot_for(packet.receive_spi, spi.key_misses));
  }
  return choose(packet, opened);
}

void* find_key(const Lcore& lcore, const Packet& packet) {
  const uint64_t tag = SpiRecords::key_tag(packet.header.spi, packet.header.version);
  const uint8_t misses = lcore.spis[packet.receive_spi].key_misses;
  return lcore.ingress_keys.find(lcore.ingress_keys.slot_for(packet.receive_spi, misses), tag);
}

}  // namespace

void open(Lcore& lcore, Burst& burst) {
  Opening opening;
  opening.kept = burst.begin();
  uint32_t record = 0;  // of the packet before
  void* key = nullptr;  // its key, if it is in the cache
  for (Packet& packet : burst) {
    if (lcore.capture.ingress()) keep_frame(lcore, packet);
    if (packet.receive_spi != record || key == nullptr) key = find_key(lcore, packet);
    record = packet.receive_spi;
    if (key == nullptr) {
      // The new key may take the slot of a key that packets wait for.
      open_batch(lcore, opening);
      leave(lcore, opening, packet, open_with_new_key(lcore, packet));
      continue;
    }
    lay_out_opening(key, packet.header, packet.psp, packet.psp_length, &opening.jobs[opening.count]);
    opening.waiting[opening.count++] = &packet;
  }
  open_batch(lcore, opening);
  const uint16_t kept = burst.end_at(opening.kept);
  lcore.counters.hit(Pipe::kIngressDecrypt, kept);
  lcore.counters[Value::kRxPackets].add(kept);
  lcore.counters[Value::kRxBytes].add(opening.octets);
}

}  // namespace psp
