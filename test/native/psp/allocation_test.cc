// SPDX-License-Identifier: Apache-2.0
// The packet path does not allocate: keys are derived and expanded, packets sealed and opened while
// allocations of the C library are counted.
#if !defined(__SANITIZE_ADDRESS__)

#include <gtest/gtest.h>

#include "allocations.h"
#include "ip_build.h"
#include "psp/master_key.h"
#include "psp/transport.h"
#include "psp/tunnel.h"

namespace psp::test {
namespace {

// Seals and opens one packet in both modes, then opens it with a wrong ICV. Returns whether everything
// succeeded as expected.
bool seal_and_open(const Aead& aead, void* key, uint8_t version, uint32_t spi, const Octets& packet,
                   Octets& memory) {
  const size_t headroom = tunnel_headroom(true, true);
  uint8_t* const start = memory.data() + headroom;
  bool good = true;
  for (const bool transport : {false, true}) {
    std::copy(packet.begin(), packet.end(), start);
    Header header;
    header.version = version;
    header.spi = spi;
    header.has_cookie = spi % 3 == 0;
    IpPacket record;
    good = good && read_ip(start, packet.size(), &record) == IpFault::kNone;
    flow_hash(record, start, 1, spi % 2);
    complete_checksum(record, start);
    Outer outer;
    outer.source = record.source;
    outer.destination = record.destination;
    outer.udp_checksum = true;
    TransportLayout layout;
    good = good && read_transport_layout(record, start, &layout) == TransportFault::kNone;
    uint8_t* const wire = transport ? seal_transport(aead, key, layout, 1, true, header, start)
                                    : seal_tunnel(aead, key, outer, record, header, start);
    const auto length = static_cast<size_t>(memory.data() + memory.size() - wire);
    good = good && read_ip(wire, length, &record) == IpFault::kNone && udp_checksum_ok(record, wire);
    uint8_t* const payload = wire + record.payload_offset + kUdpHeaderLength;
    const size_t payload_length = record.length - record.payload_offset - kUdpHeaderLength;
    good = good && read_header(payload, payload_length, &header) == HeaderFault::kNone;
    uint8_t* inner = nullptr;
    const auto open = [&](IpPacket* result) {
      return transport ? open_transport(aead, key, &header, record, wire, payload_length, &inner, result)
                       : open_tunnel(aead, key, &header, payload, payload_length, &inner, result);
    };
    IpPacket result;
    good = good && open(&result) == OpenFault::kNone && std::equal(packet.begin(), packet.end(), inner);
    payload[payload_length - 1] ^= 1;
    good = good && open(&result) == OpenFault::kIcv;
  }
  return good;
}

TEST(PacketPath, AllocatesNothing) {
  const Octets master(32, 0x42);
  const MasterKey master_key{std::span<const uint8_t, 32>(master)};
  const Octets packet = ipv6(kProtocolTcp, Octets(1000));
  Octets memory(tunnel_headroom(true, true) + packet.size() + kIcvLength);
  for (const auto& aead : all_aeads()) {
    const ExpandedKey expanded(*aead, Octets(32), 1);
    const size_t before = allocations;
    bool all_good = true;
    for (uint32_t spi = 1; spi <= 100; spi++) {
      const uint8_t version = spi % 4;
      uint8_t key[32];
      master_key.derive(spi, version, key);
      aead->expand(expanded.get(), key, version);
      all_good = all_good && seal_and_open(*aead, expanded.get(), version, spi, packet, memory);
    }
    EXPECT_EQ(allocations - before, 0u) << aead->name();
    EXPECT_TRUE(all_good);
  }
}

}  // namespace
}  // namespace psp::test

#endif
