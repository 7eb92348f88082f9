// SPDX-License-Identifier: Apache-2.0
// The buffer, format detection, and classic pcap. pcapng_reader.cc parses pcapng blocks.
#include "pcap/reader.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "pcap/fault.h"

namespace psp {

namespace {

// Octets per read; small enough that frames stay in the CPU cache until they are processed.
constexpr size_t kBuffer = kMaxRecordLength + kChunk;

constexpr uint32_t kMicroseconds = 0xa1b2c3d4, kNanoseconds = 0xa1b23c4d, kModified = 0xa1b2cd34;
constexpr uint16_t kMajor = 2, kMinor = 4;
constexpr uint8_t kGzip[] = {0x1f, 0x8b}, kZstd[] = {0x28, 0xb5, 0x2f, 0xfd};

// The upper bits of a pcap link type: whether an FCS length is given, and the length in units of 16 bits.
constexpr uint32_t kFcsGiven = 0x04000000;
constexpr int kFcsShift = 28;

template <size_t length>
bool begins_with(const uint8_t* octets, const uint8_t (&magic)[length]) {
  return std::equal(magic, magic + length, octets);
}

std::string unknown_format_detail(const uint8_t* octets) {
  if (begins_with(octets, kGzip) || begins_with(octets, kZstd))
    return "it is compressed; decompress it first";
  char text[80];
  std::snprintf(text, sizeof text,
                "its first octets are %02x %02x %02x %02x, so it is neither pcap nor pcapng", octets[0],
                octets[1], octets[2], octets[3]);
  return text;
}

}  // namespace

CaptureReader::CaptureReader(Source& source) : source_(source), buffer_(new uint8_t[kBuffer]) {
  if (!has(4)) fail(available() == 0 ? "it is empty" : "it ends in the middle of its header");
  for (const bool swapped : {false, true}) {
    numbers_.swapped = swapped;
    const uint32_t magic = numbers_.u32(at());
    if (magic == kMicroseconds || magic == kNanoseconds) return;
    if (magic == kModified) fail("it has the modified pcap format; convert it with editcap -F pcap");
    if (magic == block::kSection) {
      format_ = CaptureFormat::kPcapng;
      return;
    }
  }
  fail(unknown_format_detail(at()));
}

bool CaptureReader::next(CaptureRecord* record) {
  begin_ += std::exchange(current_length_, 0);
  *record = {};
  record->format = format_;
  if (format_ == CaptureFormat::kPcapng) {
    if (header_read_ && !has(1)) return false;
    read_block(record);
  } else if (!header_read_) {
    read_pcap_header(record);
  } else {
    if (!has(1)) return false;
    read_pcap_frame(record);
  }
  header_read_ = true;
  return true;
}

bool CaptureReader::has(size_t count) {
  if (available() >= count) return true;
  std::copy(buffer_.get() + begin_, buffer_.get() + end_, buffer_.get());
  end_ -= std::exchange(begin_, 0);
  while (end_ < count) {
    const size_t got = source_.read(buffer_.get() + end_, std::min(kChunk, kBuffer - end_));
    if (got == 0) return false;
    end_ += got;
  }
  return true;
}

void CaptureReader::need(size_t count) {
  if (has(count)) return;
  fail(header_read_ ? "it ends in the middle of a record; `editcap IN OUT` keeps the complete records"
                    : "it ends in the middle of its header");
}

void CaptureReader::skip(uint64_t count) {
  while (count > 0) {
    need(1);
    const size_t step = static_cast<size_t>(std::min<uint64_t>(count, available()));
    begin_ += step;
    count -= step;
  }
}

void CaptureReader::fail(const std::string& detail) const {
  const std::string place = frames_ > 0 ? "after frame " + std::to_string(frames_) + " " : "";
  throw CaptureFault(CaptureFaultKind::kMalformed, 0, place + detail);
}

void CaptureReader::read_pcap_header(CaptureRecord* record) {
  need(kPcapHeader);
  if (numbers_.u16(at() + 4) != kMajor || numbers_.u16(at() + 6) != kMinor) {
    fail("its pcap version is not 2.4; convert it with editcap -F pcap");
  }
  const uint32_t link = numbers_.u32(at() + kPcapLinkType);
  const uint32_t fcs = link & kFcsGiven ? (link >> kFcsShift) * 2 : 0;
  interfaces_.push_back({.link_type = static_cast<uint16_t>(link),
                         .snap_length = numbers_.u32(at() + kPcapSnapLength),
                         .fcs_length = static_cast<uint8_t>(fcs),
                         .time_unit = static_cast<uint8_t>(numbers_.u32(at()) == kNanoseconds ? 9 : 6)});
  record->kind = CaptureRecord::Kind::kSection;
  record->numbers = numbers_;
  record->octets = {at(), kPcapHeader};
  current_length_ = kPcapHeader;
}

void CaptureReader::read_pcap_frame(CaptureRecord* record) {
  need(kPcapFrameHeader);
  const uint32_t captured = numbers_.u32(at() + 8), original = numbers_.u32(at() + 12);
  if (captured > kMaxFrameLength) {
    fail("a frame has a length of " + std::to_string(captured) + " octets, above the maximum of 262144");
  }
  need(kPcapFrameHeader + captured);
  record->kind = CaptureRecord::Kind::kFrame;
  record->numbers = numbers_;
  record->octets = {at(), kPcapFrameHeader + captured};
  set_frame(record, 0, kPcapFrameHeader, captured, original);
  current_length_ = record->octets.size();
}

void CaptureReader::set_frame(CaptureRecord* record, uint32_t interface, size_t offset, uint32_t captured,
                              uint32_t original, std::optional<uint8_t> fcs) {
  if (interface >= interfaces_.size()) fail("a frame refers to an interface that the file does not describe");
  original = std::max(original, captured);
  record->kind = CaptureRecord::Kind::kFrame;
  record->number = ++frames_;
  record->interface = &interfaces_[interface];
  record->original_length =
      original - std::min<uint32_t>(original, fcs.value_or(record->interface->fcs_length));
  record->frame = record->octets.subspan(offset, std::min(captured, record->original_length));
}

}  // namespace psp
