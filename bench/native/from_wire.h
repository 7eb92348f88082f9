// SPDX-License-Identifier: Apache-2.0
// What a peer sends to a plant: the benches' ingress traffic.
#pragma once

#include <algorithm>

#include "mill.h"

namespace psp {

// Sealed frames of each flow for our host, made by a separate library.
class FromWire {
 public:
  FromWire(const Aead& aead, size_t octets, uint32_t flows, uint8_t version) {
    const MasterKey master{std::span<const uint8_t, 32>(kMasterOctets)};
    const size_t front = kEthernetLength + tunnel_headroom(false, false);
    length_ = front + octets + kIcvLength;
    frames_.resize(length_ * flows);
    void* const key = std::aligned_alloc(kAeadKeyAlignment, (aead.expanded_size() + 63) / 64 * 64);
    aead.construct(key);
    const Frame text = from_host("10.2.0.0", "10.1.0.0", std::string(octets - 28, 'x'));
    for (uint32_t n = 0; n < flows; ++n) {
      uint8_t* const frame = &frames_[length_ * n];
      uint8_t* const inner = frame + front;
      std::copy(text.begin() + kEthernetLength, text.end(), inner);
      const FlowKey flow = nth_flow(n).reversed();
      std::memcpy(inner + 12, flow.source.data() + 12, 4);
      std::memcpy(inner + 16, flow.destination.data() + 12, 4);
      write_ipv4_checksum(inner);
      IpPacket packet;
      read_ip(inner, octets, &packet);
      Header header;
      header.version = version;
      header.spi = nth_spi(n);
      header.iv = n;
      Outer outer;
      outer.source = address("192.0.2.2");
      outer.destination = address("192.0.2.1");
      outer.udp_source = 50000;
      uint8_t octets_of_key[32];
      master.derive(header.spi, version, octets_of_key);
      aead.expand(key, octets_of_key, version);
      if (seal_tunnel(aead, key, outer, packet, header, inner) == nullptr) std::abort();
      std::copy(kSecuredMac.begin(), kSecuredMac.end(), frame);
      EthernetAddress(kPeerMac).write_source(frame, false);
    }
    aead.destroy(key);
    std::free(key);
  }
  Mill::Fill fill() {
    const auto flows = static_cast<uint32_t>(frames_.size() / length_);
    return [this, shuffle = Shuffle(flows)](rte_mbuf** packets, uint16_t count) mutable {
      const uint8_t* frames[kBurst];
      for (uint16_t i = 0; i < count; ++i) {
        frames[i] = &frames_[length_ * shuffle.next()];
        rte_prefetch0(frames[i]);
      }
      for (uint16_t i = 0; i < count; ++i) write_frame(packets[i], frames[i], length_);
    };
  }

 private:
  size_t length_;
  std::vector<uint8_t> frames_;
};

}  // namespace psp
