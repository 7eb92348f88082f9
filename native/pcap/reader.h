// SPDX-License-Identifier: Apache-2.0
// Reads a capture record by record in one buffer of fixed size, however long the file is, and believes none
// of its lengths. Byte order and format are the file's; a pcapng file may change its byte order with each
// section.
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
  // Borrows the source. Reads as far as the format shows. Throws CaptureFault (kMalformed, kRead), like next.
  explicit CaptureReader(Source& source);

  CaptureFormat format() const { return format_; }

  // The next record, or false at the end of the file. What it points at is lent until the next call. After a
  // throw the reader is of no further use.
  bool next(CaptureRecord* record);

 private:
  // Whether `count` octets, at most kLongestRecord, lie in the buffer from at(), read if need be.
  bool have(size_t count);
  const uint8_t* at() const { return buffer_.get() + begin_; }
  size_t there() const { return end_ - begin_; }
  // Octets that the next record says it has; throws where they do not all follow.
  void need(size_t count);
  void skip(uint64_t count);
  [[noreturn]] void refuse(const std::string& detail) const;

  void read_pcap_header(CaptureRecord* record);
  void read_pcap_frame(CaptureRecord* record);
  void read_block(CaptureRecord* record);
  void read_section(CaptureRecord* record);
  void read_interface(CaptureRecord* record);
  void read_packet(CaptureRecord* record);
  void read_simple_packet(CaptureRecord* record);
  // Sets what all kinds of frames share; the record holds `captured` octets from `offset`. `fcs`: octets of
  // frame check sequence, where the record says so itself.
  void set_frame(CaptureRecord* record, uint32_t interface, size_t offset, uint32_t captured,
                 uint32_t original, std::optional<uint8_t> fcs = {});

  Source& source_;
  std::unique_ptr<uint8_t[]> buffer_;
  size_t begin_ = 0, end_ = 0;
  size_t lent_ = 0;  // octets of the record given last
  CaptureFormat format_ = CaptureFormat::kPcap;
  FileNumbers numbers_;
  bool began_ = false;
  uint64_t frames_ = 0;
  std::vector<CaptureInterface> interfaces_;
};

}  // namespace psp
