// SPDX-License-Identifier: Apache-2.0
// A capture made into another, from end to end in bounded memory: sections, interfaces and frames in their
// order. Frames without IP (encrypting) or without PSP (decrypting) are copied as they are; other blocks of
// pcapng, which may tell of the plaintext, are left out.
#pragma once

#include "pcap/keys.h"
#include "pcap/seal.h"
#include "pcap/source.h"

namespace psp {

struct TranscodeCounts {
  CaptureFormat format = CaptureFormat::kPcap;
  uint64_t frames = 0;
  uint64_t tunnel = 0, transport = 0;  // frames sealed or opened, by mode
  uint64_t copied = 0;
  uint64_t left_out = 0;            // blocks that are no frames
  std::optional<uint64_t> next_iv;  // encrypting: that of a packet behind the last
};

// Both throw CaptureFault; what the sink has then taken is of no use.
TranscodeCounts encrypt_capture(Source& source, Sink& sink, CaptureKeys& keys, const SealOptions& options);
TranscodeCounts decrypt_capture(Source& source, Sink& sink, CaptureKeys& keys);

}  // namespace psp
