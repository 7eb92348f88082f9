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

// What became of the burst so far.
struct Opened {
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

inline void leave(Lcore& lcore, Opened& opened, const Packet& packet, Edge edge) {
  switch (edge) {
    [[likely]] case Edge::kIngressSampling : opened.octets += sealed_payload_octets(packet.psp_length);
    opened.kept = Burst::keep(opened.kept, packet);
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

// Makes jobs of packets in a row, from the first on, as long as their keys are in the cache. Returns the end.
Packet* gather(const Lcore& lcore, Packet* first, Packet* end, AeadJob* jobs) {
  uint32_t record = 0;  // of the packet before
  void* key = nullptr;
  for (Packet* next = first; next != end; ++next, ++jobs) {
    if (next->receive_spi != record) key = find_key(lcore, *next);
    if (key == nullptr) return next;
    record = next->receive_spi;
    lay_out_opening(key, next->header, next->psp, next->psp_length, jobs);
  }
  return end;
}

}  // namespace

void open(Lcore& lcore, Burst& burst) {
  if (lcore.capture.ingress()) {
    for (const Packet& packet : burst) keep_frame(lcore, packet);
  }
  Opened result{burst.begin()};
  for (Packet* next = burst.begin(); next != burst.end();) {
    std::array<AeadJob, kBurst> jobs;
    std::array<bool, kBurst> opened;
    Packet* const first = next;
    next = gather(lcore, first, burst.end(), jobs.data());
    lcore.aead.open_burst(jobs.data(), static_cast<size_t>(next - first), opened.data());
    for (Packet* packet = first; packet != next; ++packet) {
      leave(lcore, result, *packet, choose(*packet, opened[static_cast<size_t>(packet - first)]));
    }
    if (next == burst.end()) break;
    // The new key may take the slot of a key of the packets before it, which are open by now.
    leave(lcore, result, *next, open_with_new_key(lcore, *next));
    ++next;
  }
  const uint16_t kept = burst.end_at(result.kept);
  lcore.counters.hit(Pipe::kIngressDecrypt, kept);
  lcore.counters[Value::kRxPackets].add(kept);
  lcore.counters[Value::kRxBytes].add(result.octets);
}

}  // namespace psp
