// SPDX-License-Identifier: Apache-2.0
// Sealing one packet of any kind: key, headers, and the batch for the AEAD. Every sealed packet, a sealed
// fragment too, has an IV of its own.
#pragma once

#include "engine/software/lcore/lcore.h"
#include "psp/transport.h"
#include "psp/tunnel.h"

namespace psp {

inline constexpr uint16_t kEphemeralPorts = 0xc000;  // 49152 and up (RFC 6335)

// How a packet is sealed, and where it goes.
struct SealPath {
  Address hop;
  uint16_t front = 0;         // octets that sealing puts in front of the packet
  TransportLayout transport;  // transport mode
  bool outer_ipv6;
  bool dont_fragment = true;  // of an outer IPv4 header that we write
};

// Seals all packets that wait for the AEAD.
void seal_batch(Lcore& lcore);

// Seals a packet as it is, or counts why not. Takes the packet.
void seal_whole(Lcore& lcore, const SealPath& path, Packet& packet);
// Seals a packet whose sealed octets are needed at once. False: there is no room around it, or the sealed
// packet has no form; then it must not leave.
[[nodiscard]] bool seal_at_once(Lcore& lcore, const SealPath& path, Packet& packet);
// Drops a packet that cannot be sealed.
void drop_unsealed(Lcore& lcore, const Packet& packet, Drop reason);

// The expanded key of a flow, from the cache or expanded now.
inline void* expanded_key(Lcore& lcore, uint32_t index) {
  EgressFlow& flow = lcore.flows[index];
  KeyCache& keys = lcore.egress_keys;
  if (void* known = keys.find(keys.slot_for(index, flow.key_misses), flow.key_tag)) [[likely]]
    return known;
  lcore.counters[Value::kKeyCacheMisses].add();
  // The slot may hold the key of a packet that waits for the AEAD.
  seal_batch(lcore);
  keys.note_miss(index, &flow.key_misses);
  return keys.add(keys.slot_for(index, flow.key_misses), flow.key_tag, lcore.flows.key_bytes(index),
                  flow.version);
}

inline uint16_t udp_source(const OuterConfig& config, const AddressHash& addresses, const IpPacket& ip,
                           const uint8_t* octets) {
  const uint32_t hash = flow_hash(addresses, ip, octets, 0);
  if (config.source_ports == SourcePorts::kTable) return config.port_table[hash % config.port_table.size()];
  return static_cast<uint16_t>(kEphemeralPorts | (hash & 0x3fff));
}

// The header of a flow's packets, except the IV.
inline Header header_of(const EgressFlow& flow) {
  Header header;
  header.version = flow.version;
  header.spi = flow.spi;
  header.has_cookie = flow.cookie != 0;
  header.cookie = flow.cookie;
  return header;
}

inline void count_sealed(Lcore& lcore, EgressFlow& flow, uint64_t packets, uint64_t octets) {
  flow.packets += packets;
  flow.bytes += octets;
  lcore.egress_tally.add(flow.peer, packets, octets, lcore.now_ms);
}

}  // namespace psp
