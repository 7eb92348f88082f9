// SPDX-License-Identifier: Apache-2.0
// The writer: its output reads back with everything that must not change.
#include "pcap/writer.h"

#include <gtest/gtest.h>

#include "capture.h"

namespace psp::test {
namespace {

// Replaces every frame by `octets`, or copies it.
Octets rewrite(const Octets& file, uint32_t max_growth, const std::optional<Octets>& octets = {}) {
  MemorySource source(file);
  MemorySink sink;
  CaptureReader reader(source);
  CaptureWriter writer(sink, max_growth);
  for (CaptureRecord record; reader.next(&record);) {
    if (record.kind == CaptureRecord::Kind::kFrame) {
      octets ? writer.replace(record, *octets) : writer.copy(record);
    } else if (record.kind != CaptureRecord::Kind::kOther) {
      writer.describe(record);
    }
  }
  writer.flush();
  return sink.octets;
}

Octets options_of(const CaptureBuilder& builder, bool with_hash) {
  return builder.option(1, Octets(5, 'c')) + (with_hash ? builder.option(3, Octets(5, 'h')) : Octets()) +
         builder.option(2, builder.u32(1)) + builder.option(0, {});
}

TEST(CaptureWriter, CopiesPcapOctetForOctet) {
  for (const CaptureBuilder& builder : kBothOrders) {
    const Octets file = builder.pcap_header(1, 0, 0xa1b23c4d) + builder.pcap_frame(Octets(61, 1), 900) +
                        builder.pcap_frame({}) + builder.pcap_frame(Octets(62, 2));
    EXPECT_EQ(rewrite(file, 88), file);
  }
}

TEST(CaptureWriter, CopiesPcapngOctetForOctetExceptHashes) {
  for (const CaptureBuilder& builder : kBothOrders) {
    const auto file = [&](bool with_hash) {
      return builder.section() + builder.interface(1, 0, builder.option(9, {9}) + builder.option(0, {})) +
             builder.enhanced(Octets(61, 1), 0, options_of(builder, with_hash), 900) +
             builder.simple(Octets(3, 7)) +
             builder.obsolete(Octets(62, 2), 0, options_of(builder, with_hash)) + builder.enhanced({});
    };
    EXPECT_EQ(rewrite(file(true), 0), file(false));
  }
}

TEST(CaptureWriter, ReplacesFramesAndKeepsTimeInterfaceAndOptions) {
  for (const CaptureBuilder& builder : kBothOrders) {
    for (const size_t length : {0, 1, 2, 3, 4, 1433}) {
      const Octets other(length, 0xab);
      EXPECT_EQ(rewrite(builder.pcap_header() + builder.pcap_frame(Octets(61, 1), 99), 0, other),
                builder.pcap_header() + builder.pcap_frame(other));
      const auto file = [&](const Octets& frame, uint32_t original) {
        const Octets options = options_of(builder, false);
        return builder.section() + builder.interface() + builder.interface(101) +
               builder.enhanced(frame, 1, options, original) + builder.obsolete(frame, 1, options) +
               builder.simple(frame);
      };
      EXPECT_EQ(rewrite(file(Octets(61, 1), 99), 0, other), file(other, 0));
    }
  }
}

TEST(CaptureWriter, RaisesSnapLengthsByTheGrowth) {
  for (const CaptureBuilder& builder : kBothOrders) {
    EXPECT_EQ(rewrite(builder.pcap_header(1, 1434), 88), builder.pcap_header(1, 1434 + 88));
    EXPECT_EQ(rewrite(builder.pcap_header(1, 0), 88), builder.pcap_header(1, 0));
    EXPECT_EQ(rewrite(builder.pcap_header(1, 0x7ffffff0), 88), builder.pcap_header(1, 0x7fffffff));
    EXPECT_EQ(rewrite(builder.section() + builder.interface(1, 96), 88),
              builder.section() + builder.interface(1, 96 + 88));
  }
}

TEST(CaptureWriter, KeepsATruncatedSimplePacketReadableAfterTheSnapLengthIsRaised) {
  const CaptureBuilder builder;
  const Octets file = builder.section() + builder.interface(1, 8) + builder.simple(Octets(8, 3), 1000);
  const ReadCapture capture = read_all(rewrite(file, 88));
  EXPECT_EQ(capture.fault, "");
  ASSERT_EQ(capture.frames.size(), 1u);
  EXPECT_EQ(capture.frames[0].octets, Octets(8, 3));
}

TEST(CaptureWriter, DeclaresNoFrameCheckSequence) {
  const CaptureBuilder builder;
  const Octets with_fcs = Octets(60, 1) + Octets(4, 0xfc);
  EXPECT_EQ(rewrite(builder.pcap_header(0x24000001) + builder.pcap_frame(with_fcs), 0),
            builder.pcap_header(1) + builder.pcap_frame(Octets(60, 1)));
  const Octets speed = builder.option(8, Octets(8, 1));
  EXPECT_EQ(rewrite(builder.section() + builder.interface(1, 0, builder.option(13, {4}) + speed) +
                        builder.enhanced(with_fcs),
                    0),
            builder.section() + builder.interface(1, 0, speed + builder.option(0, {})) +
                builder.enhanced(Octets(60, 1)));
}

TEST(CaptureWriter, DeclaresNoFrameCheckSequenceInTheFlagsOfAFrame) {
  for (const CaptureBuilder& builder : kBothOrders) {
    const auto file = [&](const Octets& frame, uint32_t flags) {
      const Octets options =
          builder.option(1, Octets(5, 'c')) + builder.option(2, builder.u32(flags)) + builder.option(0, {});
      return builder.section() +
             builder.interface(1, 0, builder.option(2, Octets(4, 0xff)) + builder.option(0, {})) +
             builder.enhanced(frame, 0, options) + builder.obsolete(frame, 0, options);
    };
    const Octets frame(60, 1), with_fcs = frame + Octets(4, 0xfc);
    EXPECT_EQ(rewrite(file(with_fcs, 0xff00019e), 0), file(Octets(52, 1), 0xff00001e));
    EXPECT_EQ(rewrite(file(with_fcs, 0x00000081), 0), file(frame, 0x00000001));
    EXPECT_EQ(rewrite(file(with_fcs, 0x00000081), 0, Octets(9, 7)), file(Octets(9, 7), 0x00000001));
  }
}

TEST(CaptureWriter, WritesTheSectionLengthAsUnspecified) {
  const CaptureBuilder builder;
  Octets file = builder.section();
  std::fill(file.begin() + 16, file.begin() + 24, 1);
  EXPECT_EQ(rewrite(file, 0), builder.section());
}

TEST(CaptureWriter, WritesAllOfALongFile) {
  const CaptureBuilder builder;
  Octets file = builder.pcap_header(1, 0);
  for (uint8_t i = 0; i < 200; i++) file = std::move(file) + builder.pcap_frame(Octets(9000, i));
  EXPECT_EQ(rewrite(file, 0), file);
}

}  // namespace
}  // namespace psp::test
