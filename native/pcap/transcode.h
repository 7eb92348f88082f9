// SPDX-License-Identifier: Apache-2.0
// Converts a capture into another one, from end to end in bounded memory. Frames without IP (encrypting) or
// without PSP (decrypting) are copied unchanged and counted by kind. Other pcapng blocks are omitted, because
// they may reveal plaintext.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "pcap/encrypt.h"
#include "pcap/keys.h"
#include "pcap/source.h"

namespace psp {

// How to treat frames that cannot be sealed or opened, or that would be copied.
struct TranscodeRules {
  bool skip_bad = false;  // skip a frame at fault instead of throwing
  bool strict = false;    // encrypting: a frame that would be copied unencrypted is at fault
};

struct SkippedFrame {
  uint64_t number;
  std::string detail;
};

struct TranscodeCounts {
  // At most this many skipped frames are listed; all are counted.
  static constexpr size_t kMaxSkippedListed = 1000;

  CaptureFormat format = CaptureFormat::kPcap;
  uint64_t frames = 0;                 // read from the input
  uint64_t tunnel = 0, transport = 0;  // frames sealed or opened, by mode
  uint64_t copied = 0;
  std::map<std::string, uint64_t> copied_kinds;
  uint64_t skipped = 0;
  std::vector<SkippedFrame> skipped_frames;
  uint64_t completed = 0;           // frames sealed or opened with a checksum or length filled in
  uint64_t padding_octets = 0;      // link padding and frame check sequences that were omitted
  uint64_t left_out = 0;            // omitted blocks: no section, interface or frame
  std::optional<uint64_t> next_iv;  // encrypting: the IV after the last one used
};

// Both throw CaptureFault; the output written until then must be discarded.
TranscodeCounts encrypt_capture(Source& source, Sink& sink, CaptureKeys& keys, const SealOptions& options,
                                TranscodeRules rules = {});
TranscodeCounts decrypt_capture(Source& source, Sink& sink, CaptureKeys& keys, TranscodeRules rules = {});

}  // namespace psp
