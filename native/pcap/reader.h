// SPDX-License-Identifier: Apache-2.0
// Reads a capture record by record in one buffer of fixed size, however long the file is, and trusts none of
// its lengths. Format and byte order are those of the file; in pcapng each section has its own byte order.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pcap/record.h"
#include "pcap/source.h"

namespace psp {

class CaptureReader {
 public:
  // Borrows the source and reads the first octets to detect the format. Throws CaptureFault (kMalformed,
  // kRead), like next.
  explicit CaptureReader(Source& source);

  CaptureFormat format() const { return format_; }

  // Reads the next record; returns false at the end of the file. The spans of the record are valid until the
  // next call. After an exception the reader must not be used.
  bool next(CaptureRecord* record);

 private:
  // Reads until `count` octets, at most kMaxRecordLength, are in the buffer from at(). Returns false if the
  // file ends before.
  bool has(size_t count);
  const uint8_t* at() const { return buffer_.get() + begin_; }
  size_t available() const { return end_ - begin_; }
  // Like has, but throws if the file ends before.
  void need(size_t count);
  void skip(uint64_t count);
  [[noreturn]] void fail(const std::string& detail) const;

  void read_pcap_header(CaptureRecord* record);
  void read_pcap_frame(CaptureRecord* record);
  void read_block(CaptureRecord* record);
  void read_section(CaptureRecord* record);
  void read_interface(CaptureRecord* record);
  void read_packet(CaptureRecord* record);
  void read_simple_packet(CaptureRecord* record);
  // Sets what all kinds of frames share; the record has `captured` octets at `offset`. `fcs`: octets of the
  // frame check sequence, if the record itself gives it.
  void set_frame(CaptureRecord* record, uint32_t interface, size_t offset, uint32_t captured,
                 uint32_t original, std::optional<uint8_t> fcs = {});

  Source& source_;
  std::unique_ptr<uint8_t[]> buffer_;
  size_t begin_ = 0, end_ = 0;
  size_t current_length_ = 0;  // octets of the record that was returned last
  CaptureFormat format_ = CaptureFormat::kPcap;
  FileNumbers numbers_;
  bool header_read_ = false;
  uint64_t frames_ = 0;
  std::vector<CaptureInterface> interfaces_;
};

}  // namespace psp
