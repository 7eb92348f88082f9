// SPDX-License-Identifier: Apache-2.0
// Units finer than a nanosecond are truncated. Sums use 128 bits, as a file may contain any value.
#include "pcap/time.h"

namespace psp {

namespace {

using Wide = __int128;

constexpr Wide kSecond = 1'000'000'000;
constexpr uint8_t kBinary = 0x80;
constexpr size_t kTimeAt = 12;  // in a packet block: the upper half, then the lower

Wide in_nanoseconds(uint64_t count, uint8_t unit) {
  const int exponent = unit & ~kBinary;
  const Wide scaled = Wide{count} * kSecond;
  if (unit & kBinary) return scaled >> exponent;
  Wide divisor = 1;
  for (int i = 0; i < exponent && divisor <= scaled; ++i) divisor *= 10;
  return scaled / divisor;
}

}  // namespace

std::optional<uint64_t> captured_at_ns(const CaptureRecord& frame) {
  const uint8_t* const octets = frame.octets.data();
  Wide at = 0;
  if (frame.format == CaptureFormat::kPcap) {
    const Wide part = in_nanoseconds(frame.numbers.u32(octets + 4), frame.interface->time_unit);
    at = frame.numbers.u32(octets) * kSecond + part;
  } else if (frame.block_type == block::kSimplePacket) {
    return std::nullopt;
  } else {
    const uint64_t count =
        uint64_t{frame.numbers.u32(octets + kTimeAt)} << 32 | frame.numbers.u32(octets + kTimeAt + 4);
    at = in_nanoseconds(count, frame.interface->time_unit) + frame.interface->time_offset * kSecond;
  }
  if (at < 0 || at > Wide{UINT64_MAX}) return std::nullopt;
  return static_cast<uint64_t>(at);
}

}  // namespace psp
