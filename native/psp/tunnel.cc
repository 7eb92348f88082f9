// SPDX-License-Identifier: Apache-2.0
// Writes and parses `outer IP | UDP | PSP header | inner packet | ICV`.
#include "psp/tunnel.h"

#include "psp/ecn.h"
#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

OuterHeader::OuterHeader(const Outer& outer) : source_(outer.source), ipv6_(!is_ipv4(outer.source)) {
  if (outer.dscp) {
    dscp_ = static_cast<uint8_t>(*outer.dscp << 2);
    inner_bits_ = kEcnMask;
  }
  if (ipv6_) {
    first_word_ = uint64_t{6} << 60 | uint64_t{kProtocolUdp} << 8 | outer.hop_limit;
    set_destination(outer.destination);
    return;
  }
  constexpr uint64_t kVersionAndLength = kPlainIpv4;
  first_word_ =
      kVersionAndLength << 56 |
      (outer.dont_fragment ? uint64_t{kDontFragment} : static_cast<uint64_t>(outer.identification) << 16);
  second_word_ =
      uint64_t{outer.hop_limit} << 56 | uint64_t{kProtocolUdp} << 48 | load_u32(source_.data() + 12);
  for (const uint64_t words : {first_word_, second_word_}) {
    for (int at = 0; at < 64; at += 16) constant_sum_ += static_cast<uint16_t>(words >> at);
  }
  set_destination(outer.destination);
}

uint8_t* seal_tunnel(const Aead& aead, void* expanded_key, const Outer& outer, const IpPacket& inner_packet,
                     Header header, uint8_t* inner) {
  AeadJob job;
  const OuterHeader outer_header(outer);
  uint8_t* const start =
      lay_out_tunnel(expanded_key, outer_header, outer.udp_source, inner_packet, &header, inner, &job);
  if (start == nullptr) return nullptr;
  aead.seal(job);
  if (outer.udp_checksum) {
    write_udp_checksum(outer.source, outer.destination, job.psp - kUdpHeaderLength);
  }
  return start;
}

OpenFault open_tunnel(const Aead& aead, void* expanded_key, Header* header, uint8_t* payload, size_t length,
                      uint8_t** inner, IpPacket* inner_packet) {
  AeadJob job;
  lay_out_opening(expanded_key, *header, payload, length, &job);
  if (!aead.open(job)) return OpenFault::kIcv;
  return read_opened_tunnel(header, payload, length, inner, inner_packet);
}

}  // namespace psp
