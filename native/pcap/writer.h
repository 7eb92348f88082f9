// SPDX-License-Identifier: Apache-2.0
// Writes a capture in the format of the input: records unchanged, or frames with new octets under their
// record's time, interface and options. Output is buffered until flush.
#pragma once

#include <memory>

#include "pcap/record.h"
#include "pcap/source.h"

namespace psp {

class CaptureWriter {
 public:
  // Borrows the sink. Frames may grow by up to `max_growth` octets; snap lengths in the file are raised
  // accordingly. All methods throw CaptureFault (kWrite).
  CaptureWriter(Sink& sink, uint32_t max_growth);

  // Writes a section or an interface. The section length is written as unspecified, and no frame check
  // sequence is declared, as frames are written without it.
  void describe(const CaptureRecord& record);
  // Writes a frame unchanged.
  void copy(const CaptureRecord& record);
  // Writes a frame with new octets, at most kMaxFrameLength + max_growth.
  void replace(const CaptureRecord& record, std::span<const uint8_t> octets);
  void flush();

 private:
  void put_frame(const CaptureRecord& record, std::span<const uint8_t> octets, uint32_t original);
  void put_interface(const CaptureRecord& record);
  void put_options(const CaptureRecord& record, uint16_t omitted);
  uint32_t raised(uint32_t snap_length) const;

  // Ensures that the buffer has space for a whole record; the put functions may then be called for it.
  void begin_record();
  void put(std::span<const uint8_t> octets);
  void put_u32(const CaptureRecord& record, uint32_t value);
  void put_padding(size_t length);
  // Ends the block that began at `start`: writes its length at both ends.
  void end_block(const CaptureRecord& record, size_t start);

  Sink& sink_;
  uint32_t max_growth_;
  std::unique_ptr<uint8_t[]> buffer_;
  size_t filled_ = 0;
};

}  // namespace psp
