// SPDX-License-Identifier: Apache-2.0
// Capture times in both formats, in every time unit of the file.
#include "pcap/time.h"

#include <gtest/gtest.h>

#include "capture.h"

namespace psp::test {
namespace {

// In the units of the file: what CaptureBuilder writes into every frame.
constexpr uint64_t kSeconds = 1700000000, kPart = 999999999, kCount = 0x00060b2a7f3c5d11;

std::optional<uint64_t> time_of(const Octets& file) {
  MemorySource source(file);
  CaptureReader reader(source);
  for (CaptureRecord record; reader.next(&record);) {
    if (record.kind == CaptureRecord::Kind::kFrame) return captured_at_ns(record);
  }
  return std::nullopt;
}

Octets pcapng(const CaptureBuilder& builder, const Octets& options) {
  return builder.section() + builder.interface(1, 0, options) + builder.enhanced(Octets(4, 1));
}

TEST(CaptureTime, IsReadFromPcapInMicrosecondsAndNanoseconds) {
  for (const CaptureBuilder& builder : kBothOrders) {
    const Octets frame = builder.pcap_frame(Octets(4, 1));
    EXPECT_EQ(time_of(builder.pcap_header() + frame), kSeconds * 1'000'000'000 + kPart * 1000);
    EXPECT_EQ(time_of(builder.pcap_header(1, 96, 0xa1b23c4d) + frame), kSeconds * 1'000'000'000 + kPart);
  }
}

TEST(CaptureTime, IsReadFromPcapngInTheUnitOfItsInterface) {
  for (const CaptureBuilder& builder : kBothOrders) {
    const auto in_unit = [&](uint8_t unit) {
      return time_of(pcapng(builder, builder.option(9, {unit}) + builder.option(0, {})));
    };
    EXPECT_EQ(time_of(pcapng(builder, {})), kCount * 1000);
    EXPECT_EQ(in_unit(6), kCount * 1000);
    EXPECT_EQ(in_unit(9), kCount);
    EXPECT_EQ(in_unit(12), kCount / 1000);
    EXPECT_EQ(in_unit(127), 0u);
    EXPECT_EQ(in_unit(0x80 | 20), static_cast<uint64_t>(kCount * 1e9L / (1 << 20)));
    EXPECT_EQ(in_unit(0xff), 0u);
    // This many whole seconds exceed 64 bits of nanoseconds.
    EXPECT_EQ(in_unit(0), std::nullopt);
    EXPECT_EQ(time_of(builder.section() + builder.interface() + builder.obsolete(Octets(4, 1))),
              kCount * 1000);
    EXPECT_EQ(time_of(builder.section() + builder.interface() + builder.simple(Octets(4, 1))), std::nullopt);
  }
}

TEST(CaptureTime, AddsTheOffsetOfItsInterface) {
  for (const CaptureBuilder& builder : kBothOrders) {
    const auto offset = [&](uint32_t high, uint32_t low) {
      const bool little = builder.order == std::endian::little;
      const Octets value =
          little ? builder.u32(low) + builder.u32(high) : builder.u32(high) + builder.u32(low);
      return time_of(pcapng(builder, builder.option(9, {9}) + builder.option(14, value)));
    };
    EXPECT_EQ(offset(0, 100), kCount + 100'000'000'000);
    EXPECT_EQ(offset(0xffffffff, 0xffffff9c), kCount - 100'000'000'000);
    EXPECT_EQ(offset(0x80000000, 0), std::nullopt);
  }
}

}  // namespace
}  // namespace psp::test
