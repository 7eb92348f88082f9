// SPDX-License-Identifier: Apache-2.0
// Finds the record of each packet's SPI: the main lcore in its table, a worker lcore among its copies. A
// packet of an SPI that a worker lcore has no copy of, or that would overtake one that the main lcore still
// has, is handed off as it came.
#include "engine/software/pipes/edge.h"
#include "engine/software/pipes/ingress/ingress.h"

namespace psp {

namespace {

enum class Edge : uint8_t {
  kOpen = kNextEdge,
  kHandOff,  // worker lcores
  kUnknownSpi = drops(Drop::kIngressUnknownSpi),
  kWrongMode = drops(Drop::kIngressWrongMode),
};

// Prefetches in steps all that the SPIs of a burst need before any of it is read. Notes in each packet its
// hash and its likely record.
template <typename Hash, typename Index, typename Record, typename Rest>
void prefetch(Burst& burst, Hash&& hash, Index&& index, Record&& record, Rest&& rest) {
  for (Packet* packet : burst.firsts) {
    packet->hash = hash(packet->header.spi);
    index(packet->hash);
  }
  for (Packet* packet : burst.firsts) packet->receive_spi = record(packet->hash);
  for (const Packet* packet : burst.firsts) {
    if (packet->receive_spi != 0) rest(*packet);
  }
}

// The edge of a packet whose SPI has this record.
Edge with_record(const Lcore& lcore, Packet& packet, uint32_t record) {
  packet.receive_spi = record;
  if ((lcore.spis[record].mode == Mode::kTunnel) != packet.to_us) return Edge::kWrongMode;
  lcore.spis.prefetch_flow(record);
  return Edge::kOpen;
}

Edge choose(MainLcore& lcore, Packet& packet) {
  const Header& header = packet.header;
  const uint32_t record = lcore.receive_spis.find(header.spi, header.version, packet.hash);
  return record == 0 ? Edge::kUnknownSpi : with_record(lcore, packet, record);
}

Edge choose(WorkerLcore& lcore, Packet& packet) {
  if (lcore.handoff.is_behind(Handoff::kFromWire, packet.hash)) return Edge::kHandOff;
  const Header& header = packet.header;
  bool sure = false;
  const uint32_t copy = lcore.spi_copies.find(header.spi, header.version, packet.hash, &sure);
  if (copy != 0) return with_record(lcore, packet, copy);
  return sure ? Edge::kUnknownSpi : Edge::kHandOff;
}

void hand_off(WorkerLcore& lcore, const Packet& packet) {
  lcore.counters.unhit(Pipe::kIngressRoot);
  lcore.hand_off(Direction::kIngress, packet.hash, packet);
}
// The main lcore has no such edge.
void hand_off(MainLcore&, const Packet&) {}

void note_unknown(MainLcore& lcore, const Packet& packet) {
  lcore.unknown_spis.add({packet.ip.source, packet.header.spi}, lcore.now_ms);
}
void note_unknown(WorkerLcore& lcore, const Packet& packet) {
  UnknownSpi unknown{packet.ip.source, packet.header.spi};
  lcore.unknown_spis.push(unknown);
}

template <typename Kind>
void find_all(Kind& lcore, Burst& burst) {
  Packet* kept = burst.begin();
  for (Packet* next = burst.begin(); next != burst.end();) {
    const Edge edge = choose(lcore, *next);
    const uint32_t hash = next->hash, record = next->receive_spi;
    // Packets of the same SPI in a row leave by the same edge.
    do {
      next->receive_spi = record;
      switch (edge) {
        [[likely]] case Edge::kOpen : kept = Burst::keep(kept, *next);
        break;
        case Edge::kHandOff:
          next->hash = hash;
          hand_off(lcore, *next);
          break;
        default:
          if (edge == Edge::kUnknownSpi && !next->as_before) note_unknown(lcore, *next);
          lcore.counters.miss(Pipe::kIngressDecrypt);
          lcore.drop_psp(*next, reason_of(edge));
      }
    } while (++next != burst.end() && next->as_before);
  }
  burst.end_at(kept);
}

}  // namespace

void find_spis(MainLcore& lcore, Burst& burst) {
  const ReceiveSpis& table = lcore.receive_spis;
  const KeyCache& keys = lcore.ingress_keys;
  prefetch(
      burst, [&](uint32_t spi) { return table.hash(spi); }, [&](uint32_t hash) { table.prefetch(hash); },
      [&](uint32_t hash) { return table.prefetch_record(hash); },
      [&](const Packet& packet) {
        const uint32_t record = packet.receive_spi;
        keys.prefetch(keys.slot_for(record, lcore.spis[record].key_misses), packet.header.version,
                      packet.psp_length);
      });
  find_all(lcore, burst);
}

void find_spis(WorkerLcore& lcore, Burst& burst) {
  const SpiCopies& copies = lcore.spi_copies;
  prefetch(
      burst, [&](uint32_t spi) { return copies.hash(spi); }, [&](uint32_t hash) { copies.prefetch(hash); },
      [&](uint32_t hash) { return copies.prefetch_copy(hash); },
      [&](const Packet& packet) {
        copies.prefetch_rest(packet.receive_spi, packet.header.version, packet.psp_length);
      });
  find_all(lcore, burst);
}

}  // namespace psp
