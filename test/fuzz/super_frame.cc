// SPDX-License-Identifier: Apache-2.0
// What a kernel port makes of super-frames of hosts, who may claim anything about theirs: the packets are
// whole and right, they hold the payload once and in order, and joined they come apart into the same packets
// again.
//
//   u8 kind | u8 flags | u16 octets in each packet | u16 where a partial checksum begins | IP packet
#include <memory>

#include "engine/joined_frame.h"
#include "engine/packet.h"
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

// Each packet by itself; returns its payload.
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

// Joins them; an empty frame where they do not all join.
Octets join(const std::vector<Octets>& packets, bool sealed, FrameFacts* facts) {
  const auto read = [&](const Octets& packet) {
    return read_joinable(packet.data(), static_cast<uint32_t>(packet.size()), sealed);
  };
  JoinedFrame joined;
  joined.begin(read(packets[0]));
  for (size_t i = 1; i < packets.size(); ++i) {
    if (joined.add(read(packets[i])) != JoinedFrame::Fit::kJoined) return {};
  }
  if (joined.count() < 2) return {};
  *facts = joined.facts();
  Octets frame(JoinedFrame::kHeadersAtMost);
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
  facts.flags = input.u8() & kPartialChecksum;
  facts.size = input.u16();
  facts.checksum_start = input.u16();
  facts.checksum_offset = facts.size & 31;
  const bool sealed = facts.kind & 0x40;
  facts.kind &= 0xbf;
  const Octets packet = mended(input.rest());
  Octets frame = {2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 1, 5, 8, 0};
  if (!packet.empty() && packet[0] >> 4 == 6) frame[12] = 0x86, frame[13] = 0xdd;
  frame.insert(frame.end(), packet.begin(), packet.end());

  Octets completed = frame;
  complete_checksum(facts, completed.data(), static_cast<uint32_t>(completed.size()));

  const std::vector<Octets> packets = cut(facts, frame, sealed);
  if (packets.empty()) return 0;
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
