// SPDX-License-Identifier: Apache-2.0
// The blocks of pcapng. Sections, interfaces and frames are parsed; every other block is skipped, whatever
// its type and length.
#include <algorithm>
#include <bit>

#include "pcap/fault.h"
#include "pcap/reader.h"

namespace psp {

namespace {

constexpr uint32_t kByteOrder = 0x1a2b3c4d;
constexpr uint16_t kMajor = 1;
constexpr size_t kMinSectionLength = 28, kMinInterfaceLength = 20;
constexpr size_t kMaxInterfaces = 65536;
constexpr uint8_t kMaxFcsOctets = 8;

bool is_parsed(uint32_t type) {
  return type == block::kSection || type == block::kInterface || type == block::kPacket ||
         type == block::kSimplePacket || type == block::kEnhancedPacket;
}

// Some writers give the length of the frame check sequence in bits.
uint8_t fcs_octets(uint8_t value) {
  return value <= kMaxFcsOctets ? value : value / 8;
}

uint64_t read_u64(FileNumbers numbers, const uint8_t* octets) {
  const uint64_t first = numbers.u32(octets), second = numbers.u32(octets + 4);
  const bool big_endian = numbers.swapped == (std::endian::native == std::endian::little);
  return big_endian ? first << 32 | second : second << 32 | first;
}

// Reads the options of an interface. Returns false if an option is longer than its block.
bool read_interface_options(FileNumbers numbers, std::span<const uint8_t> options,
                            CaptureInterface* interface) {
  return visit_options(numbers, options, [&](uint16_t code, std::span<const uint8_t> value, auto) {
    if (code == kOptionFcsLength && !value.empty()) interface->fcs_length = fcs_octets(value[0]);
    if (code == kOptionTimeUnit && !value.empty()) interface->time_unit = value[0];
    if (code == kOptionTimeOffset && value.size() >= 8) {
      interface->time_offset = static_cast<int64_t>(read_u64(numbers, value.data()));
    }
  });
}

// Sets *fcs if the flags of a frame give the length of its frame check sequence. Returns false if an option
// is longer than its block.
bool read_frame_options(FileNumbers numbers, std::span<const uint8_t> options, std::optional<uint8_t>* fcs) {
  return visit_options(numbers, options, [&](uint16_t code, std::span<const uint8_t> value, auto) {
    if (code != kOptionFlags || value.size() < 4) return;
    const uint32_t length = (numbers.u32(value.data()) & kFlagsFcsLength) >> kFlagsFcsShift;
    if (length != 0) *fcs = static_cast<uint8_t>(length);
  });
}

}  // namespace

void CaptureReader::read_block(CaptureRecord* record) {
  need(kBlockHeader + 4);
  if (numbers_.u32(at()) == block::kSection) {
    // The length of a section header has the byte order of the section that begins.
    numbers_.swapped = false;
    if (numbers_.u32(at() + kBlockHeader) != kByteOrder) numbers_.swapped = true;
    if (numbers_.u32(at() + kBlockHeader) != kByteOrder) fail("a section has an invalid byte-order magic");
  }
  const uint32_t type = numbers_.u32(at()), length = numbers_.u32(at() + 4);
  if (length < kBlockHeader + kBlockTrailer || length % 4 != 0) {
    fail("a block has an impossible length of " + std::to_string(length) + " octets");
  }
  record->block_type = type;
  record->numbers = numbers_;
  if (!is_parsed(type)) return skip(length);
  if (length > kMaxRecordLength) {
    fail("a block has a length of " + std::to_string(length) + " octets, above the maximum of 1048576");
  }
  need(length);
  if (numbers_.u32(at() + length - kBlockTrailer) != length) fail("the two lengths of a block differ");
  record->octets = {at(), length};
  current_length_ = length;
  switch (type) {
    case block::kSection:
      return read_section(record);
    case block::kInterface:
      return read_interface(record);
    case block::kSimplePacket:
      return read_simple_packet(record);
    default:
      return read_packet(record);
  }
}

void CaptureReader::read_section(CaptureRecord* record) {
  if (record->octets.size() < kMinSectionLength || numbers_.u16(at() + 12) != kMajor) {
    fail("a section has an unsupported pcapng version");
  }
  record->kind = CaptureRecord::Kind::kSection;
  interfaces_.clear();
}

void CaptureReader::read_interface(CaptureRecord* record) {
  const std::span<const uint8_t> octets = record->octets;
  if (octets.size() < kMinInterfaceLength) fail("an interface block is too short");
  if (interfaces_.size() == kMaxInterfaces) fail("it has more than 65536 interfaces");
  record->kind = CaptureRecord::Kind::kInterface;
  record->options = octets.subspan(kInterfaceOptions, octets.size() - kInterfaceOptions - kBlockTrailer);
  interfaces_.push_back({.link_type = numbers_.u16(at() + kBlockHeader),
                         .snap_length = numbers_.u32(at() + kInterfaceSnapLength)});
  if (!read_interface_options(numbers_, record->options, &interfaces_.back()))
    fail("an option of an interface is longer than its block");
  record->interface = &interfaces_.back();
}

void CaptureReader::read_packet(CaptureRecord* record) {
  const std::span<const uint8_t> octets = record->octets;
  if (octets.size() < kPacketHeader + kBlockTrailer) fail("a packet block is too short");
  const uint32_t captured = numbers_.u32(at() + 20), original = numbers_.u32(at() + 24);
  const size_t capacity = octets.size() - kPacketHeader - kBlockTrailer;
  if (captured > kMaxFrameLength || padded(captured) > capacity) {
    fail("a frame has a length of " + std::to_string(captured) + " octets, more than its block contains");
  }
  const bool obsolete = record->block_type == block::kPacket;
  const uint32_t interface = obsolete ? numbers_.u16(at() + kBlockHeader) : numbers_.u32(at() + kBlockHeader);
  record->options = octets.subspan(kPacketHeader + padded(captured), capacity - padded(captured));
  std::optional<uint8_t> fcs;
  if (!read_frame_options(numbers_, record->options, &fcs))
    fail("an option of a frame is longer than its block");
  set_frame(record, interface, kPacketHeader, captured, original, fcs);
}

void CaptureReader::read_simple_packet(CaptureRecord* record) {
  const std::span<const uint8_t> octets = record->octets;
  if (octets.size() < kSimplePacketHeader + kBlockTrailer) fail("a packet block is too short");
  if (interfaces_.empty()) fail("a frame refers to an interface that the file does not describe");
  const uint32_t original = numbers_.u32(at() + kBlockHeader);
  const uint32_t snap_length = interfaces_.front().snap_length;
  const uint32_t captured = snap_length == 0 ? original : std::min(original, snap_length);
  const size_t capacity = octets.size() - kSimplePacketHeader - kBlockTrailer;
  if (captured > kMaxFrameLength || captured > capacity) {
    fail("a frame has a length of " + std::to_string(captured) + " octets, more than its block contains");
  }
  if (padded(captured) < capacity) {
    fail("a frame has a length of " + std::to_string(captured) + " octets, but its block contains " +
         std::to_string(capacity));
  }
  set_frame(record, 0, kSimplePacketHeader, captured, original);
}

}  // namespace psp
