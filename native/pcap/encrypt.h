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

// The caller has checked that spi is not reserved, version is known, crypt_offset fits 6 bits and is 0 in
// versions 2 and 3, and that outer addresses are of one family and given in tunnel mode only.
struct SealOptions {
  uint32_t spi = 0;
  uint8_t version = 0;
  Mode mode = Mode::kTunnel;
  uint8_t crypt_offset = 0;  // the header field: 4-octet units from the end of the IV
  std::optional<uint64_t> cookie;
  uint64_t iv = 1;  // IV of the first frame that is sealed
  struct OuterAddresses {
    Address source, destination;
  };
  std::optional<OuterAddresses> outer;  // absent: the addresses of each packet
};

class FrameSealer {
 public:
  // The maximum number of octets by which a frame grows.
  static uint32_t max_growth();

  // Borrows the keys.
  FrameSealer(CaptureKeys& keys, const SealOptions& options);

  // Returns the frame with its IP packet sealed. A frame without IP is copied. Throws CaptureFault:
  // kNotSealed, or kNoIv if no IV is left.
  FrameFate seal(const CaptureRecord& record);

  // IV of the next packet; absent after the last 64-bit value.
  std::optional<uint64_t> next_iv() const { return iv_; }

 private:
  uint8_t* seal_packet(const CaptureRecord& record, const IpPacket& packet, uint8_t* octets);

  CaptureKeys& keys_;
  SealOptions options_;
  std::optional<uint64_t> iv_;
  std::unique_ptr<uint8_t[]> scratch_;
};

}  // namespace psp
