// SPDX-License-Identifier: Apache-2.0
// Sealing any packet that read_ip accepts under any header, in both modes: the result is a packet that opens
// to the original, and both AEAD libraries make the same octets.
//
//   u8 what | u8 crypt offset | u8 DSCP | u8 hop limit | u16 port | u16 identification | u32 SPI | u64 IV |
//   u64 cookie | IP packet, whose checksums are mended
#include <cstring>

#include "keys.h"
#include "packets.h"
#include "psp/ecn.h"
#include "psp/transport.h"
#include "psp/tunnel.h"

namespace psp::fuzz {
namespace {

constexpr size_t kMaxHeadroom = 40 + 8 + 16 + 8;

struct Case {
  explicit Case(Input& input) {
    const uint8_t what = input.u8();
    header.version = what & 3;
    header.has_cookie = what & 4;
    header.sample = what & 8;
    header.drop = what & 16;
    outer.udp_checksum = what & 32;
    outer.dont_fragment = what & 64;
    const bool ipv6 = what & 128;
    header.crypt_offset = input.u8();
    const uint8_t dscp = input.u8();
    if (dscp < 64) outer.dscp = dscp;
    outer.hop_limit = input.u8();
    outer.udp_source = input.u16();
    outer.identification = input.u16();
    header.spi = input.u32();
    header.iv = input.u64();
    header.cookie = header.has_cookie ? input.u64() : 0;
    static constexpr uint8_t kFrom[4] = {192, 0, 2, 1}, kTo[4] = {192, 0, 2, 2};
    outer.source = ipv6 ? Address{0xfd, 9, 1} : mapped(kFrom);
    outer.destination = ipv6 ? Address{0xfd, 9, 2} : mapped(kTo);
    packet = with_fixed_checksums(input.rest());
  }
  Header header;
  Outer outer;
  Octets packet;
};

// The sealed packet, in memory of exactly the size that sealing requires; empty if it is too long.
Octets seal(const Case& c, const Cipher& cipher, bool transport, const IpPacket& ip,
            const TransportLayout& layout) {
  const bool cookie = c.header.has_cookie;
  const size_t headroom =
      transport ? transport_headroom(cookie) : tunnel_headroom(!is_ipv4(c.outer.source), cookie);
  Octets memory(headroom + ip.length + kIcvLength);
  uint8_t* const packet = memory.data() + headroom;
  std::memcpy(packet, c.packet.data(), ip.length);
  void* const key = cipher.key(c.header.version);
  uint8_t* const start = transport ? seal_transport(*cipher.aead, key, layout, c.outer.udp_source,
                                                    c.outer.udp_checksum, c.header, packet)
                                   : seal_tunnel(*cipher.aead, key, c.outer, ip, c.header, packet);
  if (start == nullptr) return {};
  require(start == memory.data(), "sealing fills the memory that it requires");
  return memory;
}

void check_header(const Case& c, const Header& header, size_t length_after_iv) {
  const bool encrypts = is_encrypting(c.header.version);
  const size_t max_offset = std::min<size_t>({c.header.crypt_offset, kMaxCryptOffset, length_after_iv / 4});
  require(header.crypt_offset == (encrypts ? max_offset : 0), "crypt offset");
  require(header.version == c.header.version && header.spi == c.header.spi && header.iv == c.header.iv,
          "version, SPI, IV");
  require(header.sample == c.header.sample && header.drop == c.header.drop, "S and D");
  require(header.has_cookie == c.header.has_cookie && header.cookie == c.header.cookie, "cookie");
}

void check_outer_header(const Case& c, const IpPacket& outer, const IpPacket& inner, const Octets& sealed) {
  require(outer.source == c.outer.source && outer.destination == c.outer.destination, "outer addresses");
  const uint8_t marks = static_cast<uint8_t>(c.outer.dscp.value_or(inner.traffic_class >> 2) << 2 |
                                             (inner.traffic_class & kEcnMask));
  require(outer.traffic_class == marks, "DSCP and ECN of the outer header");
  require(sealed[outer.version == 4 ? 8 : 7] == c.outer.hop_limit, "outer hop limit");
}

// Versions 0 and 1: after the crypt offset no plaintext is left in place.
void check_for_plaintext(const Case& c, const Octets& sealed, const Header& header, size_t length) {
  const size_t encrypted = kHeaderLength + sealed_payload_octets(length, header.has_cookie) -
                           (kHeaderLength + size_t{4} * header.crypt_offset);
  if (!is_encrypting(header.version) || length < 16 || encrypted < length) return;
  const size_t end = sealed.size() - kIcvLength;
  require(!std::equal(sealed.begin() + static_cast<ptrdiff_t>(end - length),
                      sealed.begin() + static_cast<ptrdiff_t>(end),
                      c.packet.begin() + static_cast<ptrdiff_t>(c.packet.size() - length)),
          "no plaintext");
}

void check_opening(const Case& c, const Cipher& cipher, bool transport, const IpPacket& inner,
                   const TransportLayout& layout, const Octets& sealed) {
  Octets copy = sealed;
  IpPacket outer;
  require(read_ip(copy.data(), copy.size(), &outer) == IpFault::kNone, "a sealed packet is an IP packet");
  require(outer.length == copy.size() && outer.protocol == kProtocolUdp && !outer.fragment,
          "a sealed packet is one UDP datagram");
  uint8_t* const udp = copy.data() + outer.payload_offset;
  require(load_u16(udp) == c.outer.udp_source && load_u16(udp + 2) == kUdpPort, "UDP ports");
  // With a routing header the final destination differs from the one that read_ip returns.
  if (!transport || layout.final_destination) require(udp_checksum_ok(outer, copy.data()), "UDP checksum");
  if (!c.outer.udp_checksum) require(load_u16(udp + 6) == 0, "no UDP checksum unless requested");
  const size_t length = load_u16(udp + 4) - kUdpHeaderLength;
  require(outer.payload_offset + kUdpHeaderLength + length == copy.size(), "UDP length");
  if (!transport) check_outer_header(c, outer, inner, sealed);

  Header header;
  uint8_t* const payload = udp + kUdpHeaderLength;
  require(read_header(payload, length, &header) == HeaderFault::kNone, "the header is read back");
  void* const key = cipher.key(c.header.version);
  uint8_t* opened = nullptr;
  IpPacket ip;
  const OpenFault fault =
      transport ? open_transport(*cipher.aead, key, &header, outer, copy.data(), length, &opened, &ip)
                : open_tunnel(*cipher.aead, key, &header, payload, length, &opened, &ip);
  require(fault == OpenFault::kNone, "what was sealed opens");
  require(ip.length == inner.length && std::memcmp(opened, c.packet.data(), ip.length) == 0,
          "it opens to the original");
  const size_t payload_length = length - header.length() - kIcvLength;
  check_header(c, header, sealed_payload_octets(payload_length, header.has_cookie));
  check_for_plaintext(c, sealed, header, payload_length);
}

void check_mode(const Case& c, bool transport, const IpPacket& ip, const TransportLayout& layout) {
  const std::vector<Cipher>& all = ciphers();
  const Octets sealed = seal(c, all[0], transport, ip, layout);
  for (const Cipher& other : all) {
    require(seal(c, other, transport, ip, layout) == sealed, "both AEAD libraries agree");
    if (!sealed.empty()) check_opening(c, other, transport, ip, layout, sealed);
  }
  if (sealed.empty())
    require(ip.length + kMaxHeadroom + kIcvLength > UINT16_MAX,
            "only packets that are too long are rejected");
}

}  // namespace
}  // namespace psp::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t length) {
  using namespace psp;
  using namespace psp::fuzz;
  Input input(data, length);
  Case c(input);
  IpPacket ip;
  if (read_ip(c.packet.data(), c.packet.size(), &ip) != IpFault::kNone) return 0;
  c.packet.resize(ip.length);
  check_mode(c, false, ip, {});
  TransportLayout layout;
  if (read_transport_layout(ip, c.packet.data(), &layout) == TransportFault::kNone)
    check_mode(c, true, ip, layout);
  return 0;
}
