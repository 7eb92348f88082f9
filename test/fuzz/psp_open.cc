// SPDX-License-Identifier: Apache-2.0
// Opening packets from the wire. The input is a PSP packet without its ICV. It is opened three times: as it
// is, with its last octets as ICV, which must fail; authenticated with the right key, whatever its header
// says, so that the code after the ICV check sees everything that a peer could send; and then again with one
// bit flipped.
//
//   u8 what | u16 bit to turn | PSP header and payload in the clear
//   what: version (2 bits), transport, IPv6, options in the front, which AEAD library
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
Octets front_of(const Case& c, size_t length) {
  const size_t ip = (c.ipv6 ? 40 : 20) + (c.options ? 8 : 0);
  Octets front(ip + kUdpHeaderLength);
  const size_t total = front.size() + length;
  if (c.ipv6) {
    front[0] = 0x60;
    store_u16(&front[4], static_cast<uint16_t>(total - 40));
    front[6] = c.options ? kProtocolHopByHop : kProtocolUdp;
    front[7] = 64;
    front[8] = front[24] = 0xfd;
    front[39] = 1;
    if (c.options) front[40] = kProtocolUdp;
  } else {
    front[0] = static_cast<uint8_t>(0x40 | ip / 4);
    store_u16(&front[2], static_cast<uint16_t>(total));
    front[8] = 64;
    front[9] = kProtocolUdp;
    front[12] = front[16] = 10;
    front[19] = 1;
    if (c.options) std::memset(&front[20], 1, 8);
    mend_ipv4(front.data(), front.size());
  }
  store_u16(&front[ip], 50000);
  store_u16(&front[ip + 2], kUdpPort);
  store_u16(&front[ip + 4], static_cast<uint16_t>(kUdpHeaderLength + length));
  return front;
}

struct Result {
  bool read = false;
  OpenFault fault = OpenFault::kIcv;
  Header header;
  Octets inner;
};

// Opens a PSP packet, including its ICV, in memory of exactly its length.
Result open(const Case& c, const Octets& sealed) {
  Octets packet = front_of(c, sealed.size());
  const size_t at = packet.size();
  packet.insert(packet.end(), sealed.begin(), sealed.end());
  packet.shrink_to_fit();
  IpPacket outer;
  require(read_ip(packet.data(), packet.size(), &outer) == IpFault::kNone, "the front is good");
  Result result;
  uint8_t* const payload = packet.data() + at;
  if (read_header(payload, sealed.size(), &result.header) != HeaderFault::kNone) return result;
  if (!is_known_version(result.header.version)) return result;
  result.read = true;
  require(result.header.length() + kIcvLength <= sealed.size(), "an accepted header lies inside");
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
Octets authentic(const Case& c, const Octets& plain) {
  const size_t clear =
      is_encrypting(c.version) ? kHeaderLength + size_t{4} * (plain[2] & kMaxCryptOffset) : plain.size();
  if (clear > plain.size()) return {};
  Octets sealed = plain;
  sealed.resize(plain.size() + kIcvLength);
  c.cipher.aead->seal(c.cipher.key(c.version), &sealed[4], sealed.data(), clear, &sealed[clear],
                      plain.size() - clear, &sealed[plain.size()]);
  return sealed;
}

void look_at_opened(const Case& c, const Result& result, const Octets& plain) {
  const size_t header = result.header.length();
  if (result.header.has_cookie) {
    require(result.header.cookie == load_u64(&plain[kHeaderLength]), "the cookie is in the clear");
  }
  const Octets payload(plain.begin() + static_cast<ptrdiff_t>(header), plain.end());
  const uint8_t next = result.header.next_header;
  if (!c.transport) {
    require(result.inner == payload, "a tunnel opens to what was sealed");
    require(next == (payload[0] >> 4 == 4 ? 4 : 41), "next header and inner version agree");
    return;
  }
  require(next != 4 && next != 41, "transport mode carries no tunnel");
  Octets expected = front_of(c, 0);
  expected.resize(expected.size() - kUdpHeaderLength);
  const size_t front = expected.size();
  expected[c.ipv6 ? (c.options ? 40 : 6) : 9] = next;
  expected.insert(expected.end(), payload.begin(), payload.end());
  store_u16(&expected[c.ipv6 ? 4 : 2], static_cast<uint16_t>(expected.size() - (c.ipv6 ? 40 : 0)));
  if (!c.ipv6) mend_ipv4(expected.data(), front);
  require(result.inner == expected, "transport mode opens to what was sealed");
}

}  // namespace
}  // namespace psp::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t length) {
  using namespace psp;
  using namespace psp::fuzz;
  Input input(data, std::min<size_t>(length, 60000));
  const Case c(input.u8());
  const uint16_t turned = input.u16();
  Octets plain = input.rest();
  require(open(c, plain).fault == OpenFault::kIcv, "nothing opens by chance");

  if (plain.size() < kHeaderLength) plain.resize(kHeaderLength);
  plain[3] = static_cast<uint8_t>((plain[3] & 0xc2) | c.version << 2 | 1);
  Octets sealed = authentic(c, plain);
  if (sealed.empty()) {
    sealed = plain;
    sealed.resize(plain.size() + kIcvLength);
    require(!open(c, sealed).read, "a crypt offset past the payload is refused");
    return 0;
  }
  const Result result = open(c, sealed);
  if (result.read) require(result.fault != OpenFault::kIcv, "what is authentic passes its ICV");
  if (result.fault == OpenFault::kNone) look_at_opened(c, result, plain);

  const size_t bit = turned % (sealed.size() * 8);
  sealed[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
  require(open(c, sealed).fault == OpenFault::kIcv, "one turned bit and nothing opens");
  return 0;
}
