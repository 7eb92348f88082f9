// SPDX-License-Identifier: Apache-2.0
// Opening packets from the wire. The input is a PSP packet without its ICV. It is opened three times: as it
// is, with its last octets as ICV, which must fail; authenticated with the right key, whatever its header
// says, so that the code after the ICV check sees everything that a peer could send; and then again with one
// bit flipped.
//
//   u8 what | u16 bit to flip | PSP header and payload in the clear
//   what: version (2 bits), transport, IPv6, options in the IP header, which AEAD library
#include <cstring>

#include "keys.h"
#include "packets.h"
#include "psp/transport.h"
#include "psp/tunnel.h"

namespace psp::fuzz {
namespace {

struct Case {
  explicit Case(uint8_t what)
      : version(what & 3),
        transport(what & 4),
        ipv6(what & 8),
        options(what & 16),
        cipher(ciphers()[(what >> 5 & 1) % ciphers().size()]) {}
  uint8_t version;
  bool transport, ipv6, options;
  const Cipher& cipher;
};

// `IP | UDP` before `length` octets.
Octets headers_of(const Case& c, size_t length) {
  const size_t ip = (c.ipv6 ? 40 : 20) + (c.options ? 8 : 0);
  Octets headers(ip + kUdpHeaderLength);
  const size_t total = headers.size() + length;
  if (c.ipv6) {
    headers[0] = 0x60;
    store_u16(&headers[4], static_cast<uint16_t>(total - 40));
    headers[6] = c.options ? kProtocolHopByHop : kProtocolUdp;
    headers[7] = 64;
    headers[8] = headers[24] = 0xfd;
    headers[39] = 1;
    if (c.options) headers[40] = kProtocolUdp;
  } else {
    headers[0] = static_cast<uint8_t>(0x40 | ip / 4);
    store_u16(&headers[2], static_cast<uint16_t>(total));
    headers[8] = 64;
    headers[9] = kProtocolUdp;
    headers[12] = headers[16] = 10;
    headers[19] = 1;
    if (c.options) std::memset(&headers[20], 1, 8);
    fix_ipv4_checksum(headers.data(), headers.size());
  }
  store_u16(&headers[ip], 50000);
  store_u16(&headers[ip + 2], kUdpPort);
  store_u16(&headers[ip + 4], static_cast<uint16_t>(kUdpHeaderLength + length));
  return headers;
}

struct Result {
  bool read = false;
  OpenFault fault = OpenFault::kIcv;
  Header header;
  Octets inner;
};

// Opens a PSP packet, including its ICV, in memory of exactly its length.
Result open(const Case& c, const Octets& sealed) {
  Octets packet = headers_of(c, sealed.size());
  const size_t at = packet.size();
  packet.insert(packet.end(), sealed.begin(), sealed.end());
  packet.shrink_to_fit();
  IpPacket outer;
  require(read_ip(packet.data(), packet.size(), &outer) == IpFault::kNone, "the headers are valid");
  Result result;
  uint8_t* const payload = packet.data() + at;
  if (read_header(payload, sealed.size(), &result.header) != HeaderFault::kNone) return result;
  if (!is_known_version(result.header.version)) return result;
  result.read = true;
  require(result.header.length() + kIcvLength <= sealed.size(), "an accepted header is inside the packet");
  void* const key = c.cipher.key(result.header.version);
  uint8_t* inner = nullptr;
  IpPacket ip;
  result.fault = c.transport
                     ? open_transport(*c.cipher.aead, key, &result.header, outer, packet.data(),
                                      sealed.size(), &inner, &ip)
                     : open_tunnel(*c.cipher.aead, key, &result.header, payload, sealed.size(), &inner, &ip);
  if (result.fault != OpenFault::kNone) return result;
  require(inner >= packet.data() && inner + ip.length <= packet.data() + packet.size(), "it opens in place");
  result.inner.assign(inner, inner + ip.length);
  return result;
}

// The ICV that a peer would compute. Empty if the header leaves nothing to seal.
Octets sealed_by_peer(const Case& c, const Octets& plain) {
  const size_t clear =
      is_encrypting(c.version) ? kHeaderLength + size_t{4} * (plain[2] & kMaxCryptOffset) : plain.size();
  if (clear > plain.size()) return {};
  Octets sealed = plain;
  sealed.resize(plain.size() + kIcvLength);
  c.cipher.aead->seal(c.cipher.key(c.version), &sealed[4], sealed.data(), clear, &sealed[clear],
                      plain.size() - clear, &sealed[plain.size()]);
  return sealed;
}

void check_opened(const Case& c, const Result& result, const Octets& plain) {
  const size_t header = result.header.length();
  if (result.header.has_cookie) {
    require(result.header.cookie == load_u64(&plain[kHeaderLength]), "the cookie is in the clear");
  }
  const Octets payload(plain.begin() + static_cast<ptrdiff_t>(header), plain.end());
  const uint8_t next = result.header.next_header;
  if (!c.transport) {
    require(result.inner == payload, "tunnel mode opens to the sealed packet");
    require(next == (payload[0] >> 4 == 4 ? 4 : 41), "next header and inner version agree");
    return;
  }
  require(next != 4 && next != 41, "transport mode has no tunnel next header");
  Octets expected = headers_of(c, 0);
  expected.resize(expected.size() - kUdpHeaderLength);
  const size_t headers = expected.size();
  expected[c.ipv6 ? (c.options ? 40 : 6) : 9] = next;
  expected.insert(expected.end(), payload.begin(), payload.end());
  store_u16(&expected[c.ipv6 ? 4 : 2], static_cast<uint16_t>(expected.size() - (c.ipv6 ? 40 : 0)));
  if (!c.ipv6) fix_ipv4_checksum(expected.data(), headers);
  require(result.inner == expected, "transport mode opens to the sealed packet");
}

}  // namespace
}  // namespace psp::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t length) {
  using namespace psp;
  using namespace psp::fuzz;
  Input input(data, std::min<size_t>(length, 60000));
  const Case c(input.u8());
  const uint16_t flipped_bit = input.u16();
  Octets plain = input.rest();
  require(open(c, plain).fault == OpenFault::kIcv, "a packet without a valid ICV does not open");

  if (plain.size() < kHeaderLength) plain.resize(kHeaderLength);
  plain[3] = static_cast<uint8_t>((plain[3] & 0xc2) | c.version << 2 | 1);
  Octets sealed = sealed_by_peer(c, plain);
  if (sealed.empty()) {
    sealed = plain;
    sealed.resize(plain.size() + kIcvLength);
    require(!open(c, sealed).read, "a crypt offset past the payload is rejected");
    return 0;
  }
  const Result result = open(c, sealed);
  if (result.read) require(result.fault != OpenFault::kIcv, "an authentic packet passes the ICV check");
  if (result.fault == OpenFault::kNone) check_opened(c, result, plain);

  const size_t bit = flipped_bit % (sealed.size() * 8);
  sealed[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
  require(open(c, sealed).fault == OpenFault::kIcv, "a packet with a flipped bit does not open");
  return 0;
}
