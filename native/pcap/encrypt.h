// SPDX-License-Identifier: Apache-2.0
// Encrypts the frames of a capture under one SPI.
#pragma once

#include <memory>
#include <optional>

#include "pcap/frame_fate.h"
#include "pcap/keys.h"
#include "pcap/record.h"
#include "psp/address.h"
#include "psp/ip_packet.h"
#include "psp/mode.h"

namespace psp {

// Checked by the caller: spi not reserved, version known, crypt_offset within 6 bits and 0 in
// versions 2 and 3, outer addresses of one family and with tunnel mode only.
struct SealOptions {
  uint32_t spi = 0;
  uint8_t version = 0;
  Mode mode = Mode::kTunnel;
  uint8_t crypt_offset = 0;  // the header field: 4-octet units from the end of the IV
  std::optional<uint64_t> cookie;
  uint64_t iv = 1;  // of the first frame that is sealed
  struct Ends {
    Address source, destination;
  };
  std::optional<Ends> outer;  // without it those of each packet
};

class FrameSealer {
 public:
  // Octets by which a frame grows, at most.
  static uint32_t growth();

  // Borrows the keys.
  FrameSealer(CaptureKeys& keys, const SealOptions& options);

  // The frame with its IP packet sealed. A frame without IP is copied. Throws CaptureFault: kNotSealed, and
  // kNoIv where no IV is left for it.
  FrameFate seal(const CaptureRecord& record);

  // IV of the next packet; none after the last one that 64 bits have.
  std::optional<uint64_t> next_iv() const { return iv_; }

 private:
  uint8_t* seal_packet(const CaptureRecord& record, const IpPacket& packet, uint8_t* octets);

  CaptureKeys& keys_;
  SealOptions options_;
  std::optional<uint64_t> iv_;
  std::unique_ptr<uint8_t[]> scratch_;
};

}  // namespace psp
