// SPDX-License-Identifier: Apache-2.0
// Parsing IP packets: everything that is read later of a packet that read_ip accepts is within its own
// lengths, and the checksums agree with a literal implementation of RFC 1071.
#include <utility>

#include "packets.h"
#include "psp/encapsulation.h"
#include "psp/transport.h"

namespace psp::fuzz {
namespace {

void look_at_checksums(const IpPacket& packet, const Octets& octets) {
  const uint32_t sum = checksum_add(octets.data(), octets.size(), 0);
  require(checksum_fold(sum) == plain_checksum(octets.data(), octets.size()), "checksum of the whole");
  const size_t half = octets.size() / 4 * 2;
  const uint32_t front = checksum_add(octets.data(), half, 0);
  require(
      checksum_fold(checksum_add(octets.data() + half, octets.size() - half, front)) == checksum_fold(sum),
      "checksum in two pieces");

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

void look_at_flow(const IpPacket& packet, const Octets& octets) {
  const Ports ports = read_ports(packet, octets.data());
  require(!packet.later_fragment || (ports.source == 0 && ports.destination == 0),
          "later fragments have no ports");
  const uint32_t hash = flow_hash(packet, octets.data(), 7);
  require(hash == flow_hash(packet, octets.data(), 7), "one flow, one hash");
  IpPacket back = packet;
  std::swap(back.source, back.destination);
  Octets answer = octets;
  if (ports.source != 0 || ports.destination != 0) {
    store_u16(answer.data() + packet.payload_offset, ports.destination);
    store_u16(answer.data() + packet.payload_offset + 2, ports.source);
  }
  require(flow_hash(packet, octets.data(), 7, true) == flow_hash(back, answer.data(), 7, true),
          "a symmetric hash is that of both directions");
}

void look_at_cut(const IpPacket& packet, const Octets& octets) {
  TransportLayout cut;
  const TransportFault fault = read_transport_layout(packet, octets.data(), &cut);
  require((fault == TransportFault::kFragment) == packet.fragment, "fragments, and they alone, are refused");
  if (fault != TransportFault::kNone) return;
  require(cut.header_length >= (packet.version == 4 ? 20 : 40) && cut.header_length <= packet.length,
          "the cut lies inside");
  require(cut.protocol_offset < cut.header_length && octets[cut.protocol_offset] == cut.protocol,
          "the front names what follows");
  require(cut.protocol != 4 && cut.protocol != 41, "tunnel protocols are refused");
}

void look_at(const uint8_t* data, size_t length) {
  IpPacket packet;
  if (read_ip(data, length, &packet) != IpFault::kNone) return;
  require(packet.length <= length, "a packet is no longer than there is");
  require(packet.payload_offset >= (packet.version == 4 ? 20 : 40), "layer 4 is behind the header");
  require(packet.payload_offset <= packet.length, "layer 4 is inside");
  require(packet.protocol_offset < packet.payload_offset && data[packet.protocol_offset] == packet.protocol,
          "the protocol is named where protocol_offset says");
  require(packet.fragment || !packet.later_fragment, "a later fragment is a fragment");
  require(is_ipv4(packet.source) == (packet.version == 4), "family of the source");
  require(is_ipv4(packet.destination) == (packet.version == 4), "family of the destination");
  // Nothing after the claimed length may be read.
  const Octets exact(data, data + packet.length);
  look_at_checksums(packet, exact);
  look_at_flow(packet, exact);
  look_at_cut(packet, exact);
  if (packet.protocol == kProtocolUdp && !packet.fragment) udp_checksum_ok(packet, exact.data());
}

}  // namespace
}  // namespace psp::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t length) {
  using namespace psp::fuzz;
  look_at(data, length);
  const Octets packet = mended(Octets(data, data + length));
  look_at(packet.data(), packet.size());
  return 0;
}
