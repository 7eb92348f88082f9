// SPDX-License-Identifier: Apache-2.0
// The IP packet of a captured frame, validated for sealing and opening alike: no length field of any layer
// may hide octets of the file. Checksums and lengths that a sending host leaves to its interface (offload)
// are filled in.
#pragma once

#include <string>

#include "pcap/fault.h"
#include "pcap/layers.h"
#include "pcap/record.h"
#include "psp/ip_packet.h"

namespace psp {

struct CapturedPacket {
  IpPacket ip;
  size_t padding = 0;      // octets of the frame after it: link padding or a frame check sequence
  bool completed = false;  // a checksum or length that was left to the interface was filled in
};

// Reads the packet after the link layers of a frame. `octets` is a copy of the captured packet, in which
// fields are filled in. Throws CaptureFault of the given kind.
CapturedPacket read_captured(const CaptureRecord& record, CaptureFaultKind kind, const Layers& layers,
                             uint8_t* octets);

// Why a frame that the snap length truncated is not processed, as a text that completes a sentence about it.
std::string truncation_detail(const CaptureRecord& record);

// Throws the CaptureFault for a frame of an unsupported link type.
[[noreturn]] void throw_unsupported_link(const CaptureRecord& record, CaptureFaultKind kind);

}  // namespace psp
