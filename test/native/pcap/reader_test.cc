// SPDX-License-Identifier: Apache-2.0
// The reader: formats and byte orders, files that end at any octet, impossible lengths.
#include "pcap/reader.h"

#include <gtest/gtest.h>

#include "capture.h"

namespace psp::test {
namespace {

Octets pcap_file(const CaptureBuilder& builder) {
  return builder.pcap_header() + builder.pcap_frame(ethernet(udp4(1, 2, 100))) + builder.pcap_frame({}) +
         builder.pcap_frame(Octets(61, 3), 1514);
}

Octets pcapng_file(const CaptureBuilder& builder) {
  const Octets comment = builder.option(1, Octets(5, 'c')) + builder.option(0, {});
  return builder.section() + builder.interface() + builder.interface(101, 96) +
         builder.block(5, Octets(20, 1)) + builder.enhanced(ethernet(udp4(1, 2, 101)), 0, comment) +
         builder.block(0x80000bad, Octets(40, 2)) + builder.enhanced(Octets(96, 4), 1, {}, 1000) +
         builder.simple(Octets(7, 5)) + builder.obsolete({}, 1);
}

TEST(CaptureReader, ReadsPcapInBothByteOrdersAndResolutions) {
  for (const CaptureBuilder& builder : kBothOrders) {
    for (const uint32_t magic : {0xa1b2c3d4u, 0xa1b23c4du}) {
      const Octets frame = ethernet(udp6(5, 6, 33));
      const ReadCapture capture = read_all(builder.pcap_header(228, 96, magic) + builder.pcap_frame(frame));
      EXPECT_EQ(capture.fault, "");
      EXPECT_EQ(capture.format, CaptureFormat::kPcap);
      ASSERT_EQ(capture.frames.size(), 1u);
      EXPECT_EQ(capture.frames[0].octets, frame);
      EXPECT_EQ(capture.frames[0].link_type, 228);
    }
  }
}

TEST(CaptureReader, ReportsEmptyAndTruncatedFrames) {
  for (const CaptureBuilder& builder : kBothOrders) {
    const ReadCapture capture = read_all(pcap_file(builder));
    EXPECT_EQ(capture.fault, "");
    ASSERT_EQ(capture.frames.size(), 3u);
    EXPECT_EQ(capture.frames[1].octets, Octets());
    EXPECT_EQ(capture.frames[1].original, 0u);
    EXPECT_EQ(capture.frames[2].octets.size(), 61u);
    EXPECT_EQ(capture.frames[2].original, 1514u);
    EXPECT_EQ(capture.frames[2].number, 3u);
  }
}

TEST(CaptureReader, ReadsEveryKindOfPcapngFrameAndSkipsOtherBlocks) {
  for (const CaptureBuilder& builder : kBothOrders) {
    const ReadCapture capture = read_all(pcapng_file(builder));
    EXPECT_EQ(capture.fault, "");
    EXPECT_EQ(capture.format, CaptureFormat::kPcapng);
    EXPECT_EQ(capture.sections, 1u);
    EXPECT_EQ(capture.interfaces, 2u);
    EXPECT_EQ(capture.others, 2u);
    ASSERT_EQ(capture.frames.size(), 4u);
    EXPECT_EQ(capture.frames[0].octets, ethernet(udp4(1, 2, 101)));
    EXPECT_EQ(capture.frames[1].original, 1000u);
    EXPECT_EQ(capture.frames[1].link_type, 101);
    EXPECT_EQ(capture.frames[2].octets, Octets(7, 5));
    EXPECT_EQ(capture.frames[3].octets, Octets());
    EXPECT_EQ(capture.frames[3].link_type, 101);
    EXPECT_EQ(capture.frames[3].number, 4u);
  }
}

TEST(CaptureReader, ReadsEachSectionInItsByteOrderAndWithItsInterfaces) {
  const Octets file = pcapng_file(kBothOrders[0]) + pcapng_file(kBothOrders[1]) + kBothOrders[0].section();
  const ReadCapture capture = read_all(file);
  EXPECT_EQ(capture.fault, "");
  EXPECT_EQ(capture.sections, 3u);
  EXPECT_EQ(capture.frames.size(), 8u);
  EXPECT_EQ(capture.frames[7].number, 8u);
  EXPECT_NE(read_all(file + kBothOrders[0].enhanced(Octets(4, 1))).fault, "");
}

TEST(CaptureReader, TruncatesASimplePacketAtTheSnapLengthOfItsInterface) {
  const CaptureBuilder builder;
  const Octets file = builder.section() + builder.interface(1, 5) + builder.simple(Octets(5, 8), 1000);
  const ReadCapture capture = read_all(file);
  ASSERT_EQ(capture.frames.size(), 1u);
  EXPECT_EQ(capture.frames[0].octets, Octets(5, 8));
  EXPECT_EQ(capture.frames[0].original, 1000u);
}

TEST(CaptureReader, RemovesDeclaredFrameCheckSequences) {
  const CaptureBuilder builder;
  const Octets frame(60, 1), with_fcs = frame + Octets(4, 0xfc), cut(62, 1);
  const Octets pcapng =
      builder.section() + builder.interface(1, 0, builder.option(13, {4}) + builder.option(0, {})) +
      builder.enhanced(with_fcs) + builder.enhanced(cut, 0, {}, 64) + builder.enhanced(Octets(3, 1));
  const Octets pcap = builder.pcap_header(0x24000001) + builder.pcap_frame(with_fcs) +
                      builder.pcap_frame(cut, 64) + builder.pcap_frame(Octets(3, 1));
  for (const Octets& file : {pcapng, pcap}) {
    const ReadCapture capture = read_all(file);
    EXPECT_EQ(capture.fault, "");
    ASSERT_EQ(capture.frames.size(), 3u);
    EXPECT_EQ(capture.frames[0].octets, frame);
    EXPECT_EQ(capture.frames[0].original, 60u);
    EXPECT_EQ(capture.frames[1].octets.size(), 60u);
    EXPECT_EQ(capture.frames[2].octets, Octets());
    EXPECT_EQ(capture.frames[0].link_type, 1);
  }
}

TEST(CaptureReader, RemovesFrameCheckSequencesThatTheFlagsOfAFrameDeclare) {
  for (const CaptureBuilder& builder : kBothOrders) {
    const auto flags = [&](uint32_t value) {
      return builder.option(2, builder.u32(value)) + builder.option(0, {});
    };
    const Octets frame(60, 1), with_fcs = frame + Octets(4, 0xfc);
    const Octets declared = builder.interface(1, 0, builder.option(13, {2}) + builder.option(0, {}));
    const ReadCapture capture = read_all(
        builder.section() + builder.interface() + declared +
        builder.enhanced(with_fcs, 0, flags(4 << 5 | 1)) + builder.obsolete(with_fcs, 0, flags(4 << 5)) +
        builder.enhanced(with_fcs, 0, flags(1)) + builder.enhanced(with_fcs, 1, flags(4 << 5)) +
        builder.enhanced(with_fcs, 1, flags(1)) + builder.enhanced(Octets(3, 1), 0, flags(4 << 5)));
    EXPECT_EQ(capture.fault, "");
    ASSERT_EQ(capture.frames.size(), 6u);
    const size_t lengths[] = {60, 60, 64, 60, 62, 0};
    for (size_t i = 0; i < 6; i++) {
      EXPECT_EQ(capture.frames[i].octets.size(), lengths[i]) << i;
      EXPECT_EQ(capture.frames[i].original, lengths[i]) << i;
    }
  }
}

TEST(CaptureReader, ReadsTheSameFromShortReads) {
  for (const Octets& file : {pcap_file({}), pcapng_file({})}) {
    const ReadCapture expected = read_all(file);
    for (const size_t step : {1, 3, 17}) {
      SlowSource source(file, step);
      const ReadCapture slow = read_all(source);
      EXPECT_EQ(slow.fault, "");
      ASSERT_EQ(slow.frames.size(), expected.frames.size());
      for (size_t i = 0; i < expected.frames.size(); i++) {
        EXPECT_EQ(slow.frames[i].octets, expected.frames[i].octets);
      }
    }
  }
}

TEST(CaptureReader, ReadsFilesFarLongerThanItsBuffer) {
  const CaptureBuilder builder;
  const Octets frame = ethernet(udp4(1, 2, 9000));
  Octets file = builder.pcap_header();
  for (int i = 0; i < 500; i++) file = std::move(file) + builder.pcap_frame(frame);
  const ReadCapture capture = read_all(file);
  EXPECT_EQ(capture.fault, "");
  ASSERT_EQ(capture.frames.size(), 500u);
  for (const ReadFrame& one : capture.frames) EXPECT_EQ(one.octets, frame);
}

TEST(CaptureReader, ReportsAFaultUnlessTheFileEndsBetweenRecords) {
  for (const CaptureBuilder& builder : kBothOrders) {
    for (const Octets& file : {pcap_file(builder), pcapng_file(builder)}) {
      const size_t frames = read_all(file).frames.size();
      size_t clean = 0;
      for (size_t length = 0; length < file.size(); length++) {
        const ReadCapture capture = read_all(Octets(file.begin(), file.begin() + static_cast<long>(length)));
        EXPECT_LE(capture.frames.size(), frames);
        clean += capture.fault.empty();
      }
      // After the header and after each record except the last one.
      EXPECT_EQ(clean, file[0] == 0x0a ? 9u - 1 : 3u);
    }
  }
}

TEST(CaptureReader, ReportsWhyAFileIsNoCapture) {
  EXPECT_EQ(read_all(Octets()).fault, "it is empty");
  EXPECT_EQ(read_all(Octets{0x1f, 0x8b, 8, 0}).fault, "it is compressed; decompress it first");
  EXPECT_EQ(read_all(Octets{'P', 'K', 3, 4, 5}).fault,
            "its first octets are 50 4b 03 04, so it is neither pcap nor pcapng");
  EXPECT_NE(read_all(kBothOrders[1].pcap_header(1, 0, 0xa1b2cd34)).fault.find("editcap"), std::string::npos);
  Octets old = CaptureBuilder().pcap_header();
  old[6] = 2;
  EXPECT_NE(read_all(old).fault.find("version is not 2.4"), std::string::npos);
}

TEST(CaptureReader, RejectsImpossibleLengths) {
  for (const CaptureBuilder& builder : kBothOrders) {
    const Octets frame(20, 1);
    const auto patched = [&](Octets file, size_t from_end, uint32_t value) {
      const Octets number = builder.u32(value);
      std::copy(number.begin(), number.end(), file.end() - static_cast<long>(from_end));
      return read_all(file).fault;
    };
    const Octets pcap = builder.pcap_header() + builder.pcap_frame(frame);
    EXPECT_NE(patched(pcap, 28, 262145).find("262145 octets"), std::string::npos);
    EXPECT_NE(patched(pcap, 28, 0xffffffff), "");
    EXPECT_NE(patched(pcap, 28, 21).find("middle of a record"), std::string::npos);

    const Octets pcapng = builder.section() + builder.interface() + builder.enhanced(frame);
    ASSERT_EQ(read_all(pcapng).fault, "");
    for (const uint32_t length : {0u, 4u, 8u, 11u, 50u}) {
      EXPECT_NE(patched(pcapng, 48, length).find("impossible length of"), std::string::npos) << length;
    }
    for (const uint32_t length : {0xfffffffcu, 1024u * 1024 + 4}) {
      EXPECT_NE(patched(pcapng, 48, length).find("above the maximum of 1048576"), std::string::npos)
          << length;
    }
    EXPECT_NE(patched(pcapng, 4, 48).find("two lengths of a block differ"), std::string::npos);
    for (const uint32_t length : {21u, 24u, 262144u, 0xffffffffu}) {
      EXPECT_NE(patched(pcapng, 32, length).find("more than its block contains"), std::string::npos)
          << length;
    }
    EXPECT_NE(patched(pcapng, 44, 1).find("does not describe"), std::string::npos);
    const Octets simple = builder.section() + builder.interface() + builder.simple(frame);
    for (const uint32_t length : {21u, 24u, 0xffffffffu}) {
      EXPECT_NE(patched(simple, 28, length).find("more than its block contains"), std::string::npos)
          << length;
    }
    EXPECT_NE(patched(builder.section(), 16, builder.order == std::endian::little ? 2 : 2 << 16)
                  .find("unsupported pcapng version"),
              std::string::npos);
  }
}

TEST(CaptureReader, RejectsLengthsThatWouldHideOctets) {
  for (const CaptureBuilder& builder : kBothOrders) {
    const Octets start = builder.section() + builder.interface(),
                 option = builder.u16(2) + builder.u16(500) + Octets(8, 1);
    EXPECT_NE(read_all(start + builder.block(3, builder.u32(40) + Octets(44, 1)))
                  .fault.find("its block contains 44"),
              std::string::npos);
    EXPECT_EQ(read_all(start + builder.block(3, builder.u32(41) + Octets(44, 1))).fault, "");
    EXPECT_NE(read_all(start + builder.enhanced({1, 2}, 0, option)).fault.find("an option of a frame"),
              std::string::npos);
    EXPECT_NE(
        read_all(builder.section() + builder.interface(1, 0, option)).fault.find("an option of an interface"),
        std::string::npos);
  }
}

TEST(CaptureReader, RejectsBlocksThatAreTooShort) {
  const CaptureBuilder builder;
  const Octets start = builder.section() + builder.interface();
  EXPECT_NE(read_all(start + builder.block(6, Octets(16))).fault, "");
  EXPECT_NE(read_all(start + builder.block(3, {})).fault, "");
  EXPECT_NE(read_all(start + builder.block(1, Octets(4))).fault, "");
  EXPECT_NE(read_all(builder.block(0x0a0d0d0a, builder.u32(0x1a2b3c4d))).fault, "");
  EXPECT_NE(read_all(builder.section() + builder.simple(Octets(4))).fault, "");
}

TEST(CaptureReader, SkipsABlockLongerThanItsBuffer) {
  const CaptureBuilder builder;
  const ReadCapture capture = read_all(builder.section() + builder.interface() +
                                       builder.block(10, Octets(3 * 1024 * 1024)) + builder.enhanced({1}));
  EXPECT_EQ(capture.fault, "");
  EXPECT_EQ(capture.others, 1u);
  EXPECT_EQ(capture.frames.size(), 1u);
}

TEST(CaptureReader, LimitsTheInterfacesOfASection) {
  const CaptureBuilder builder;
  const Octets interface = builder.interface();
  Octets file = builder.section();
  for (int i = 0; i < 65536; i++) file.insert(file.end(), interface.begin(), interface.end());
  EXPECT_EQ(read_all(file).fault, "");
  EXPECT_NE(read_all(file + interface).fault.find("65536"), std::string::npos);
}

}  // namespace
}  // namespace psp::test
