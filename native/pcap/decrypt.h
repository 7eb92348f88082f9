// SPDX-License-Identifier: Apache-2.0
// Decrypts the frames of a capture, whatever SPIs, versions and modes they have. A file holds no security
// association, so the mode is read off the PSP next header: 4 and 41 are tunnel mode, all others transport.
#pragma once

#include <memory>
#include <span>

#include "pcap/frame_fate.h"
#include "pcap/keys.h"
#include "pcap/layers.h"
#include "pcap/record.h"

namespace psp {

class FrameOpener {
 public:
  // Borrows the keys.
  explicit FrameOpener(CaptureKeys& keys);

  // The frame with the packet that its PSP packet held. A frame without PSP is copied: no IP, or not UDP to
  // port 1000. Throws CaptureFault (kNotOpened).
  FrameFate open(const CaptureRecord& record);

 private:
  FrameFate open_packet(const CaptureRecord& record, const Layers& layers, uint8_t* octets);

  CaptureKeys& keys_;
  std::unique_ptr<uint8_t[]> scratch_;
};

// Whether what was captured of an IP packet is UDP to the port of PSP, also when it is cut, malformed or a
// first fragment: to be PSP it then need not open.
bool is_to_psp(std::span<const uint8_t> packet);

}  // namespace psp
