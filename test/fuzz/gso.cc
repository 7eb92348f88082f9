// SPDX-License-Identifier: Apache-2.0
// How a kernel port processes GSO packets of hosts, which may have arbitrary metadata: the resulting packets
// are complete and correct and contain the payload once and in order, and if they are merged, they are
// segmented into the same packets again.
//
//   u8 kind | u8 flags, tunnel | u16 octets in each packet | u16 where a partial checksum begins | IP packet
//
// The packet may be put into a tunnel, in which it must be segmented as it is without one.
#include <memory>

#include "../native/engine/gso_frames.h"
#include "engine/ports/gro.h"
#include "engine/ports/packet.h"
#include "packets.h"

namespace psp::fuzz {
namespace {

std::vector<Octets> cut(const FrameFacts& facts, const Octets& frame, bool sealed) {
  Segments segments;
  std::vector<Octets> packets;
  const auto length = static_cast<uint32_t>(frame.size());
  const bool begun = segments.begin(facts, frame.data(), length, sealed);
  require(begun != segments.done(), "what was begun has a packet");
  if (!begun) return packets;
  require(segments.count() <= kSegmentsAtMost, "not too many packets");
  while (!segments.done()) {
    Octets packet(segments.longest());
    const uint32_t written = segments.next(packet.data());
    require(written <= packet.size(), "no packet is longer than the longest");
    packet.resize(written);
    packets.push_back(packet);
  }
  require(packets.size() == segments.count(), "as many packets as it said");
  return packets;
}

size_t headers_of(const IpPacket& ip, const uint8_t* octets) {
  return ip.payload_offset + (ip.protocol == kProtocolUdp ? 8 : (octets[ip.payload_offset + 12] >> 4) * 4u);
}

// Checks one packet; returns its payload.
Octets look_at(const Octets& frame, bool summed) {
  const Octets octets(frame.begin() + kEthernetLength, frame.end());
  IpPacket ip;
  require(read_ip(octets.data(), octets.size(), &ip) == IpFault::kNone, "a packet is an IP packet");
  require(ip.length == octets.size() && !ip.fragment, "and whole");
  const auto there = static_cast<uint32_t>(octets.size() - ip.payload_offset);
  const uint8_t* const layer4 = octets.data() + ip.payload_offset;
  if (ip.protocol == kProtocolUdp) require(load_u16(layer4 + 4) == there, "its UDP length is right");
  if (summed) require(plain_checksum(layer4, there, pseudo_header_sum(ip, there)) == 0, "its checksum holds");
  const size_t headers = headers_of(ip, octets.data());
  require(headers < octets.size(), "it carries something");
  return Octets(octets.begin() + static_cast<ptrdiff_t>(headers), octets.end());
}

// As look_at, for a packet whose layer 4 begins at `layer4`, after tunnel headers. The outermost headers are
// read here; a UDP checksum there is correct whatever the inner one is.
Octets look_into(const Octets& frame, size_t layer4) {
  const Octets octets(frame.begin() + kEthernetLength, frame.end());
  IpPacket ip;
  require(read_ip(octets.data(), octets.size(), &ip) == IpFault::kNone, "the outer packet is an IP packet");
  require(ip.length == octets.size() && !ip.fragment, "and whole");
  if (ip.protocol == kProtocolUdp) {
    const uint8_t* const udp = octets.data() + ip.payload_offset;
    const auto there = static_cast<uint32_t>(octets.size() - ip.payload_offset);
    require(load_u16(udp + 4) == there, "the outer UDP length is right");
    const bool none = load_u16(udp + 6) == 0;
    require(none || plain_checksum(udp, there, pseudo_header_sum(ip, there)) == 0,
            "the outer checksum holds");
  }
  // TCP or UDP, by the kind; headers were checked when the frame was begun.
  return Octets(frame.begin() + static_cast<ptrdiff_t>(layer4), frame.end());
}

// A tunnel, by its number, around an IP packet in an Ethernet frame: the same octets as those that hosts'
// kernels build (test/native/engine/gso_frames.h).
Octets around(uint8_t number, const Octets& frame, size_t* front) {
  static const std::vector<Overlay> all = overlays();
  const Overlay& overlay = all[number % all.size()];
  *front = overlay.front(frame[12] == 0x86) - kEthernetLength;
  return overlay.around(frame, true);
}

// Segmentation inside a tunnel has the same result as without one.
void check_tunnel(FrameFacts facts, const Octets& frame, uint8_t number, const std::vector<Octets>& plain) {
  size_t front = 0;
  const Octets wrapped = around(number, frame, &front);
  if (wrapped.size() > kEthernetLength + 40u + UINT16_MAX / 2) return;
  facts.checksum_start = static_cast<uint16_t>(facts.checksum_start + front);
  const std::vector<Octets> packets = cut(facts, wrapped, false);
  require(packets.size() == plain.size(), "as many come out of a tunnel");
  const Overlay overlay = overlays()[number % overlays().size()];
  for (size_t i = 0; i < packets.size(); ++i) {
    require(packets[i] == overlay.around(plain[i], false, static_cast<uint16_t>(i)), "and the same");
  }
}

// Merges them; returns an empty frame if not all can be merged.
Octets join(const std::vector<Octets>& packets, bool sealed, FrameFacts* facts) {
  const auto read = [&](const Octets& packet) {
    return read_joinable(packet.data(), static_cast<uint32_t>(packet.size()), sealed);
  };
  GroPacket joined;
  joined.begin(read(packets[0]));
  for (size_t i = 1; i < packets.size(); ++i) {
    if (joined.add(read(packets[i])) != GroPacket::Result::kMerged) return {};
  }
  if (joined.count() < 2) return {};
  *facts = joined.facts();
  Octets frame(GroPacket::kHeadersAtMost);
  frame.resize(joined.write_headers(frame.data()));
  for (const Octets& packet : packets) {
    const Joinable one = read(packet);
    frame.insert(frame.end(), one.octets(), one.octets() + one.payload);
  }
  return frame;
}

}  // namespace
}  // namespace psp::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace psp;
  using namespace psp::fuzz;
  Input input(data, size);
  FrameFacts facts;
  facts.kind = input.u8();
  const uint8_t tunnel = input.u8();
  facts.flags = tunnel & kPartialChecksum;
  facts.size = input.u16();
  facts.checksum_start = input.u16();
  facts.checksum_offset = facts.size & 31;
  const bool sealed = facts.kind & 0x40;
  facts.kind &= 0xbf;
  const Octets packet = with_fixed_checksums(input.rest());
  Octets frame = {2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 1, 5, 8, 0};
  if (!packet.empty() && packet[0] >> 4 == 6) frame[12] = 0x86, frame[13] = 0xdd;
  frame.insert(frame.end(), packet.begin(), packet.end());

  Octets completed = frame;
  complete_checksum(facts, completed.data(), static_cast<uint32_t>(completed.size()));

  const std::vector<Octets> packets = cut(facts, frame, sealed);
  if (packets.empty()) return 0;
  IpPacket outer;
  read_ip(packet.data(), packet.size(), &outer);
  if ((facts.flags & kPartialChecksum) && facts.checksum_start != kEthernetLength + outer.payload_offset) {
    for (const Octets& one : packets) look_into(one, facts.checksum_start);
    return 0;
  }
  // In a tunnel there would be no link padding after the packet.
  const bool exact = packet.size() == outer.length && packet.size() < 20000 && packets.size() < 64;
  if ((facts.flags & kPartialChecksum) && !sealed && exact) check_tunnel(facts, frame, tunnel >> 1, packets);
  const bool unsummed = sealed || (facts.flags & kPartialChecksum) != 0;
  Octets payload;
  for (const Octets& one : packets) {
    const Octets part = look_at(one, !unsummed);
    payload.insert(payload.end(), part.begin(), part.end());
  }
  IpPacket ip;
  read_ip(packet.data(), packet.size(), &ip);
  const Octets whole(packet.begin() + static_cast<ptrdiff_t>(headers_of(ip, packet.data())),
                     packet.begin() + static_cast<ptrdiff_t>(ip.length));
  require(payload == whole, "the payload is all there, once and in order");

  FrameFacts said;
  const Octets joined = join(packets, sealed, &said);
  if (!joined.empty()) require(cut(said, joined, sealed) == packets, "what is joined comes apart as it was");
  return 0;
}
