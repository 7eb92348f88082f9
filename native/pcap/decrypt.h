// SPDX-License-Identifier: Apache-2.0
// Decrypts the frames of a capture, with any mix of SPIs, versions and modes. A file has no security
// associations, so the mode is derived from the next header of PSP: 4 and 41 are tunnel mode, all others
// transport mode.
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

  // Returns the frame with the packet that its PSP packet carried. A frame that is not IP, or not UDP to port
  // 1000, is copied. Throws CaptureFault (kNotOpened).
  FrameFate open(const CaptureRecord& record);

 private:
  FrameFate open_packet(const CaptureRecord& record, const Layers& layers, uint8_t* octets);

  CaptureKeys& keys_;
  std::unique_ptr<uint8_t[]> scratch_;
};

// Whether a captured IP packet is UDP to the PSP port. True also for truncated or malformed packets and first
// fragments: such a packet is PSP although it cannot be opened.
bool is_to_psp(std::span<const uint8_t> packet);

}  // namespace psp
