// SPDX-License-Identifier: Apache-2.0
// A capture as a sequence of records: classic pcap (draft-ietf-opsawg-pcap) and pcapng
// (draft-ietf-opsawg-pcapng). Times are copied from record to record without conversion; time.h parses them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace psp {

// Longer frames (MAXIMUM_SNAPLEN of libpcap) and longer records are rejected.
inline constexpr size_t kMaxFrameLength = 262144;
inline constexpr size_t kMaxRecordLength = 1024 * 1024;

enum class CaptureFormat : uint8_t { kPcap, kPcapng };

// Integers of a file in the byte order of the machine that wrote it.
struct FileNumbers {
  bool swapped = false;  // the file has the other byte order than this machine

  uint16_t u16(const uint8_t* octets) const {
    uint16_t value;
    std::memcpy(&value, octets, sizeof value);
    return swapped ? __builtin_bswap16(value) : value;
  }
  uint32_t u32(const uint8_t* octets) const {
    uint32_t value;
    std::memcpy(&value, octets, sizeof value);
    return swapped ? __builtin_bswap32(value) : value;
  }
  void put_u32(uint8_t* octets, uint32_t value) const {
    if (swapped) value = __builtin_bswap32(value);
    std::memcpy(octets, &value, sizeof value);
  }
};

// Properties that the frames of an interface share; a pcap file has one interface.
struct CaptureInterface {
  uint16_t link_type = 0;    // LINKTYPE_ value
  uint32_t snap_length = 0;  // 0: none
  uint8_t fcs_length = 0;    // declared octets of frame check sequence after each frame
  uint8_t time_unit = 6;     // as if_tsresol: 10^-n seconds, or 2^-n with the top bit set
  int64_t time_offset = 0;   // seconds to be added
};

// Block types of pcapng.
namespace block {
inline constexpr uint32_t kSection = 0x0a0d0d0a;
inline constexpr uint32_t kInterface = 1;
inline constexpr uint32_t kPacket = 2;  // obsolete
inline constexpr uint32_t kSimplePacket = 3;
inline constexpr uint32_t kEnhancedPacket = 6;
}  // namespace block

// Fixed lengths and offsets in records.
inline constexpr size_t kPcapHeader = 24, kPcapSnapLength = 16, kPcapLinkType = 20, kPcapFrameHeader = 16;
inline constexpr size_t kBlockHeader = 8, kBlockTrailer = 4;
inline constexpr size_t kInterfaceOptions = 16, kInterfaceSnapLength = 12;
inline constexpr size_t kPacketHeader = 28, kSimplePacketHeader = 12;
inline constexpr uint16_t kOptionEnd = 0, kOptionTimeUnit = 9, kOptionFcsLength = 13, kOptionTimeOffset = 14;
// Options of frames. The flags contain the length of the frame check sequence in octets; 0 means that the
// length of the interface applies.
inline constexpr uint16_t kOptionFlags = 2, kOptionHash = 3;
inline constexpr uint32_t kFlagsFcsLength = 0x000001e0;
inline constexpr int kFlagsFcsShift = 5;

inline constexpr size_t padded(size_t length) {
  return (length + 3) & ~size_t{3};
}

// Calls visit(code, value, octets) for each option up to the end of options; `octets` is the whole option
// with its padding. Returns false if an option is longer than its container.
template <typename Visit>
bool visit_options(FileNumbers numbers, std::span<const uint8_t> options, Visit visit) {
  while (options.size() >= 4) {
    const uint16_t code = numbers.u16(options.data()), length = numbers.u16(options.data() + 2);
    if (code == kOptionEnd) return true;
    if (options.size() < 4 + padded(length)) return false;
    visit(code, options.subspan(4, length), options.first(4 + padded(length)));
    options = options.subspan(4 + padded(length));
  }
  return true;
}

struct CaptureRecord {
  enum class Kind : uint8_t {
    kSection,    // the header of a pcap file or of a pcapng section
    kInterface,  // pcapng only
    kFrame,
    kOther,  // any other block of pcapng; it is not parsed, octets is empty
  };

  Kind kind = Kind::kOther;
  CaptureFormat format = CaptureFormat::kPcap;
  FileNumbers numbers;
  uint32_t block_type = 0;          // pcapng
  std::span<const uint8_t> octets;  // the whole record as in the file

  // Of frames and of interfaces:
  const CaptureInterface* interface = nullptr;
  std::span<const uint8_t> options;  // pcapng

  // Of frames only:
  uint64_t number = 0;             // counted from 1
  std::span<const uint8_t> frame;  // captured octets, without frame check sequence
  uint32_t original_length = 0;    // on the wire, without frame check sequence

  bool is_truncated() const { return frame.size() < original_length; }
};

}  // namespace psp
