// SPDX-License-Identifier: Apache-2.0
// Captures in memory, encrypted and decrypted.
#pragma once

#include "capture.h"
#include "pcap/transcode.h"

namespace psp::test {

inline constexpr uint8_t kMasterKeys[kMasterKeysLength] = {1, 2, 3, 4, 5, 6, 7, 8};

struct Result {
  TranscodeCounts counts;
  Octets octets;
  std::string fault;
  uint64_t frame = 0;

  std::vector<ReadFrame> frames() const { return read_all(octets).frames; }
};

inline Result run(const Octets& file, const std::optional<SealOptions>& seal,
                  std::span<const uint8_t, kMasterKeysLength> master_keys = kMasterKeys,
                  TranscodeRules rules = {}) {
  // Created once, because locked memory for many keys takes longer than a small capture.
  static CaptureKeys default_keys(kMasterKeys);
  std::optional<CaptureKeys> other_keys;
  if (master_keys.data() != kMasterKeys) other_keys.emplace(master_keys);
  CaptureKeys& keys = other_keys ? *other_keys : default_keys;
  MemorySource source(file);
  MemorySink sink;
  Result result;
  try {
    result.counts =
        seal ? encrypt_capture(source, sink, keys, *seal, rules) : decrypt_capture(source, sink, keys, rules);
    result.octets = std::move(sink.octets);
  } catch (const CaptureFault& fault) {
    result.fault = fault.detail;
    result.frame = fault.frame;
  }
  return result;
}

inline Result run(const Octets& file, const std::optional<SealOptions>& seal, TranscodeRules rules) {
  return run(file, seal, kMasterKeys, rules);
}

inline SealOptions options(Mode mode = Mode::kTunnel, uint8_t version = 0) {
  SealOptions seal;
  seal.spi = 0x1a345678;
  seal.mode = mode;
  seal.version = version;
  return seal;
}

inline Octets capture_of(std::initializer_list<Octets> frames, uint32_t link_type = 1) {
  const CaptureBuilder builder;
  Octets file = builder.pcap_header(link_type, 0);
  for (const Octets& frame : frames) file = file + builder.pcap_frame(frame);
  return file;
}

// The PSP header after Ethernet, IP without options, and UDP.
inline const uint8_t* psp_of(const Octets& frame) {
  return frame.data() + 14 + (frame[14] >> 4 == 4 ? 20 : 40) + 8;
}

}  // namespace psp::test
