// SPDX-License-Identifier: Apache-2.0
// Packets of one flow that leave one after the other, joined into a super-frame: what gso.h takes
// apart, put together. Only what would come apart again as it was is joined: one and the same header, TCP
// payloads that follow one another, one size for all but the last, good checksums. The octets are not moved:
// a super-frame is written as new headers, and the payloads of its packets stay where they are.
#pragma once

#include <cstdint>

#include "engine/ports/gso.h"

namespace psp {

// A frame as far as joining it must know it; the octets are the caller's.
struct Joinable {
  const uint8_t* frame = nullptr;
  uint16_t layer4 = 0;   // where it begins
  uint16_t headers = 0;  // octets in front of the payload; 0: the frame goes alone
  uint16_t payload = 0;  // octets
  bool ipv6 = false;
  bool udp = false;

  // Where the payload begins.
  const uint8_t* octets() const { return frame + headers; }
};

// Reads a whole frame. Its checksum is looked at, too, so that a wrong one is not made right by joining.
// `sealed`: datagrams to UDP port 1000 without a checksum are joined, and the kernel gives them one. Others
// without one go alone.
Joinable read_joinable(const uint8_t* frame, uint32_t length, bool sealed);

class GroPacket {
 public:
  enum class Fit : uint8_t {
    kJoined,  // it is part of the super-frame now
    kBehind,  // of the same flow, but it must follow as another frame, and nothing may be joined any more
    kOther,   // of another flow
  };

  // Begins with this frame, alone. The frames that were added must stay while this is in use.
  void begin(const Joinable& first);
  Fit add(const Joinable& next);

  uint32_t count() const { return count_; }
  // Of more than one packet: what the kernel is to be told, and the headers in front of all payloads.
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
