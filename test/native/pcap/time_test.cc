// SPDX-License-Identifier: Apache-2.0
// Times of frames in both formats, in every unit that a file may count them in.
#include "pcap/time.h"

#include <gtest/gtest.h>

#include "capture.h"

namespace psp::test {
namespace {

// In the units of the file: what Ends writes into every frame.
constexpr uint64_t kSeconds = 1700000000, kPart = 999999999, kCount = 0x00060b2a7f3c5d11;

std::optional<uint64_t> time_of(const Octets& file) {
  MemorySource source(file);
  CaptureReader reader(source);
  for (CaptureRecord record; reader.next(&record);) {
    if (record.kind == CaptureRecord::Kind::kFrame) return captured_at_ns(record);
  }
  return std::nullopt;
}

Octets pcapng(const Ends& ends, const Octets& options) {
  return ends.section() + ends.interface(1, 0, options) + ends.enhanced(Octets(4, 1));
}

TEST(CaptureTime, IsReadFromPcapInItsResolution) {
  for (const Ends& ends : kBothEnds) {
    const Octets frame = ends.pcap_frame(Octets(4, 1));
    EXPECT_EQ(time_of(ends.pcap_header() + frame), kSeconds * 1'000'000'000 + kPart * 1000);
    EXPECT_EQ(time_of(ends.pcap_header(1, 96, 0xa1b23c4d) + frame), kSeconds * 1'000'000'000 + kPart);
  }
}

TEST(CaptureTime, IsReadFromPcapngInTheUnitOfItsInterface) {
  for (const Ends& ends : kBothEnds) {
    const auto in_unit = [&](uint8_t unit) {
      return time_of(pcapng(ends, ends.option(9, {unit}) + ends.option(0, {})));
    };
    EXPECT_EQ(time_of(pcapng(ends, {})), kCount * 1000);
    EXPECT_EQ(in_unit(6), kCount * 1000);
    EXPECT_EQ(in_unit(9), kCount);
    EXPECT_EQ(in_unit(12), kCount / 1000);
    EXPECT_EQ(in_unit(127), 0u);
    EXPECT_EQ(in_unit(0x80 | 20), static_cast<uint64_t>(kCount * 1e9L / (1 << 20)));
    EXPECT_EQ(in_unit(0xff), 0u);
    // Whole seconds of that number lie beyond 64 bits of nanoseconds.
    EXPECT_EQ(in_unit(0), std::nullopt);
    EXPECT_EQ(time_of(ends.section() + ends.interface() + ends.obsolete(Octets(4, 1))), kCount * 1000);
    EXPECT_EQ(time_of(ends.section() + ends.interface() + ends.simple(Octets(4, 1))), std::nullopt);
  }
}

TEST(CaptureTime, CountsFromTheOffsetOfItsInterface) {
  for (const Ends& ends : kBothEnds) {
    const auto offset = [&](uint32_t high, uint32_t low) {
      const bool little = ends.order == std::endian::little;
      const Octets value = little ? ends.u32(low) + ends.u32(high) : ends.u32(high) + ends.u32(low);
      return time_of(pcapng(ends, ends.option(9, {9}) + ends.option(14, value)));
    };
    EXPECT_EQ(offset(0, 100), kCount + 100'000'000'000);
    EXPECT_EQ(offset(0xffffffff, 0xffffff9c), kCount - 100'000'000'000);
    EXPECT_EQ(offset(0x80000000, 0), std::nullopt);
  }
}

}  // namespace
}  // namespace psp::test
