// SPDX-License-Identifier: Apache-2.0
// The writer: what it writes reads back with everything that was not to change.
#include "pcap/writer.h"

#include <gtest/gtest.h>

#include "capture.h"

namespace psp::test {
namespace {

// Every frame through `octets`, or as it came.
Octets rewrite(const Octets& file, uint32_t growth, const std::optional<Octets>& octets = {}) {
  MemorySource source(file);
  MemorySink sink;
  CaptureReader reader(source);
  CaptureWriter writer(sink, growth);
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

Octets options_of(const Ends& ends, bool with_hash) {
  return ends.option(1, Octets(5, 'c')) + (with_hash ? ends.option(3, Octets(5, 'h')) : Octets()) +
         ends.option(2, ends.u32(1)) + ends.option(0, {});
}

TEST(CaptureWriter, CopiesPcapOctetForOctet) {
  for (const Ends& ends : kBothEnds) {
    const Octets file = ends.pcap_header(1, 0, 0xa1b23c4d) + ends.pcap_frame(Octets(61, 1), 900) +
                        ends.pcap_frame({}) + ends.pcap_frame(Octets(62, 2));
    EXPECT_EQ(rewrite(file, 88), file);
  }
}

TEST(CaptureWriter, CopiesPcapngOctetForOctetButHashes) {
  for (const Ends& ends : kBothEnds) {
    const auto file = [&](bool with_hash) {
      return ends.section() + ends.interface(1, 0, ends.option(9, {9}) + ends.option(0, {})) +
             ends.enhanced(Octets(61, 1), 0, options_of(ends, with_hash), 900) + ends.simple(Octets(3, 7)) +
             ends.obsolete(Octets(62, 2), 0, options_of(ends, with_hash)) + ends.enhanced({});
    };
    EXPECT_EQ(rewrite(file(true), 0), file(false));
  }
}

TEST(CaptureWriter, ReplacesFramesUnderTheirTimeInterfaceAndOptions) {
  for (const Ends& ends : kBothEnds) {
    for (const size_t length : {0, 1, 2, 3, 4, 1433}) {
      const Octets other(length, 0xab);
      EXPECT_EQ(rewrite(ends.pcap_header() + ends.pcap_frame(Octets(61, 1), 99), 0, other),
                ends.pcap_header() + ends.pcap_frame(other));
      const auto file = [&](const Octets& frame, uint32_t original) {
        const Octets options = options_of(ends, false);
        return ends.section() + ends.interface() + ends.interface(101) +
               ends.enhanced(frame, 1, options, original) + ends.obsolete(frame, 1, options) +
               ends.simple(frame);
      };
      EXPECT_EQ(rewrite(file(Octets(61, 1), 99), 0, other), file(other, 0));
    }
  }
}

TEST(CaptureWriter, MakesRoomInSnapLengthsForWhatGrows) {
  for (const Ends& ends : kBothEnds) {
    EXPECT_EQ(rewrite(ends.pcap_header(1, 1434), 88), ends.pcap_header(1, 1434 + 88));
    EXPECT_EQ(rewrite(ends.pcap_header(1, 0), 88), ends.pcap_header(1, 0));
    EXPECT_EQ(rewrite(ends.pcap_header(1, 0x7ffffff0), 88), ends.pcap_header(1, 0x7fffffff));
    EXPECT_EQ(rewrite(ends.section() + ends.interface(1, 96), 88),
              ends.section() + ends.interface(1, 96 + 88));
  }
}

TEST(CaptureWriter, KeepsACutSimplePacketReadableWhereTheSnapLengthGrew) {
  const Ends ends;
  const Octets file = ends.section() + ends.interface(1, 8) + ends.simple(Octets(8, 3), 1000);
  const ReadCapture capture = read_all(rewrite(file, 88));
  EXPECT_EQ(capture.fault, "");
  ASSERT_EQ(capture.frames.size(), 1u);
  EXPECT_EQ(capture.frames[0].octets, Octets(8, 3));
}

TEST(CaptureWriter, DeclaresNoFrameCheckSequence) {
  const Ends ends;
  const Octets with_fcs = Octets(60, 1) + Octets(4, 0xfc);
  EXPECT_EQ(rewrite(ends.pcap_header(0x24000001) + ends.pcap_frame(with_fcs), 0),
            ends.pcap_header(1) + ends.pcap_frame(Octets(60, 1)));
  const Octets speed = ends.option(8, Octets(8, 1));
  EXPECT_EQ(
      rewrite(ends.section() + ends.interface(1, 0, ends.option(13, {4}) + speed) + ends.enhanced(with_fcs),
              0),
      ends.section() + ends.interface(1, 0, speed + ends.option(0, {})) + ends.enhanced(Octets(60, 1)));
}

TEST(CaptureWriter, DeclaresNoFrameCheckSequenceInTheFlagsOfAFrame) {
  for (const Ends& ends : kBothEnds) {
    const auto file = [&](const Octets& frame, uint32_t flags) {
      const Octets options =
          ends.option(1, Octets(5, 'c')) + ends.option(2, ends.u32(flags)) + ends.option(0, {});
      return ends.section() + ends.interface(1, 0, ends.option(2, Octets(4, 0xff)) + ends.option(0, {})) +
             ends.enhanced(frame, 0, options) + ends.obsolete(frame, 0, options);
    };
    const Octets frame(60, 1), with_fcs = frame + Octets(4, 0xfc);
    EXPECT_EQ(rewrite(file(with_fcs, 0xff00019e), 0), file(Octets(52, 1), 0xff00001e));
    EXPECT_EQ(rewrite(file(with_fcs, 0x00000081), 0), file(frame, 0x00000001));
    EXPECT_EQ(rewrite(file(with_fcs, 0x00000081), 0, Octets(9, 7)), file(Octets(9, 7), 0x00000001));
  }
}

TEST(CaptureWriter, LeavesTheLengthOfSectionsOpen) {
  const Ends ends;
  Octets file = ends.section();
  std::fill(file.begin() + 16, file.begin() + 24, 1);
  EXPECT_EQ(rewrite(file, 0), ends.section());
}

TEST(CaptureWriter, GivesItsSinkAllOfALongFile) {
  const Ends ends;
  Octets file = ends.pcap_header(1, 0);
  for (uint8_t i = 0; i < 200; i++) file = std::move(file) + ends.pcap_frame(Octets(9000, i));
  EXPECT_EQ(rewrite(file, 0), file);
}

}  // namespace
}  // namespace psp::test
