// SPDX-License-Identifier: Apache-2.0
// The IP packet of a captured frame, checked for sealing and for opening alike: no length field, of whichever
// layer, may make octets of the file vanish. Completes what a sending host leaves to its interface.
#pragma once

#include "pcap/fault.h"
#include "pcap/layers.h"
#include "pcap/record.h"
#include "psp/ip_packet.h"

namespace psp {

struct CapturedPacket {
  IpPacket ip;
  size_t padding = 0;  // octets of the frame behind it, which are link padding or a frame check sequence
  bool completed =
      false;  // its IPv4 header checksum or its length was left to the interface, and is there now
};

// Reads the packet behind the layers of a frame; `octets` is a copy of what was captured of it, in which it
// is completed. Throws CaptureFault of that kind.
CapturedPacket read_captured(const CaptureRecord& record, CaptureFaultKind kind, const Layers& layers,
                             uint8_t* octets);

// The same for frames of link types that are not known.
[[noreturn]] void refuse_link(const CaptureRecord& record, CaptureFaultKind kind);

}  // namespace psp
