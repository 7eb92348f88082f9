// SPDX-License-Identifier: Apache-2.0
// The headers of tunnels that a host builds itself (VXLAN, Geneve and others over UDP, GRE, IP in IP), as far
// as segmenting a GSO packet inside them needs. As in the kernel, the octets between UDP or GRE and the inner
// packet are not interpreted, and are the same in each segment.
#pragma once

#include <array>
#include <cstdint>

#include "psp/ip_packet.h"

namespace psp {

// Makes the IP header at `ip` that of a segment: its length, and where it is IPv4, the identification of the
// segment with this index and the checksum.
void write_segment_ip(uint8_t* ip, uint32_t length, uint32_t index);

class HostTunnels {
 public:
  // Reads the headers from the outer IP header on, which read_ip accepted as *ip and which begins at *ip_at
  // in the frame, up to layer 4 at `layer4`. On success *ip and *ip_at are those of the innermost IP header,
  // whose payload begins there and ends with the outer packet. False: there is no such chain of headers, or
  // one that cannot be segmented: GRE with sequence numbers or routing, VXLAN with remote checksum offload, a
  // fragment, or more than 3 tunnels.
  bool read(const uint8_t* frame, uint32_t layer4, uint32_t* ip_at, IpPacket* ip);
  // No tunnel.
  void clear() { count_ = 0; }
  bool empty() const { return count_ == 0; }

  // Completes the headers of a segment that ends at `end`, once everything behind them is as it will be sent.
  // `sum`: of all octets from `layer4` on, folded.
  void complete(uint8_t* frame, uint32_t layer4, uint32_t end, uint16_t sum, uint32_t index) const;

 private:
  struct Tunnel {
    enum class Kind : uint8_t { kIp, kUdp, kGre };
    Kind kind = Kind::kIp;
    bool summed = false;     // UDP and GRE: it carries a checksum
    uint16_t ip_at = 0;      // where its IP header begins
    uint16_t header_at = 0;  // and what follows that
    uint32_t pseudo = 0;     // UDP: sum of the pseudo-header without the length
  };

  static constexpr size_t kTunnelsAtMost = 3;
  std::array<Tunnel, kTunnelsAtMost> tunnels_;  // from the outside in
  size_t count_ = 0;
};

}  // namespace psp
