// SPDX-License-Identifier: Apache-2.0
// The blocks of pcapng. Sections, interfaces and frames are read; every other block is passed over, whatever
// it is and however long it says it is.
#include <algorithm>
#include <bit>

#include "pcap/fault.h"
#include "pcap/reader.h"

namespace psp {

namespace {

constexpr uint32_t kByteOrder = 0x1a2b3c4d;
constexpr uint16_t kMajor = 1;
constexpr size_t kSectionAtLeast = 28, kInterfaceAtLeast = 20;
constexpr size_t kInterfacesAtMost = 65536;
constexpr uint8_t kFcsOctetsAtMost = 8;

bool is_read(uint32_t type) {
  return type == block::kSection || type == block::kInterface || type == block::kPacket ||
         type == block::kSimplePacket || type == block::kEnhancedPacket;
}

// Some writers give the length of the frame check sequence in bits.
uint8_t fcs_octets(uint8_t value) {
  return value <= kFcsOctetsAtMost ? value : value / 8;
}

uint64_t read_u64(FileNumbers numbers, const uint8_t* octets) {
  const uint64_t first = numbers.u32(octets), second = numbers.u32(octets + 4);
  const bool big_endian = numbers.swapped == (std::endian::native == std::endian::little);
  return big_endian ? first << 32 | second : second << 32 | first;
}

// What the options of an interface say of its frames. False where one is longer than its block.
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

// Sets *fcs where the flags of a frame say how long its frame check sequence is.
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
    // The length is to be read in the byte order of the section that begins.
    numbers_.swapped = false;
    if (numbers_.u32(at() + kBlockHeader) != kByteOrder) numbers_.swapped = true;
    if (numbers_.u32(at() + kBlockHeader) != kByteOrder) refuse("a section has no byte order");
  }
  const uint32_t type = numbers_.u32(at()), length = numbers_.u32(at() + 4);
  if (length < kBlockHeader + kBlockTrailer || length % 4 != 0) {
    refuse("a block says that it is " + std::to_string(length) + " octets long, as none can be");
  }
  record->block_type = type;
  record->numbers = numbers_;
  if (!is_read(type)) return skip(length);
  if (length > kLongestRecord) {
    refuse("a block says that it is " + std::to_string(length) + " octets long, more than any is");
  }
  need(length);
  if (numbers_.u32(at() + length - kBlockTrailer) != length) refuse("a block ends with another length");
  record->octets = {at(), length};
  lent_ = length;
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
  if (record->octets.size() < kSectionAtLeast || numbers_.u16(at() + 12) != kMajor) {
    refuse("a section is of a version of pcapng that is not known");
  }
  record->kind = CaptureRecord::Kind::kSection;
  interfaces_.clear();
}

void CaptureReader::read_interface(CaptureRecord* record) {
  const std::span<const uint8_t> octets = record->octets;
  if (octets.size() < kInterfaceAtLeast) refuse("an interface is shorter than any is");
  if (interfaces_.size() == kInterfacesAtMost) refuse("it has more than 65536 interfaces");
  record->kind = CaptureRecord::Kind::kInterface;
  record->options = octets.subspan(kInterfaceOptions, octets.size() - kInterfaceOptions - kBlockTrailer);
  interfaces_.push_back({.link_type = numbers_.u16(at() + kBlockHeader),
                         .snap_length = numbers_.u32(at() + kInterfaceSnapLength)});
  if (!read_interface_options(numbers_, record->options, &interfaces_.back()))
    refuse("an option of an interface is longer than its block");
  record->interface = &interfaces_.back();
}

void CaptureReader::read_packet(CaptureRecord* record) {
  const std::span<const uint8_t> octets = record->octets;
  if (octets.size() < kPacketHeader + kBlockTrailer) refuse("a frame's block is shorter than any is");
  const uint32_t captured = numbers_.u32(at() + 20), original = numbers_.u32(at() + 24);
  const size_t room = octets.size() - kPacketHeader - kBlockTrailer;
  if (captured > kLongestFrame || padded(captured) > room) {
    refuse("a frame says that it is " + std::to_string(captured) + " octets long, more than its block holds");
  }
  const bool obsolete = record->block_type == block::kPacket;
  const uint32_t interface = obsolete ? numbers_.u16(at() + kBlockHeader) : numbers_.u32(at() + kBlockHeader);
  record->options = octets.subspan(kPacketHeader + padded(captured), room - padded(captured));
  std::optional<uint8_t> fcs;
  if (!read_frame_options(numbers_, record->options, &fcs))
    refuse("an option of a frame is longer than its block");
  set_frame(record, interface, kPacketHeader, captured, original, fcs);
}

void CaptureReader::read_simple_packet(CaptureRecord* record) {
  const std::span<const uint8_t> octets = record->octets;
  if (octets.size() < kSimplePacketHeader + kBlockTrailer) refuse("a frame's block is shorter than any is");
  if (interfaces_.empty()) refuse("a frame is of an interface that the file does not describe");
  const uint32_t original = numbers_.u32(at() + kBlockHeader);
  const uint32_t snap_length = interfaces_.front().snap_length;
  const uint32_t captured = snap_length == 0 ? original : std::min(original, snap_length);
  const size_t room = octets.size() - kSimplePacketHeader - kBlockTrailer;
  if (captured > kLongestFrame || captured > room) {
    refuse("a frame says that it is " + std::to_string(captured) + " octets long, more than its block holds");
  }
  if (padded(captured) < room) {
    refuse("a frame says that it is " + std::to_string(captured) + " octets long, but its block holds " +
           std::to_string(room));
  }
  set_frame(record, 0, kSimplePacketHeader, captured, original);
}

}  // namespace psp
