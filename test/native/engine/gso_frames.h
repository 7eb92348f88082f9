// SPDX-License-Identifier: Apache-2.0
// TCP and UDP packets for tests of GSO packets, written out field by field with their checksums, which are
// summed here word by word; and GSO packets as a kernel would hand them over.
#pragma once

#include "engine/ports/gso.h"
#include "frames.h"
#include "psp/octets.h"

namespace psp {

// Ones' complement sum of 16-bit words, the plain way (RFC 1071 section 4.1).
inline uint16_t plain_checksum(const Frame& octets) {
  uint32_t sum = 0;
  for (size_t i = 0; i < octets.size(); ++i) sum += i % 2 == 0 ? octets[i] << 8 : octets[i];
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

struct Segment {
  bool ipv6 = false;
  bool udp = false;
  uint16_t identification = 0;
  uint16_t marks = 0x4000;  // DF
  uint8_t traffic_class = 0;
  uint8_t flags = 0x10;  // TCP: ACK
  uint32_t sequence = 1000;
  uint32_t acknowledged = 77;
  uint16_t window = 500;
  uint16_t source = 4000;
  Frame options{};     // TCP
  Frame ip_options{};  // IPv4 options, or an IPv6 destination options header
  Frame payload{};
  bool checked = true;  // UDP

  Frame addresses() const {
    const std::string from = ipv6 ? "fd00:1::5" : "10.1.0.5", to = ipv6 ? "fd00:2::7" : "10.2.0.7";
    Frame both;
    for (const std::string& one : {from, to}) {
      const Address octets = address(one);
      both.insert(both.end(), octets.begin() + (ipv6 ? 0 : 12), octets.end());
    }
    return both;
  }
  Frame pseudo_header(size_t length) const {
    Frame pseudo = addresses();
    pseudo.insert(pseudo.end(), {0, static_cast<uint8_t>(udp ? 17 : 6), static_cast<uint8_t>(length >> 8),
                                 static_cast<uint8_t>(length)});
    return pseudo;
  }
  size_t checksum_offset() const { return udp ? 6 : 16; }
  // Its checksum is zero still.
  Frame layer4() const {
    Frame head(udp ? 8 : 20);
    put16(head, 0, source);
    put16(head, 2, 5000);
    if (udp) {
      put16(head, 4, static_cast<uint32_t>(8 + payload.size()));
    } else {
      store_u32(&head[4], sequence);
      store_u32(&head[8], acknowledged);
      head[12] = static_cast<uint8_t>((5 + options.size() / 4) << 4);
      head[13] = flags;
      put16(head, 14, window);
      head.insert(head.end(), options.begin(), options.end());
    }
    head.insert(head.end(), payload.begin(), payload.end());
    return head;
  }
  Frame ip(const Frame& behind) const {
    const Frame both = addresses();
    const auto protocol = static_cast<uint8_t>(udp ? 17 : 6);
    const size_t length = ip_options.size() + behind.size();
    Frame head(ipv6 ? 40 : 20);
    if (ipv6) {
      head[0] = static_cast<uint8_t>(0x60 | traffic_class >> 4);
      head[1] = static_cast<uint8_t>(traffic_class << 4);
      put16(head, 4, static_cast<uint32_t>(length));
      head[6] = ip_options.empty() ? protocol : 60;
      head[7] = 64;
      std::copy(both.begin(), both.end(), head.begin() + 8);
    } else {
      head[0] = static_cast<uint8_t>(0x45 + ip_options.size() / 4);
      head[1] = traffic_class;
      put16(head, 2, static_cast<uint32_t>(20 + length));
      put16(head, 4, identification);
      put16(head, 6, marks);
      head[8] = 64;
      head[9] = protocol;
      std::copy(both.begin(), both.end(), head.begin() + 12);
    }
    head.insert(head.end(), ip_options.begin(), ip_options.end());
    if (ipv6 && !ip_options.empty()) head[40] = protocol;
    if (!ipv6) put16(head, 10, plain_checksum(head));
    head.insert(head.end(), behind.begin(), behind.end());
    return head;
  }
  Frame framed(const Frame& behind) const {
    return ethernet(kUnsecuredMac, kHostMac, ipv6 ? 0x86dd : 0x0800, ip(behind));
  }
  size_t layer4_at() const { return 14 + (ipv6 ? 40 : 20) + ip_options.size(); }

  // The packet as it is on a wire.
  Frame frame() const {
    Frame behind = layer4();
    Frame summed = pseudo_header(behind.size());
    summed.insert(summed.end(), behind.begin(), behind.end());
    const uint16_t checksum = plain_checksum(summed);
    if (!udp || checked) put16(behind, checksum_offset(), checksum == 0 ? 0xffff : checksum);
    return framed(behind);
  }
  // The same with a partial checksum, and what the kernel says of it; `size`: octets in each packet.
  Frame partial(uint16_t size, FrameFacts* facts) const {
    Frame behind = layer4();
    put16(behind, checksum_offset(), static_cast<uint16_t>(~plain_checksum(pseudo_header(behind.size()))));
    facts->flags = kPartialChecksum;
    facts->kind = udp ? kUdpPackets : ipv6 ? kTcpIpv6Packets : kTcpIpv4Packets;
    facts->headers = static_cast<uint16_t>(layer4_at() + behind.size() - payload.size());
    facts->size = size;
    facts->checksum_start = static_cast<uint16_t>(layer4_at());
    facts->checksum_offset = static_cast<uint16_t>(checksum_offset());
    return framed(behind);
  }
};

// Octets that differ everywhere.
inline Frame octets_of(size_t length, size_t from = 0) {
  Frame payload(length);
  for (size_t i = 0; i < length; ++i) payload[i] = static_cast<uint8_t>((from + i) * 7 + (from + i) / 256);
  return payload;
}

// A tunnel of a host's own, around Ethernet frames that hold its packets.
struct Overlay {
  enum class Kind { kVxlan, kGeneve, kGue, kGre, kGretap, kIpInIp };
  Kind kind = Kind::kVxlan;
  bool ipv6 = false;    // outside
  bool summed = false;  // UDP and GRE
  bool keyed = false;   // GRE
  uint16_t identification = 40;

  bool udp() const { return kind == Kind::kVxlan || kind == Kind::kGeneve || kind == Kind::kGue; }
  bool has_ethernet() const { return kind == Kind::kVxlan || kind == Kind::kGeneve || kind == Kind::kGretap; }
  // What stands in front of the inner packet, and behind UDP. Its checksum is zero still.
  Frame shim(bool inner_ipv6) const {
    const uint8_t high = inner_ipv6 ? 0x86 : 8, low = inner_ipv6 ? 0xdd : 0;
    const auto bits = static_cast<uint8_t>((summed ? 0x80 : 0) | (keyed ? 0x20 : 0));
    Frame result;
    switch (kind) {
      case Kind::kVxlan:
        return {8, 0, 0, 0, 0, 0, 5, 0};
      case Kind::kGeneve:
        return {2, 0, 0x65, 0x58, 0, 0, 5, 0, 1, 3, 1, 1, 0xaa, 0xbb, 0xcc, 0xdd};
      case Kind::kGue:
        return {1, static_cast<uint8_t>(inner_ipv6 ? 41 : 4), 0, 0, 9, 9, 9, 9};
      case Kind::kIpInIp:
        return {};
      default:
        result = kind == Kind::kGre ? Frame{bits, 0, high, low} : Frame{bits, 0, 0x65, 0x58};
        if (summed) result.insert(result.end(), {0, 0, 0, 0});
        if (keyed) result.insert(result.end(), {1, 2, 3, 4});
        return result;
    }
  }
  // Octets in front of the inner packet, Ethernet's own too.
  size_t front(bool inner_ipv6) const {
    return 14 + (ipv6 ? 40 : 20) + (udp() ? 8 : 0) + shim(inner_ipv6).size() + (has_ethernet() ? 14 : 0);
  }
  // `partial`: the checksum is that of the pseudo-header alone, as the kernel has it in a GSO packet.
  Frame around(const Frame& inner, bool partial, uint16_t number = 0) const {
    const bool inner_ipv6 = inner[12] == 0x86;
    Frame behind = shim(inner_ipv6);
    behind.insert(behind.end(), inner.begin() + (has_ethernet() ? 0 : 14), inner.end());
    const uint8_t protocol = udp() ? 17 : kind != Kind::kIpInIp ? 47 : inner_ipv6 ? 41 : 4;
    if (udp()) {
      Frame head(8);
      put16(head, 0, 50000);
      put16(head, 2, 4789);
      put16(head, 4, static_cast<uint32_t>(8 + behind.size()));
      behind.insert(behind.begin(), head.begin(), head.end());
    }
    const Address from = address(ipv6 ? "fd00:1::9" : "10.1.0.9"),
                  to = address(ipv6 ? "fd00:2::9" : "10.2.0.9");
    Frame packet = ip_packet(from, to, protocol, behind);
    const size_t header = ipv6 ? 40 : 20;
    if (!ipv6) {
      put16(packet, 4, static_cast<uint32_t>(identification + number));
      put16(packet, 10, 0);
      put16(packet, 10, plain_checksum(Frame(packet.begin(), packet.begin() + 20)));
    }
    if (summed && udp()) {
      Frame pseudo;
      for (const Address& one : {from, to})
        pseudo.insert(pseudo.end(), one.begin() + (ipv6 ? 0 : 12), one.end());
      pseudo.insert(pseudo.end(),
                    {0, 17, static_cast<uint8_t>(behind.size() >> 8), static_cast<uint8_t>(behind.size())});
      if (!partial) pseudo.insert(pseudo.end(), behind.begin(), behind.end());
      const uint16_t sum = plain_checksum(pseudo);
      put16(packet, header + 6, partial ? static_cast<uint16_t>(~sum) : sum == 0 ? 0xffff : sum);
    } else if (summed && !partial && protocol == 47) {
      put16(packet, header + 4, plain_checksum(behind));
    }
    return ethernet(kUnsecuredMac, kHostMac, ipv6 ? 0x86dd : 0x0800, packet);
  }
  // A GSO packet of this packet inside, with what the kernel says of it.
  Frame partial(const Segment& whole, uint16_t size, FrameFacts* facts) const {
    const Frame inner = whole.partial(size, facts);
    const auto moved = static_cast<uint16_t>(front(whole.ipv6) - 14);
    facts->checksum_start = static_cast<uint16_t>(facts->checksum_start + moved);
    facts->headers = static_cast<uint16_t>(facts->headers + moved);
    return around(inner, true);
  }
};

inline std::vector<Overlay> overlays() {
  using Kind = Overlay::Kind;
  std::vector<Overlay> all;
  for (const bool ipv6 : {false, true}) {
    for (const Kind kind : {Kind::kVxlan, Kind::kGeneve, Kind::kGue, Kind::kGre, Kind::kGretap}) {
      for (const bool summed : {false, true}) {
        all.push_back({.kind = kind, .ipv6 = ipv6, .summed = summed});
        if (kind >= Kind::kGre) all.push_back({.kind = kind, .ipv6 = ipv6, .summed = summed, .keyed = true});
      }
    }
    all.push_back({.kind = Kind::kIpInIp, .ipv6 = ipv6, .identification = 0xffff});
  }
  return all;
}

// The packets that a GSO packet of this one stands for: each built anew, with what must differ.
inline std::vector<Frame> expected_packets(const Segment& whole, size_t size, bool congestion_once = true) {
  std::vector<Frame> packets;
  for (size_t at = 0; at < whole.payload.size(); at += size) {
    Segment part = whole;
    const size_t end = std::min(at + size, whole.payload.size());
    part.payload.assign(whole.payload.begin() + static_cast<ptrdiff_t>(at),
                        whole.payload.begin() + static_cast<ptrdiff_t>(end));
    part.identification = static_cast<uint16_t>(whole.identification + packets.size());
    part.sequence = whole.sequence + static_cast<uint32_t>(at);
    if (end != whole.payload.size()) part.flags &= 0xf6;  // FIN, PSH
    if (at > 0 && congestion_once) part.flags &= 0x7f;    // CWR
    packets.push_back(part.frame());
  }
  return packets;
}

// The same inside a tunnel.
inline std::vector<Frame> expected_packets(const Overlay& overlay, const Segment& whole, size_t size) {
  std::vector<Frame> packets = expected_packets(whole, size);
  for (size_t i = 0; i < packets.size(); ++i) {
    packets[i] = overlay.around(packets[i], false, static_cast<uint16_t>(i));
  }
  return packets;
}

}  // namespace psp
