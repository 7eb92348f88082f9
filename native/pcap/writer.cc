// SPDX-License-Identifier: Apache-2.0
// Every record is assembled in the buffer, which is written to the sink when it may not have space for
// another record.
#include "pcap/writer.h"

#include <algorithm>
#include <climits>
#include <cstring>

namespace psp {

namespace {

// A record is at most as long as the longest one that is read plus the longest frame; max_growth is small
// compared to the latter.
constexpr size_t kBuffer = kChunk + kMaxRecordLength + 2 * kMaxFrameLength;

constexpr size_t kSectionLength = 16;  // offset of the length of a section
constexpr size_t kTimes = 8;           // octets of the time of a pcap frame

}  // namespace

CaptureWriter::CaptureWriter(Sink& sink, uint32_t max_growth)
    : sink_(sink), max_growth_(max_growth), buffer_(new uint8_t[kBuffer]) {}

void CaptureWriter::describe(const CaptureRecord& record) {
  begin_record();
  if (record.kind == CaptureRecord::Kind::kInterface) return put_interface(record);
  uint8_t* const start = buffer_.get() + filled_;
  put(record.octets);
  if (record.format == CaptureFormat::kPcapng) {
    std::memset(start + kSectionLength, 0xff, 8);
    return;
  }
  const uint32_t snap_length = record.numbers.u32(start + kPcapSnapLength);
  const uint32_t link_type = record.numbers.u32(start + kPcapLinkType);
  record.numbers.put_u32(start + kPcapSnapLength, raised(snap_length));
  record.numbers.put_u32(start + kPcapLinkType, link_type & 0xffff);
}

void CaptureWriter::copy(const CaptureRecord& record) {
  uint32_t original = record.original_length;
  // A simple packet block contains one length only; the snap length implies the other, and it was raised.
  if (record.block_type == block::kSimplePacket && max_growth_ > 0) {
    original = static_cast<uint32_t>(record.frame.size());
  }
  put_frame(record, record.frame, original);
}

void CaptureWriter::replace(const CaptureRecord& record, std::span<const uint8_t> octets) {
  put_frame(record, octets, static_cast<uint32_t>(octets.size()));
}

void CaptureWriter::flush() {
  sink_.write({buffer_.get(), filled_});
  filled_ = 0;
}

void CaptureWriter::put_frame(const CaptureRecord& record, std::span<const uint8_t> octets,
                              uint32_t original) {
  begin_record();
  const size_t start = filled_;
  const auto captured = static_cast<uint32_t>(octets.size());
  if (record.format == CaptureFormat::kPcap) {
    put(record.octets.first(kTimes));
    put_u32(record, captured);
    put_u32(record, original);
    return put(octets);
  }
  if (record.block_type == block::kSimplePacket) {
    put(record.octets.first(kBlockHeader));
    put_u32(record, original);
    put(octets);
    put_padding(octets.size());
  } else {
    put(record.octets.first(kPacketHeader - 8));
    put_u32(record, captured);
    put_u32(record, original);
    put(octets);
    put_padding(octets.size());
    put_options(record, kOptionHash);
  }
  end_block(record, start);
}

void CaptureWriter::put_interface(const CaptureRecord& record) {
  const size_t start = filled_;
  put(record.octets.first(kInterfaceSnapLength));
  put_u32(record, raised(record.interface->snap_length));
  put_options(record, kOptionFcsLength);
  end_block(record, start);
}

// Writes all options except those with the code `omitted`. The flags of a frame lose the length of the frame
// check sequence, which the frame no longer has.
void CaptureWriter::put_options(const CaptureRecord& record, uint16_t omitted) {
  const FileNumbers numbers = record.numbers;
  bool any = false;
  visit_options(numbers, record.options, [&](uint16_t code, auto value, std::span<const uint8_t> option) {
    if (code == omitted) return;
    any = true;
    put(option);
    if (record.kind != CaptureRecord::Kind::kFrame || code != kOptionFlags || value.size() < 4) return;
    uint8_t* const flags = buffer_.get() + filled_ - option.size() + 4;
    numbers.put_u32(flags, numbers.u32(flags) & ~kFlagsFcsLength);
  });
  if (any) put_u32(record, kOptionEnd);
}

uint32_t CaptureWriter::raised(uint32_t snap_length) const {
  if (snap_length == 0) return 0;
  return static_cast<uint32_t>(std::min<uint64_t>(uint64_t{snap_length} + max_growth_, INT_MAX));
}

void CaptureWriter::begin_record() {
  if (filled_ >= kChunk) flush();
}

void CaptureWriter::put(std::span<const uint8_t> octets) {
  std::copy(octets.begin(), octets.end(), buffer_.get() + filled_);
  filled_ += octets.size();
}

void CaptureWriter::put_u32(const CaptureRecord& record, uint32_t value) {
  record.numbers.put_u32(buffer_.get() + filled_, value);
  filled_ += sizeof value;
}

void CaptureWriter::put_padding(size_t length) {
  std::memset(buffer_.get() + filled_, 0, padded(length) - length);
  filled_ += padded(length) - length;
}

void CaptureWriter::end_block(const CaptureRecord& record, size_t start) {
  const auto length = static_cast<uint32_t>(filled_ + kBlockTrailer - start);
  put_u32(record, length);
  record.numbers.put_u32(buffer_.get() + start + 4, length);
}

}  // namespace psp
