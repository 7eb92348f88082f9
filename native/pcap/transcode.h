// SPDX-License-Identifier: Apache-2.0
// A capture made into another, from end to end in bounded memory: sections, interfaces and frames in their
// order. Frames without IP (encrypting) or without PSP (decrypting) are copied as they are and counted by
// what they are; other blocks of pcapng, which may tell of the plaintext, are left out.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "pcap/encrypt.h"
#include "pcap/keys.h"
#include "pcap/source.h"

namespace psp {

// What is done with frames that cannot be sealed or opened, or that would be copied.
struct TranscodeRules {
  bool skip_bad = false;  // leave out a frame that is at fault, rather than throw
  bool strict = false;    // encrypting: a frame that would be copied in the clear is at fault
};

struct SkippedFrame {
  uint64_t number;
  std::string detail;
};

struct TranscodeCounts {
  // Skipped frames that are named; all are counted.
  static constexpr size_t kSkippedNamed = 1000;

  CaptureFormat format = CaptureFormat::kPcap;
  uint64_t frames = 0;                 // read
  uint64_t tunnel = 0, transport = 0;  // frames sealed or opened, by mode
  uint64_t copied = 0;
  std::map<std::string, uint64_t> copied_kinds;
  uint64_t skipped = 0;
  std::vector<SkippedFrame> skipped_frames;
  uint64_t completed = 0;       // frames sealed or opened whose checksum or length was left to an interface
  uint64_t padding_octets = 0;  // of link padding and frame check sequences, left out
  uint64_t left_out = 0;        // blocks that are no frames
  std::optional<uint64_t> next_iv;  // encrypting: that of a packet behind the last
};

// Both throw CaptureFault; what the sink has then taken is of no use.
TranscodeCounts encrypt_capture(Source& source, Sink& sink, CaptureKeys& keys, const SealOptions& options,
                                TranscodeRules rules = {});
TranscodeCounts decrypt_capture(Source& source, Sink& sink, CaptureKeys& keys, TranscodeRules rules = {});

}  // namespace psp
