// SPDX-License-Identifier: Apache-2.0
// Merges packets of one flow that leave one after another into a GRO packet, the reverse of gso.h. Packets
// are merged only if segmentation restores them exactly: the same header, TCP payloads that follow one
// another, one size for all except the last, correct checksums. No payload is moved: a GRO packet is written
// as new headers, and the payloads of its packets stay where they are.
#pragma once

#include <cstdint>

#include "engine/ports/gso.h"

namespace psp {

// The fields of a frame that merging needs; the octets are the caller's.
struct Joinable {
  const uint8_t* frame = nullptr;
  uint16_t layer4 = 0;   // where it begins
  uint16_t headers = 0;  // octets in front of the payload; 0: the frame is never merged
  uint16_t payload = 0;  // octets
  bool ipv6 = false;
  bool udp = false;

  // Where the payload begins.
  const uint8_t* octets() const { return frame + headers; }
};

// Reads a whole frame. Its checksum is verified too, because merging would turn a wrong one into a correct
// one. `sealed`: datagrams to UDP port 1000 without a checksum are merged, and the kernel gives them one.
// Other datagrams without a checksum are not merged.
Joinable read_joinable(const uint8_t* frame, uint32_t length, bool sealed);

class GroPacket {
 public:
  enum class Result : uint8_t {
    kMerged,   // it is part of the GRO packet now
    kFollows,  // of the same flow, but it must follow as another frame, and no more frames may be merged
    kOther,    // of another flow
  };

  // Begins with this frame alone. The frames that were added must stay while this is in use.
  void begin(const Joinable& first);
  Result add(const Joinable& next);

  uint32_t count() const { return count_; }
  // Of more than one packet: the kernel's virtio header, and the headers in front of all payloads.
  FrameFacts facts() const;
  uint32_t write_headers(uint8_t* to) const;

  // Octets of headers at most: Ethernet, IPv6, TCP with options.
  static constexpr uint32_t kHeadersAtMost = 14 + 40 + 60;

 private:
  bool same_flow(const Joinable& next) const;
  bool follows(const Joinable& next) const;

  Joinable first_;
  uint32_t payload_ = 0;  // octets in all
  uint32_t count_ = 0;
  uint8_t last_flags_ = 0;  // TCP
  bool closed_ = false;
};

}  // namespace psp
