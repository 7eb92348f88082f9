// SPDX-License-Identifier: Apache-2.0
// Checks the packets that leave a gateway against the packets that entered it and the keys that it was given.
// A sealed packet that left in fragments is checked after reassembly; one whose fragments did not all leave,
// by its first fragment.
#pragma once

#include <map>
#include <optional>
#include <set>

#include "../native/psp/hex.h"
#include "gateway.h"
#include "psp/ecn.h"
#include "psp/transport.h"
#include "psp/tunnel.h"

namespace psp::fuzz {

// An expanded key in libcrypto's AEAD.
struct SealingKey {
  SealingKey(const Aead& aead, const EgressKey& key)
      : memory(aead, Octets(key.key.begin(), key.key.end()), key.version), key(key) {}
  void* expanded() const { return memory.get(); }

  const test::ExpandedKey memory;
  const EgressKey key;
};

class Judge {
 public:
  explicit Judge(Gateway& gateway) : gateway_(gateway) {}

  // The gateway received this key for sealing.
  void know_key(const EgressKey& key) {
    keys_.insert_or_assign({key.spi, key.version}, std::make_unique<SealingKey>(*gateway_.aead, key));
  }
  // A host sent these octets as an IP packet.
  void know_from_host(const Octets& packet) {
    FromHost known{.ip = {}, .packet = packet, .completed = {}};
    if (read_ip(packet.data(), packet.size(), &known.ip) != IpFault::kNone) return;
    known.completed.assign(packet.begin(), packet.begin() + known.ip.length);
    complete_checksum(known.ip, known.completed.data());
    from_hosts_.push_back(std::move(known));
  }
  // A peer sealed this packet.
  void know_from_peer(const Octets& packet) { from_peers_.push_back(packet); }

  void look() {
    for (const Octets& frame : gateway_.secured.sent) look_at_wire(frame);
    for (const Octets& frame : gateway_.unsecured.sent) look_at_host(frame);
    gateway_.secured.sent.clear();
    gateway_.unsecured.sent.clear();
    require(gateway_.conserves(), "every frame has one end");
  }

 private:
  // ARP or neighbour discovery of the gateway itself.
  static bool is_own_neighbour_frame(const Octets& frame, const MacAddress& mac) {
    require(frame.size() >= 14 && std::memcmp(&frame[6], mac.data(), 6) == 0,
            "frames come from our MAC address");
    const uint16_t type = load_u16(&frame[12]);
    if (type == 0x0806) return true;
    require(type == 0x0800 || type == 0x86dd, "nothing but ARP and IP");
    IpPacket ip;
    if (type != 0x86dd || read_ip(&frame[14], frame.size() - 14, &ip) != IpFault::kNone) return false;
    return is_neighbour_discovery(ip, &frame[14]) && frame[14 + 7] == 255 && ip.length == frame.size() - 14 &&
           (ip.length == 40 + 32);
  }

  void look_at_wire(const Octets& frame) {
    if (is_own_neighbour_frame(frame, kSecuredMac)) return;
    const Octets packet(frame.begin() + 14, frame.end());
    IpPacket ip;
    require(read_ip(packet.data(), packet.size(), &ip) == IpFault::kNone, "an IP packet leaves for the wire");
    require(ip.length == packet.size(), "without padding");
    require(ip.length <= gateway_.shape.secured_mtu, "and fits it");
    if (ip.fragment) {
      gather(ip, packet);
    } else {
      look_at_sealed(ip, packet);
    }
  }

  void look_at_sealed(const IpPacket& outer, Octets packet) {
    last_sealed_ = packet;
    require(outer.protocol == kProtocolUdp, "nothing but UDP leaves for the wire");
    uint8_t* const udp = packet.data() + outer.payload_offset;
    require(outer.payload_offset + kUdpHeaderLength <= outer.length && load_u16(udp + 2) == kUdpPort,
            "nothing but PSP leaves for the wire");
    const size_t length = load_u16(udp + 4) - kUdpHeaderLength;
    require(outer.payload_offset + kUdpHeaderLength + length == outer.length, "the UDP length is right");
    Header header;
    uint8_t* const payload = udp + kUdpHeaderLength;
    require(read_header(payload, length, &header) == HeaderFault::kNone, "the PSP header is right");
    const auto known = keys_.find({header.spi, header.version});
    require(known != keys_.end(), "only under keys that it was given");
    require(ivs_.insert({header.spi, header.iv}).second, "no IV comes twice");
    const SealingKey& key = *known->second;
    const bool tunnel = key.key.mode == Mode::kTunnel;
    require(tunnel == (outer.source == gateway_.config.secured_address.address),
            "the mode is that of the key");
    uint8_t* inner = nullptr;
    IpPacket ip;
    const OpenFault fault =
        tunnel ? open_tunnel(*gateway_.aead, key.expanded(), &header, payload, length, &inner, &ip)
               : open_transport(*gateway_.aead, key.expanded(), &header, outer, packet.data(), length, &inner,
                                &ip);
    require(fault == OpenFault::kNone, "it opens under its key");
    require(header.cookie == key.key.cookie, "with the cookie of its key");
    const Octets plain(inner, inner + ip.length);
    require(came_from_a_host(ip, plain) || is_error_about_a_peers_packet(ip, plain),
            "to what a host sent, or to an ICMP error about what a peer sent");
  }

  // The sealed packet that left last, or nothing.
 public:
  const Octets& last_sealed() const { return last_sealed_; }

 private:
  // A fragment of it counts too, and a partial checksum was completed.
  bool came_from_a_host(const IpPacket& ip, const Octets& inner) const {
    const std::span payload = std::span(inner).subspan(ip.payload_offset);
    for (const FromHost& known : from_hosts_) {
      if (known.ip.source != ip.source || known.ip.destination != ip.destination) continue;
      if (memmem(known.completed.data(), known.completed.size(), payload.data(), payload.size())) return true;
    }
    return was_joined(ip, inner);
  }

  // The gateway sends it with the address of the host that the packet was for, and quotes the packet as far
  // as it fits.
  bool is_error_about_a_peers_packet(const IpPacket& ip, const Octets& error) const {
    const bool ipv6 = ip.version == 6;
    if (ip.protocol != (ipv6 ? kProtocolIcmpv6 : kProtocolIcmp)) return false;
    const uint8_t* const icmp = error.data() + ip.payload_offset;
    const size_t length = error.size() - ip.payload_offset;
    if (length < 8 || icmp[0] != (ipv6 ? 2 : 3) || icmp[1] != (ipv6 ? 0 : 4)) return false;
    const Octets quote(icmp + 8, icmp + length);
    for (const Octets& packet : from_peers_) {
      IpPacket sent;
      if (read_ip(packet.data(), packet.size(), &sent) != IpFault::kNone) continue;
      if (sent.source != ip.destination || sent.destination != ip.source) continue;
      if (packet.size() >= quote.size() &&
          equal_but_ecn({packet.begin(), packet.begin() + static_cast<ptrdiff_t>(quote.size())}, quote)) {
        return true;
      }
    }
    return false;
  }

  // Whether fragments that hosts sent cover the whole packet after its headers.
  bool was_joined(const IpPacket& ip, const Octets& inner) const {
    struct Part {
      size_t base, offset;
      Octets data;
    };
    std::vector<Part> parts;
    for (const auto& [sent, packet, completed] : from_hosts_) {
      if (!sent.fragment) continue;
      if (sent.source != ip.source || sent.destination != ip.destination) continue;
      const Place place = place_of(sent, packet);
      parts.push_back({place.base,
                       place.offset,
                       {packet.begin() + static_cast<ptrdiff_t>(place.front), packet.begin() + sent.length}});
    }
    for (const Part& first : parts) {
      if (first.offset != 0 || first.base > inner.size()) continue;
      std::vector<bool> covered(inner.size() - first.base);
      for (const Part& part : parts) {
        if (part.offset + part.data.size() > covered.size()) continue;
        const auto at = static_cast<ptrdiff_t>(first.base + part.offset);
        if (!std::equal(part.data.begin(), part.data.end(), inner.begin() + at)) continue;
        std::fill_n(covered.begin() + static_cast<ptrdiff_t>(part.offset), part.data.size(), true);
      }
      if (std::find(covered.begin(), covered.end(), false) == covered.end()) return true;
    }
    return false;
  }

  // Fragments of one packet leave consecutively; fragments that a full queue dropped leave a gap.
  void gather(const IpPacket& ip, const Octets& packet) {
    const Place place = place_of(ip, packet);
    const bool ipv6 = ip.version == 6;
    if (place.offset == 0) {
      parts_ = {
          place.identification, {packet.begin(), packet.begin() + static_cast<ptrdiff_t>(place.base)}, {}};
      if (ipv6) parts_.front[place.name] = packet[place.base];
      require(
          packet.size() >= place.front + kUdpHeaderLength && load_u16(&packet[place.front + 2]) == kUdpPort,
          "first fragments are those of PSP");
    }
    if (place.identification != parts_.identification || place.offset != parts_.payload.size()) return;
    parts_.payload.insert(parts_.payload.end(), packet.begin() + static_cast<ptrdiff_t>(place.front),
                          packet.end());
    if (!place.more) look_at_joined(ipv6);
  }
  void look_at_joined(bool ipv6) {
    Octets whole = parts_.front;
    whole.insert(whole.end(), parts_.payload.begin(), parts_.payload.end());
    store_u16(&whole[ipv6 ? 4 : 2], static_cast<uint16_t>(whole.size() - (ipv6 ? 40 : 0)));
    if (!ipv6) {
      store_u16(&whole[6], 0);
      fix_ipv4_checksum(whole.data(), whole.size());
    }
    parts_ = {};
    IpPacket ip;
    require(read_ip(whole.data(), whole.size(), &ip) == IpFault::kNone, "fragments join to an IP packet");
    look_at_sealed(ip, whole);
  }
  // Where a fragment belongs; `base` octets of headers stay in front of the whole, `front` lie in front of
  // its data, `name` is the octet of IPv6 that names the fragment header.
  struct Place {
    size_t base, front, name, offset;
    bool more;
    uint32_t identification;
  };
  static Place place_of(const IpPacket& ip, const Octets& packet) {
    if (ip.version == 4) {
      const uint16_t field = load_u16(&packet[6]);
      return {ip.payload_offset,     ip.payload_offset,     9,
              (field & 0x1fffu) * 8, (field & 0x2000) != 0, load_u16(&packet[4])};
    }
    size_t name = 6, at = 40;
    while (packet[name] != kProtocolFragment) {
      const bool authentication = packet[name] == kProtocolAuthentication;
      name = at;
      at += authentication ? (packet[at + 1] + size_t{2}) * 4 : (packet[at + 1] + size_t{1}) * 8;
    }
    const uint16_t field = load_u16(&packet[at + 2]);
    return {at, at + 8, name, field & 0xfff8u, (field & 1) != 0, load_u32(&packet[at + 4])};
  }

  void look_at_host(const Octets& frame) {
    if (is_own_neighbour_frame(frame, kUnsecuredMac)) return;
    const Octets packet(frame.begin() + 14, frame.end());
    IpPacket ip;
    require(read_ip(packet.data(), packet.size(), &ip) == IpFault::kNone,
            "an IP packet leaves for the hosts");
    require(ip.length == packet.size() && ip.length <= 1500, "without padding, and fits");
    for (const Prefix& own : gateway_.config.gateways) {
      const uint8_t icmp = ip.version == 4 ? kProtocolIcmp : kProtocolIcmpv6;
      if (ip.source == own.address && ip.protocol == icmp) return;
    }
    for (const Octets& sealed : from_peers_) {
      if (equal_but_ecn(sealed, packet) || (ip.fragment && is_part_of(sealed, ip, packet))) return;
    }
    for (const uint8_t octet : packet) std::fprintf(stderr, "%02x", octet);
    std::fprintf(stderr, " came out for a host\n");
    require(false, "hosts get what a peer sealed, and nothing else");
  }

  // Whether a fragment that the gateway made contains a piece of the packet.
  static bool is_part_of(const Octets& whole, const IpPacket& part, const Octets& octets) {
    IpPacket ip;
    if (read_ip(whole.data(), whole.size(), &ip) != IpFault::kNone) return false;
    if (ip.source != part.source || ip.destination != part.destination) return false;
    const auto payload = octets.begin() + part.payload_offset;
    return std::search(whole.begin(), whole.end(), payload, octets.end()) != whole.end();
  }

  // An IP packet that a host sent, unchanged, and also without padding and with a complete checksum.
  struct FromHost {
    IpPacket ip;
    Octets packet, completed;
  };
  struct Parts {
    uint32_t identification = 0;
    Octets front, payload;
  };

  Gateway& gateway_;
  std::map<std::pair<uint32_t, uint8_t>, std::unique_ptr<SealingKey>> keys_;
  std::vector<FromHost> from_hosts_;
  std::vector<Octets> from_peers_;
  std::set<std::pair<uint32_t, uint64_t>> ivs_;
  Parts parts_;
  Octets last_sealed_;
};

}  // namespace psp::fuzz
