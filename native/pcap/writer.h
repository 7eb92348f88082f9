// SPDX-License-Identifier: Apache-2.0
// Writes a capture in the format of the one that is read: records as they came, or frames with other octets
// under their record's time, interface and options. Buffers; what is not flushed is not written.
#pragma once

#include <memory>

#include "pcap/record.h"
#include "pcap/source.h"

namespace psp {

class CaptureWriter {
 public:
  // Borrows the sink. Frames may come out up to `growth` octets longer than they came; snap lengths follow.
  // All methods throw CaptureFault (kWrite).
  CaptureWriter(Sink& sink, uint32_t growth);

  // A section or an interface. Lengths of sections are left open, and no frame check sequence is declared,
  // since frames come without.
  void describe(const CaptureRecord& record);
  // A frame with the octets that it has.
  void copy(const CaptureRecord& record);
  // A frame with other octets, at most kLongestFrame + growth; all of them.
  void replace(const CaptureRecord& record, std::span<const uint8_t> octets);
  void flush();

 private:
  void put_frame(const CaptureRecord& record, std::span<const uint8_t> octets, uint32_t original);
  void put_interface(const CaptureRecord& record);
  void put_options(const CaptureRecord& record, uint16_t left_out);
  uint32_t grown(uint32_t snap_length) const;

  // Room for a whole record in the buffer; put may then be called for it.
  void begin_record();
  void put(std::span<const uint8_t> octets);
  void put_u32(const CaptureRecord& record, uint32_t value);
  void put_padding(size_t length);
  // Ends the block that began at `start`: writes its length at both ends.
  void end_block(const CaptureRecord& record, size_t start);

  Sink& sink_;
  uint32_t growth_;
  std::unique_ptr<uint8_t[]> buffer_;
  size_t filled_ = 0;
};

}  // namespace psp
