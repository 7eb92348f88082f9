// SPDX-License-Identifier: Apache-2.0
// Parsing IP packets: everything that is read later of a packet that read_ip accepts is within its own
// lengths, and the checksums agree with a literal implementation of RFC 1071.
#include <utility>

#include "packets.h"
#include "psp/encapsulation.h"
#include "psp/transport.h"

namespace psp::fuzz {
namespace {

void check_checksums(const IpPacket& packet, const Octets& octets) {
  const uint32_t sum = checksum_add(octets.data(), octets.size(), 0);
  require(checksum_fold(sum) == plain_checksum(octets.data(), octets.size()), "checksum in one part");
  const size_t half = octets.size() / 4 * 2;
  const uint32_t first_sum = checksum_add(octets.data(), half, 0);
  require(checksum_fold(checksum_add(octets.data() + half, octets.size() - half, first_sum)) ==
              checksum_fold(sum),
          "checksum in two parts");

  Octets completed = octets;
  if (complete_checksum(packet, completed.data())) {
    require(!packet.fragment, "fragments keep their checksum");
    require(packet.protocol != kProtocolUdp || udp_checksum_ok(packet, completed.data()),
            "a completed checksum holds");
  } else {
    require(completed == octets, "a checksum is completed or left alone");
  }
  // A correct checksum may happen to equal the pseudo-header's sum, and is then computed again.
  Octets again = completed;
  complete_checksum(packet, again.data());
  require(again == completed, "a completed checksum stays as it is");
}

void check_flow_hash(const IpPacket& packet, const Octets& octets) {
  const Ports ports = read_ports(packet, octets.data());
  require(!packet.later_fragment || (ports.source == 0 && ports.destination == 0),
          "later fragments have no ports");
  const uint32_t hash = flow_hash(packet, octets.data(), 7);
  require(hash == flow_hash(packet, octets.data(), 7), "one flow, one hash");
  IpPacket reverse = packet;
  std::swap(reverse.source, reverse.destination);
  Octets reply = octets;
  if (ports.source != 0 || ports.destination != 0) {
    store_u16(reply.data() + packet.payload_offset, ports.destination);
    store_u16(reply.data() + packet.payload_offset + 2, ports.source);
  }
  require(flow_hash(packet, octets.data(), 7, true) == flow_hash(reverse, reply.data(), 7, true),
          "a symmetric hash is that of both directions");
}

void check_layout(const IpPacket& packet, const Octets& octets) {
  TransportLayout layout;
  const TransportFault fault = read_transport_layout(packet, octets.data(), &layout);
  require((fault == TransportFault::kFragment) == packet.fragment, "exactly the fragments are rejected");
  if (fault != TransportFault::kNone) return;
  require(layout.header_length >= (packet.version == 4 ? 20 : 40) && layout.header_length <= packet.length,
          "the IP headers are inside the packet");
  require(layout.protocol_offset < layout.header_length && octets[layout.protocol_offset] == layout.protocol,
          "protocol_offset is the offset of the protocol");
  require(layout.protocol != 4 && layout.protocol != 41, "tunnel protocols are rejected");
}

void check_packet(const uint8_t* data, size_t length) {
  IpPacket packet;
  if (read_ip(data, length, &packet) != IpFault::kNone) return;
  require(packet.length <= length, "a packet is not longer than the available octets");
  require(packet.payload_offset >= (packet.version == 4 ? 20 : 40), "layer 4 follows the header");
  require(packet.payload_offset <= packet.length, "layer 4 is inside the packet");
  require(packet.protocol_offset < packet.payload_offset && data[packet.protocol_offset] == packet.protocol,
          "protocol_offset is the offset of the protocol");
  require(packet.fragment || !packet.later_fragment, "a later fragment is a fragment");
  require(is_ipv4(packet.source) == (packet.version == 4), "family of the source");
  require(is_ipv4(packet.destination) == (packet.version == 4), "family of the destination");
  // Nothing after the claimed length may be read.
  const Octets exact(data, data + packet.length);
  check_checksums(packet, exact);
  check_flow_hash(packet, exact);
  check_layout(packet, exact);
  if (packet.protocol == kProtocolUdp && !packet.fragment) udp_checksum_ok(packet, exact.data());
}

}  // namespace
}  // namespace psp::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t length) {
  using namespace psp::fuzz;
  check_packet(data, length);
  const Octets packet = with_fixed_checksums(Octets(data, data + length));
  check_packet(packet.data(), packet.size());
  return 0;
}
