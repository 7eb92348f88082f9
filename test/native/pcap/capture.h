// SPDX-License-Identifier: Apache-2.0
// Captures built octet by octet, in either byte order, and captures read back into plain values.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "pcap/fault.h"
#include "pcap/reader.h"
#include "psp/ip_packet.h"
#include "psp/octets.h"

namespace psp::test {

using Octets = std::vector<uint8_t>;

inline Octets operator+(Octets left, const Octets& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

// Builds the parts of capture files in one byte order.
struct CaptureBuilder {
  std::endian order = std::endian::little;

  Octets number(uint32_t value, size_t width) const {
    Octets octets(width);
    for (size_t i = 0; i < width; i++) {
      const size_t shift = order == std::endian::little ? i : width - 1 - i;
      octets[i] = static_cast<uint8_t>(value >> (8 * shift));
    }
    return octets;
  }
  Octets u16(uint16_t value) const { return number(value, 2); }
  Octets u32(uint32_t value) const { return number(value, 4); }

  Octets pcap_header(uint32_t link_type = 1, uint32_t snap_length = 65535,
                     uint32_t magic = 0xa1b2c3d4) const {
    return u32(magic) + u16(2) + u16(4) + u32(0) + u32(0) + u32(snap_length) + u32(link_type);
  }
  // `original` 0: the frame was not truncated.
  Octets pcap_frame(const Octets& frame, uint32_t original = 0) const {
    const auto captured = static_cast<uint32_t>(frame.size());
    return u32(1700000000) + u32(999999999) + u32(captured) + u32(original ? original : captured) + frame;
  }

  Octets block(uint32_t type, Octets body) const {
    body.resize(padded(body.size()));
    const Octets length = u32(static_cast<uint32_t>(body.size() + 12));
    return u32(type) + length + body + length;
  }
  Octets section() const {
    return block(0x0a0d0d0a, u32(0x1a2b3c4d) + u16(1) + u16(0) + u32(0xffffffff) + u32(0xffffffff));
  }
  Octets option(uint16_t code, Octets value) const {
    const auto length = static_cast<uint16_t>(value.size());
    value.resize(padded(value.size()));
    return u16(code) + u16(length) + value;
  }
  Octets interface(uint16_t link_type = 1, uint32_t snap_length = 0, const Octets& options = {}) const {
    return block(1, u16(link_type) + u16(0) + u32(snap_length) + options);
  }
  Octets enhanced(const Octets& frame, uint32_t interface = 0, const Octets& options = {},
                  uint32_t original = 0) const {
    return block(6, u32(interface) + packet(frame, options, original));
  }
  Octets obsolete(const Octets& frame, uint16_t interface = 0, const Octets& options = {}) const {
    return block(2, u16(interface) + u16(7) + packet(frame, options, 0));
  }
  Octets simple(const Octets& frame, uint32_t original = 0) const {
    return block(3, u32(original ? original : static_cast<uint32_t>(frame.size())) + frame);
  }

 private:
  Octets packet(Octets frame, const Octets& options, uint32_t original) const {
    const auto captured = static_cast<uint32_t>(frame.size());
    frame.resize(padded(frame.size()));
    return u32(0x00060b2a) + u32(0x7f3c5d11) + u32(captured) + u32(original ? original : captured) + frame +
           options;
  }
};

inline constexpr CaptureBuilder kBothOrders[] = {{std::endian::little}, {std::endian::big}};

struct ReadFrame {
  uint64_t number;
  Octets octets;
  uint32_t original;
  uint16_t link_type;
};

struct ReadCapture {
  CaptureFormat format = CaptureFormat::kPcap;
  std::vector<ReadFrame> frames;
  size_t sections = 0, interfaces = 0, others = 0;
  std::string fault;  // why reading stopped
};

// Returns a few octets per read, as a pipe may.
class SlowSource : public Source {
 public:
  SlowSource(std::span<const uint8_t> octets, size_t step) : memory_(octets), step_(step) {}
  size_t read(uint8_t* into, size_t capacity) override {
    return memory_.read(into, std::min(capacity, step_));
  }

 private:
  MemorySource memory_;
  size_t step_;
};

inline ReadCapture read_all(Source& source) {
  ReadCapture capture;
  try {
    CaptureReader reader(source);
    capture.format = reader.format();
    for (CaptureRecord record; reader.next(&record);) {
      switch (record.kind) {
        case CaptureRecord::Kind::kSection:
          capture.sections++;
          break;
        case CaptureRecord::Kind::kInterface:
          capture.interfaces++;
          break;
        case CaptureRecord::Kind::kOther:
          capture.others++;
          break;
        case CaptureRecord::Kind::kFrame:
          capture.frames.push_back({record.number, Octets(record.frame.begin(), record.frame.end()),
                                    record.original_length, record.interface->link_type});
      }
    }
  } catch (const CaptureFault& fault) {
    capture.fault = fault.detail;
  }
  return capture;
}

inline ReadCapture read_all(const Octets& file) {
  MemorySource source(file);
  return read_all(source);
}

inline Octets udp4(uint16_t source, uint16_t destination, size_t payload, uint16_t fragment = 0x4000) {
  Octets packet(28 + payload);
  const Octets header = {0x45, 0, 0, 0, 0, 7, 0, 0, 61, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2};
  std::copy(header.begin(), header.end(), packet.begin());
  store_u16(packet.data() + 2, static_cast<uint16_t>(packet.size()));
  store_u16(packet.data() + 6, fragment);
  write_ipv4_checksum(packet.data());
  store_u16(packet.data() + 20, source);
  store_u16(packet.data() + 22, destination);
  store_u16(packet.data() + 24, static_cast<uint16_t>(8 + payload));
  for (size_t i = 0; i < payload; i++) packet[28 + i] = static_cast<uint8_t>(i * 7 + 1);
  return packet;
}

inline Octets udp6(uint16_t source, uint16_t destination, size_t payload) {
  Octets packet(48 + payload);
  packet[0] = 0x60;
  store_u16(packet.data() + 4, static_cast<uint16_t>(8 + payload));
  packet[6] = 17;
  packet[7] = 62;
  packet[8] = packet[24] = 0xfd;
  packet[23] = 1;
  packet[39] = 2;
  store_u16(packet.data() + 40, source);
  store_u16(packet.data() + 42, destination);
  store_u16(packet.data() + 44, static_cast<uint16_t>(8 + payload));
  for (size_t i = 0; i < payload; i++) packet[48 + i] = static_cast<uint8_t>(i * 5 + 2);
  return packet;
}

// `tags`: VLAN tags of 4 octets before the EtherType.
inline Octets ethernet(const Octets& packet, const Octets& tags = {}, std::optional<uint16_t> type = {}) {
  const uint16_t ether_type = type.value_or(packet[0] >> 4 == 4 ? 0x0800 : 0x86dd);
  const Octets addresses = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
  return addresses + tags + Octets{static_cast<uint8_t>(ether_type >> 8), static_cast<uint8_t>(ether_type)} +
         packet;
}

inline Octets arp() {
  return ethernet(Octets(28, 9), {}, 0x0806);
}

}  // namespace psp::test
