// SPDX-License-Identifier: Apache-2.0
// Captures encrypted and decrypted again.
#include "pcap/transcode.h"

#include <gtest/gtest.h>

#include "transcoding.h"

namespace psp::test {
namespace {

TEST(Transcode, DecryptsToTheOriginalFrames) {
  const Octets tag = {0x81, 0, 0, 5};
  const Octets file = capture_of({ethernet(udp4(5, 6, 0)), ethernet(udp6(7, 8, 1)), arp(),
                                  ethernet(udp4(5, 6, 1400), tag), ethernet(udp6(7, 8, 8000), tag + tag)});
  for (const Mode mode : {Mode::kTunnel, Mode::kTransport}) {
    for (const uint8_t version : {0, 1, 2, 3}) {
      for (const bool cookie : {false, true}) {
        for (const uint8_t offset : {0, 1, 2}) {
          SealOptions seal = options(mode, version);
          if (cookie) seal.cookie = 0x1122334455667788;
          seal.crypt_offset = version < 2 ? offset : 0;
          seal.spi = version % 2 ? 0x80000001 : 0x1a345678;
          const Result sealed = run(file, seal);
          EXPECT_EQ(sealed.fault, "");
          EXPECT_EQ(sealed.counts.frames, 5u);
          EXPECT_EQ(mode == Mode::kTunnel ? sealed.counts.tunnel : sealed.counts.transport, 4u);
          EXPECT_EQ(sealed.counts.copied, 1u);
          const Result opened = run(sealed.octets, std::nullopt);
          EXPECT_EQ(opened.fault, "");
          EXPECT_EQ(opened.octets, file);
          EXPECT_EQ(opened.counts.tunnel, sealed.counts.tunnel);
          EXPECT_EQ(opened.counts.transport, sealed.counts.transport);
          EXPECT_EQ(opened.counts.copied, 1u);
        }
      }
    }
  }
}

TEST(Transcode, OmitsAndCountsBlocksThatAreNoFrames) {
  const CaptureBuilder builder;
  const Octets start = builder.section() + builder.interface(), frame = builder.enhanced(arp());
  const Result result =
      run(start + builder.block(4, Octets(8)) + frame + builder.block(10, Octets(40)), std::nullopt);
  EXPECT_EQ(result.octets, start + frame);
  EXPECT_EQ(result.counts.left_out, 2u);
  EXPECT_EQ(result.counts.frames, 1u);
  EXPECT_EQ(result.counts.format, CaptureFormat::kPcapng);
}

TEST(Transcode, IncrementsTheIvPerPacketAndStopsAfterTheLastIv) {
  const Octets file = capture_of({ethernet(udp4(5, 6, 9)), arp(), ethernet(udp4(5, 6, 9))});
  SealOptions seal = options();
  seal.iv = UINT64_MAX - 1;
  const Result sealed = run(file, seal);
  ASSERT_EQ(sealed.fault, "");
  const auto frames = sealed.frames();
  EXPECT_EQ(load_u64(psp_of(frames[0].octets) + 8), UINT64_MAX - 1);
  EXPECT_EQ(load_u64(psp_of(frames[2].octets) + 8), UINT64_MAX);
  EXPECT_FALSE(sealed.counts.next_iv);

  seal.iv = UINT64_MAX;
  const Result refused = run(file, seal);
  EXPECT_EQ(refused.frame, 3u);
  EXPECT_NE(refused.fault.find("IV"), std::string::npos);
  seal.iv = 7;
  EXPECT_EQ(run(file, seal).counts.next_iv, 9u);
}

TEST(Transcode, RemovesLinkPaddingAndNothingElse) {
  const Octets packet = udp4(5, 6, 3);
  const Result sealed = run(capture_of({ethernet(packet) + Octets(15, 0xee)}), options());
  EXPECT_EQ(run(sealed.octets, std::nullopt).octets, capture_of({ethernet(packet)}));
  EXPECT_EQ(sealed.counts.padding_octets, 15u);
}

TEST(Transcode, CountsFramesCopiedUnencryptedByKindAndRejectsThemInStrictMode) {
  const Octets lldp = ethernet(Octets(46, 1), {}, 0x88cc), clear = ethernet(udp4(5, 6, 9));
  const Octets file = capture_of({clear, arp(), lldp, arp()});
  const std::map<std::string, uint64_t> kinds = {{"ARP", 2}, {"LLDP", 1}};
  EXPECT_EQ(run(file, options()).counts.copied_kinds, kinds);

  const Result strict = run(file, options(), {.strict = true});
  EXPECT_EQ(strict.frame, 2u);
  EXPECT_EQ(strict.fault, "it has no IP (ARP) and would be copied in the clear");
  const Result skipped = run(file, options(), {.skip_bad = true, .strict = true});
  EXPECT_EQ(skipped.octets, run(capture_of({clear}), options()).octets);
  EXPECT_EQ(skipped.counts.skipped, 3u);
  EXPECT_EQ(skipped.counts.copied, 0u);
}

TEST(Transcode, SkipsAndListsFramesAtFaultOnRequest) {
  const Octets first = ethernet(udp4(5, 6, 9)), last = ethernet(udp6(5, 6, 90));
  Octets wrong = ethernet(udp4(5, 6, 10));
  wrong[24] ^= 1;
  const Octets file = capture_of({first, wrong, last});
  EXPECT_EQ(run(file, options()).frame, 2u);
  const Result sealed = run(file, options(), {.skip_bad = true});
  ASSERT_EQ(sealed.fault, "");
  EXPECT_EQ(sealed.counts.frames, 3u);
  EXPECT_EQ(sealed.counts.tunnel, 2u);
  ASSERT_EQ(sealed.counts.skipped_frames.size(), 1u);
  EXPECT_EQ(sealed.counts.skipped_frames[0].number, 2u);
  EXPECT_EQ(sealed.counts.skipped_frames[0].detail, "its IPv4 header checksum is wrong");
  EXPECT_EQ(sealed.octets, run(capture_of({first, last}), options()).octets);

  Octets changed = sealed.octets;
  changed.back() ^= 1;
  const Result opened = run(changed, std::nullopt, {.skip_bad = true});
  EXPECT_EQ(opened.octets, capture_of({first}));
  ASSERT_EQ(opened.counts.skipped_frames.size(), 1u);
  EXPECT_EQ(opened.counts.skipped_frames[0].number, 2u);
  EXPECT_NE(opened.counts.skipped_frames[0].detail.find("ICV is wrong"), std::string::npos);
}

TEST(Transcode, ListsALimitedNumberOfSkippedFrames) {
  const CaptureBuilder builder;
  Octets file = builder.pcap_header(1, 0);
  for (int i = 0; i < 1002; i++)
    file = std::move(file) + builder.pcap_frame(ethernet(Octets(9, 1), {}, 0x0800));
  const Result result = run(file, options(), {.skip_bad = true});
  EXPECT_EQ(result.counts.skipped, 1002u);
  EXPECT_EQ(result.counts.skipped_frames.size(), 1000u);
}

TEST(Transcode, StopsWhenNoIvIsLeftEvenIfFramesAreSkipped) {
  const Octets frame = ethernet(udp4(5, 6, 9));
  SealOptions seal = options();
  seal.iv = UINT64_MAX;
  EXPECT_EQ(run(capture_of({frame, frame}), seal, {.skip_bad = true}).frame, 2u);
}

}  // namespace
}  // namespace psp::test
