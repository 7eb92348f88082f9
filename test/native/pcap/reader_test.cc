// SPDX-License-Identifier: Apache-2.0
// The reader: formats and byte orders, files that end anywhere, lengths that cannot be.
#include "pcap/reader.h"

#include <gtest/gtest.h>

#include "capture.h"

namespace psp::test {
namespace {

Octets pcap_file(const Ends& ends) {
  return ends.pcap_header() + ends.pcap_frame(ethernet(udp4(1, 2, 100))) + ends.pcap_frame({}) +
         ends.pcap_frame(Octets(61, 3), 1514);
}

Octets pcapng_file(const Ends& ends) {
  const Octets comment = ends.option(1, Octets(5, 'c')) + ends.option(0, {});
  return ends.section() + ends.interface() + ends.interface(101, 96) + ends.block(5, Octets(20, 1)) +
         ends.enhanced(ethernet(udp4(1, 2, 101)), 0, comment) + ends.block(0x80000bad, Octets(40, 2)) +
         ends.enhanced(Octets(96, 4), 1, {}, 1000) + ends.simple(Octets(7, 5)) + ends.obsolete({}, 1);
}

TEST(CaptureReader, ReadsPcapInBothByteOrdersAndResolutions) {
  for (const Ends& ends : kBothEnds) {
    for (const uint32_t magic : {0xa1b2c3d4u, 0xa1b23c4du}) {
      const Octets frame = ethernet(udp6(5, 6, 33));
      const ReadCapture capture = read_all(ends.pcap_header(228, 96, magic) + ends.pcap_frame(frame));
      EXPECT_EQ(capture.fault, "");
      EXPECT_EQ(capture.format, CaptureFormat::kPcap);
      ASSERT_EQ(capture.frames.size(), 1u);
      EXPECT_EQ(capture.frames[0].octets, frame);
      EXPECT_EQ(capture.frames[0].link_type, 228);
    }
  }
}

TEST(CaptureReader, TellsFramesThatAreEmptyOrCut) {
  for (const Ends& ends : kBothEnds) {
    const ReadCapture capture = read_all(pcap_file(ends));
    EXPECT_EQ(capture.fault, "");
    ASSERT_EQ(capture.frames.size(), 3u);
    EXPECT_EQ(capture.frames[1].octets, Octets());
    EXPECT_EQ(capture.frames[1].original, 0u);
    EXPECT_EQ(capture.frames[2].octets.size(), 61u);
    EXPECT_EQ(capture.frames[2].original, 1514u);
    EXPECT_EQ(capture.frames[2].number, 3u);
  }
}

TEST(CaptureReader, ReadsEveryKindOfFrameOfPcapngAndPassesOverOtherBlocks) {
  for (const Ends& ends : kBothEnds) {
    const ReadCapture capture = read_all(pcapng_file(ends));
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

TEST(CaptureReader, TakesEachSectionInItsOwnByteOrderAndWithItsOwnInterfaces) {
  const Octets file = pcapng_file(kBothEnds[0]) + pcapng_file(kBothEnds[1]) + kBothEnds[0].section();
  const ReadCapture capture = read_all(file);
  EXPECT_EQ(capture.fault, "");
  EXPECT_EQ(capture.sections, 3u);
  EXPECT_EQ(capture.frames.size(), 8u);
  EXPECT_EQ(capture.frames[7].number, 8u);
  EXPECT_NE(read_all(file + kBothEnds[0].enhanced(Octets(4, 1))).fault, "");
}

TEST(CaptureReader, CutsASimplePacketWhereItsInterfaceDid) {
  const Ends ends;
  const Octets file = ends.section() + ends.interface(1, 5) + ends.simple(Octets(5, 8), 1000);
  const ReadCapture capture = read_all(file);
  ASSERT_EQ(capture.frames.size(), 1u);
  EXPECT_EQ(capture.frames[0].octets, Octets(5, 8));
  EXPECT_EQ(capture.frames[0].original, 1000u);
}

TEST(CaptureReader, TakesDeclaredFrameCheckSequencesOff) {
  const Ends ends;
  const Octets frame(60, 1), with_fcs = frame + Octets(4, 0xfc), cut(62, 1);
  const Octets pcapng = ends.section() + ends.interface(1, 0, ends.option(13, {4}) + ends.option(0, {})) +
                        ends.enhanced(with_fcs) + ends.enhanced(cut, 0, {}, 64) + ends.enhanced(Octets(3, 1));
  const Octets pcap = ends.pcap_header(0x24000001) + ends.pcap_frame(with_fcs) + ends.pcap_frame(cut, 64) +
                      ends.pcap_frame(Octets(3, 1));
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

TEST(CaptureReader, TakesFrameCheckSequencesOffThatTheFlagsOfAFrameDeclare) {
  for (const Ends& ends : kBothEnds) {
    const auto flags = [&](uint32_t value) { return ends.option(2, ends.u32(value)) + ends.option(0, {}); };
    const Octets frame(60, 1), with_fcs = frame + Octets(4, 0xfc);
    const Octets declared = ends.interface(1, 0, ends.option(13, {2}) + ends.option(0, {}));
    const ReadCapture capture =
        read_all(ends.section() + ends.interface() + declared +
                 ends.enhanced(with_fcs, 0, flags(4 << 5 | 1)) + ends.obsolete(with_fcs, 0, flags(4 << 5)) +
                 ends.enhanced(with_fcs, 0, flags(1)) + ends.enhanced(with_fcs, 1, flags(4 << 5)) +
                 ends.enhanced(with_fcs, 1, flags(1)) + ends.enhanced(Octets(3, 1), 0, flags(4 << 5)));
    EXPECT_EQ(capture.fault, "");
    ASSERT_EQ(capture.frames.size(), 6u);
    const size_t lengths[] = {60, 60, 64, 60, 62, 0};
    for (size_t i = 0; i < 6; i++) {
      EXPECT_EQ(capture.frames[i].octets.size(), lengths[i]) << i;
      EXPECT_EQ(capture.frames[i].original, lengths[i]) << i;
    }
  }
}

TEST(CaptureReader, ReadsTheSameHoweverFewOctetsComeAtATime) {
  for (const Octets& file : {pcap_file({}), pcapng_file({})}) {
    const ReadCapture whole = read_all(file);
    for (const size_t step : {1, 3, 17}) {
      DribblingSource source(file, step);
      const ReadCapture dribbled = read_all(source);
      EXPECT_EQ(dribbled.fault, "");
      ASSERT_EQ(dribbled.frames.size(), whole.frames.size());
      for (size_t i = 0; i < whole.frames.size(); i++) {
        EXPECT_EQ(dribbled.frames[i].octets, whole.frames[i].octets);
      }
    }
  }
}

TEST(CaptureReader, ReadsFilesFarLongerThanItsBuffer) {
  const Ends ends;
  const Octets frame = ethernet(udp4(1, 2, 9000));
  Octets file = ends.pcap_header();
  for (int i = 0; i < 500; i++) file = std::move(file) + ends.pcap_frame(frame);
  const ReadCapture capture = read_all(file);
  EXPECT_EQ(capture.fault, "");
  ASSERT_EQ(capture.frames.size(), 500u);
  for (const ReadFrame& one : capture.frames) EXPECT_EQ(one.octets, frame);
}

TEST(CaptureReader, EndsAnywhereButBetweenRecordsWithAFault) {
  for (const Ends& ends : kBothEnds) {
    for (const Octets& file : {pcap_file(ends), pcapng_file(ends)}) {
      const size_t frames = read_all(file).frames.size();
      size_t clean = 0;
      for (size_t length = 0; length < file.size(); length++) {
        const ReadCapture capture = read_all(Octets(file.begin(), file.begin() + static_cast<long>(length)));
        EXPECT_LE(capture.frames.size(), frames);
        clean += capture.fault.empty();
      }
      // After the header and each record but the last one.
      EXPECT_EQ(clean, file[0] == 0x0a ? 9u - 1 : 3u);
    }
  }
}

TEST(CaptureReader, SaysWhatAFileIsThatIsNoCapture) {
  EXPECT_EQ(read_all(Octets()).fault, "it is empty");
  EXPECT_EQ(read_all(Octets{0x1f, 0x8b, 8, 0}).fault, "it is compressed; decompress it first");
  EXPECT_EQ(read_all(Octets{'P', 'K', 3, 4, 5}).fault,
            "it begins with 50 4b 03 04, as neither pcap nor pcapng does");
  EXPECT_NE(read_all(kBothEnds[1].pcap_header(1, 0, 0xa1b2cd34)).fault.find("editcap"), std::string::npos);
  Octets old = Ends().pcap_header();
  old[6] = 2;
  EXPECT_NE(read_all(old).fault.find("version is not 2.4"), std::string::npos);
}

TEST(CaptureReader, RefusesLengthsThatCannotBe) {
  for (const Ends& ends : kBothEnds) {
    const Octets frame(20, 1);
    const auto patched = [&](Octets file, size_t from_end, uint32_t value) {
      const Octets number = ends.u32(value);
      std::copy(number.begin(), number.end(), file.end() - static_cast<long>(from_end));
      return read_all(file).fault;
    };
    const Octets pcap = ends.pcap_header() + ends.pcap_frame(frame);
    EXPECT_NE(patched(pcap, 28, 262145).find("262145 octets"), std::string::npos);
    EXPECT_NE(patched(pcap, 28, 0xffffffff), "");
    EXPECT_NE(patched(pcap, 28, 21).find("middle of a record"), std::string::npos);

    const Octets pcapng = ends.section() + ends.interface() + ends.enhanced(frame);
    ASSERT_EQ(read_all(pcapng).fault, "");
    for (const uint32_t length : {0u, 4u, 8u, 11u, 50u}) {
      EXPECT_NE(patched(pcapng, 48, length).find("as none can be"), std::string::npos) << length;
    }
    for (const uint32_t length : {0xfffffffcu, 1024u * 1024 + 4}) {
      EXPECT_NE(patched(pcapng, 48, length).find("more than any is"), std::string::npos) << length;
    }
    EXPECT_NE(patched(pcapng, 4, 48).find("another length"), std::string::npos);
    for (const uint32_t length : {21u, 24u, 262144u, 0xffffffffu}) {
      EXPECT_NE(patched(pcapng, 32, length).find("more than its block holds"), std::string::npos) << length;
    }
    EXPECT_NE(patched(pcapng, 44, 1).find("does not describe"), std::string::npos);
    const Octets simple = ends.section() + ends.interface() + ends.simple(frame);
    for (const uint32_t length : {21u, 24u, 0xffffffffu}) {
      EXPECT_NE(patched(simple, 28, length).find("more than its block holds"), std::string::npos) << length;
    }
    EXPECT_NE(patched(ends.section(), 16, ends.order == std::endian::little ? 2 : 2 << 16).find("not known"),
              std::string::npos);
  }
}

TEST(CaptureReader, RefusesLengthsThatWouldMakeOctetsVanish) {
  for (const Ends& ends : kBothEnds) {
    const Octets start = ends.section() + ends.interface(),
                 option = ends.u16(2) + ends.u16(500) + Octets(8, 1);
    EXPECT_NE(read_all(start + ends.block(3, ends.u32(40) + Octets(44, 1))).fault.find("its block holds 44"),
              std::string::npos);
    EXPECT_EQ(read_all(start + ends.block(3, ends.u32(41) + Octets(44, 1))).fault, "");
    EXPECT_NE(read_all(start + ends.enhanced({1, 2}, 0, option)).fault.find("an option of a frame"),
              std::string::npos);
    EXPECT_NE(read_all(ends.section() + ends.interface(1, 0, option)).fault.find("an option of an interface"),
              std::string::npos);
  }
}

TEST(CaptureReader, RefusesBlocksShorterThanTheirKind) {
  const Ends ends;
  const Octets start = ends.section() + ends.interface();
  EXPECT_NE(read_all(start + ends.block(6, Octets(16))).fault, "");
  EXPECT_NE(read_all(start + ends.block(3, {})).fault, "");
  EXPECT_NE(read_all(start + ends.block(1, Octets(4))).fault, "");
  EXPECT_NE(read_all(ends.block(0x0a0d0d0a, ends.u32(0x1a2b3c4d))).fault, "");
  EXPECT_NE(read_all(ends.section() + ends.simple(Octets(4))).fault, "");
}

TEST(CaptureReader, PassesOverABlockLongerThanItsBuffer) {
  const Ends ends;
  const ReadCapture capture = read_all(ends.section() + ends.interface() +
                                       ends.block(10, Octets(3 * 1024 * 1024)) + ends.enhanced({1}));
  EXPECT_EQ(capture.fault, "");
  EXPECT_EQ(capture.others, 1u);
  EXPECT_EQ(capture.frames.size(), 1u);
}

TEST(CaptureReader, BoundsTheInterfacesOfASection) {
  const Ends ends;
  const Octets interface = ends.interface();
  Octets file = ends.section();
  for (int i = 0; i < 65536; i++) file.insert(file.end(), interface.begin(), interface.end());
  EXPECT_EQ(read_all(file).fault, "");
  EXPECT_NE(read_all(file + interface).fault.find("65536"), std::string::npos);
}

}  // namespace
}  // namespace psp::test
