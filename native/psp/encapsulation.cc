// SPDX-License-Identifier: Apache-2.0
// UDP checksums of complete datagrams, for peers that require them.
#include "psp/encapsulation.h"

#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

void write_udp_checksum(const Address& source, const Address& destination, uint8_t* udp) {
  const uint16_t length = load_u16(udp + kUdpLength);
  store_u16(udp + kUdpChecksum, 0);
  const uint32_t pseudo = pseudo_header_sum(source, destination, kProtocolUdp, length);
  const uint16_t checksum = checksum_fold(checksum_add(udp, length, pseudo));
  store_u16(udp + kUdpChecksum, checksum == 0 ? 0xffff : checksum);
}

bool udp_checksum_ok(const IpPacket& packet, const uint8_t* octets) {
  const uint8_t* const udp = octets + packet.payload_offset;
  const size_t available = packet.length - packet.payload_offset;
  if (available < kUdpHeaderLength) return false;
  const uint16_t length = load_u16(udp + kUdpLength);
  if (length < kUdpHeaderLength || length > available) return false;
  if (load_u16(udp + kUdpChecksum) == 0) return true;
  return checksum_fold(checksum_add(udp, length, pseudo_header_sum(packet, length))) == 0;
}

}  // namespace psp
