// SPDX-License-Identifier: Apache-2.0
// Decrypting frames: each PSP frame opens or is reported with a reason; all other frames are copied.
#include "pcap/decrypt.h"

#include <gtest/gtest.h>

#include "transcoding.h"

namespace psp::test {
namespace {

TEST(FrameOpener, RejectsEveryFlippedBitFromThePspHeaderToTheIcv) {
  for (const uint8_t version : {0, 3}) {
    SealOptions seal = options(Mode::kTunnel, version);
    seal.cookie = 5;
    const Octets sealed = run(capture_of({arp(), ethernet(udp4(5, 6, 20))}), seal).frames()[1].octets;
    const size_t psp = static_cast<size_t>(psp_of(sealed) - sealed.data());
    for (size_t at = psp; at < sealed.size(); at++) {
      for (int bit = 0; bit < 8; bit++) {
        Octets wrong = sealed;
        wrong[at] ^= static_cast<uint8_t>(1 << bit);
        const Result result = run(capture_of({arp(), wrong}), std::nullopt);
        EXPECT_EQ(result.frame, 2u) << "octet " << at - psp << " bit " << bit;
      }
    }
  }
}

TEST(FrameOpener, RejectsOtherMasterKeys) {
  const Octets sealed = run(capture_of({ethernet(udp4(5, 6, 20))}), options()).octets;
  uint8_t others[kMasterKeysLength];
  std::copy(std::begin(kMasterKeys), std::end(kMasterKeys), others);
  others[40] = 1;  // of key 1, which this SPI does not use
  EXPECT_EQ(run(sealed, std::nullopt, others).fault, "");
  others[20] = 1;
  const Result refused = run(sealed, std::nullopt, others);
  EXPECT_EQ(refused.frame, 1u);
  EXPECT_NE(refused.fault.find("ICV is wrong (SPI 0x1a345678, version 0)"), std::string::npos);
}

TEST(FrameOpener, DecryptsMoreSpisThanTheKeyCacheHasSlots) {
  Octets sealed = CaptureBuilder().pcap_header(1, 0), clear = sealed;
  for (uint32_t i = 0; i < 600; i++) {
    SealOptions seal = options(i % 2 ? Mode::kTunnel : Mode::kTransport, static_cast<uint8_t>(i % 4));
    seal.spi = 1 + i % 200 * 7 + (i % 3 ? 0x80000000 : 0);
    const Octets frame = ethernet(udp4(5, 6, i));
    clear = std::move(clear) + CaptureBuilder().pcap_frame(frame);
    sealed =
        std::move(sealed) + CaptureBuilder().pcap_frame(run(capture_of({frame}), seal).frames()[0].octets);
  }
  const Result opened = run(sealed, std::nullopt);
  EXPECT_EQ(opened.fault, "");
  EXPECT_EQ(opened.octets, clear);
  EXPECT_EQ(opened.counts.tunnel, 300u);
  EXPECT_EQ(opened.counts.transport, 300u);
}

TEST(FrameOpener, ReportsWhyAPspFrameCannotBeOpened) {
  const Octets whole = run(capture_of({ethernet(udp4(5, 6, 100))}), options()).frames()[0].octets;
  const auto fault = [](const Octets& frame, uint32_t original = 0) {
    const CaptureBuilder builder;
    const Result result = run(builder.pcap_header() + builder.pcap_frame(frame, original), std::nullopt);
    EXPECT_EQ(result.frame, 1u) << result.fault;
    return result.fault;
  };
  const auto length = static_cast<uint32_t>(whole.size());
  for (size_t kept = 38; kept < whole.size(); kept++) {
    const Octets cut(whole.begin(), whole.begin() + static_cast<long>(kept));
    EXPECT_EQ(fault(cut, length), "only " + std::to_string(kept) + " of its " + std::to_string(length) +
                                      " octets were captured; capture with a larger snap length");
  }
  EXPECT_NE(fault(ethernet(udp4(5, 1000, 100, 0x2000))).find("fragment"), std::string::npos);
  EXPECT_NE(fault(ethernet(udp4(5, 1000, 31))).find("shorter than a PSP header"), std::string::npos);
  EXPECT_NE(fault(ethernet(udp4(5, 1000, 100))), "");
  const auto with = [&](size_t at, uint8_t value) {
    Octets frame = whole;
    frame[at] = value;
    return fault(frame);
  };
  EXPECT_EQ(with(42 + 3, 4 << 2 | 1), "its PSP version 4 is unknown; 0 to 3 are supported");
  EXPECT_EQ(with(42 + 3, 0), "its PSP header is malformed");
  EXPECT_EQ(with(42 + 2, 63), "its crypt offset points past its payload");
  EXPECT_EQ(with(34 + 4, 0xff), "its UDP length is invalid");
  EXPECT_EQ(with(24, 0x11), "its IPv4 header checksum is wrong");
  Octets no_spi = whole;
  std::fill(no_spi.begin() + 46, no_spi.begin() + 50, uint8_t{0});
  EXPECT_EQ(fault(no_spi), "the low 31 bits of its SPI are zero");
}

TEST(FrameOpener, RejectsOctetsThatNoLengthCovers) {
  const Octets whole = run(capture_of({ethernet(udp4(5, 6, 100))}), options()).frames()[0].octets;
  const auto fault = [](const Octets& frame) { return run(capture_of({frame}), std::nullopt).fault; };
  EXPECT_NE(fault(whole + Octets(7, 1)).find("7 octets follow its IP packet"), std::string::npos);
  Octets longer = whole + Octets(5, 1);
  store_u16(longer.data() + 16, static_cast<uint16_t>(longer.size() - 14));
  write_ipv4_checksum(longer.data() + 14);
  EXPECT_EQ(fault(longer), "5 octets of its IP packet follow its UDP datagram");
}

TEST(FrameOpener, FillsInAnIpv4ChecksumThatWasLeftToTheInterface) {
  for (const Mode mode : {Mode::kTunnel, Mode::kTransport}) {
    const Octets clear = capture_of({ethernet(udp4(5, 6, 100))});
    Octets sealed = run(clear, options(mode)).octets;
    store_u16(sealed.data() + 24 + 16 + 24, 0);
    const Result opened = run(sealed, std::nullopt);
    EXPECT_EQ(opened.octets, clear);
    EXPECT_EQ(opened.counts.completed, 1u);
  }
}

TEST(FrameOpener, CopiesFramesWithoutPsp) {
  const Octets later = udp4(5, 1000, 100, 0x0010), tcp = [] {
    Octets packet = udp4(5, 1000, 100);
    packet[9] = 6;
    write_ipv4_checksum(packet.data());
    return packet;
  }();
  const Octets malformed = Octets{0x43} + Octets(30, 0);
  const Octets file = capture_of({ethernet(udp4(1000, 53, 9)), ethernet(later), ethernet(tcp), arp(),
                                  Octets(), Octets(5, 1), ethernet(malformed), ethernet(udp6(1000, 53, 9))});
  const Result result = run(file, std::nullopt);
  EXPECT_EQ(result.fault, "");
  EXPECT_EQ(result.octets, file);
  EXPECT_EQ(result.counts.copied, 8u);
  const std::map<std::string, uint64_t> kinds = {
      {"ARP", 1}, {"IP without PSP", 5}, {"truncated in its link header", 2}};
  EXPECT_EQ(result.counts.copied_kinds, kinds);
}

TEST(Psp, IsRecognizedAfterExtensionHeadersAndInTruncatedPackets) {
  Octets packet = udp6(5, 1000, 40);
  const auto with = [&](uint8_t protocol, const Octets& extension) {
    Octets longer(packet.begin(), packet.begin() + 40);
    longer[6] = protocol;
    return longer + extension + Octets(packet.begin() + 40, packet.end());
  };
  EXPECT_TRUE(is_to_psp(packet));
  EXPECT_TRUE(is_to_psp(std::span(packet).first(44)));
  EXPECT_FALSE(is_to_psp(std::span(packet).first(43)));
  EXPECT_TRUE(is_to_psp(with(0, {17, 0, 0, 0, 0, 0, 0, 0})));
  EXPECT_TRUE(is_to_psp(with(60, {17, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})));
  EXPECT_TRUE(is_to_psp(with(43, {17, 0, 0, 0, 0, 0, 0, 0})));
  EXPECT_TRUE(is_to_psp(with(51, {17, 0, 0, 0, 0, 0, 0, 0})));
  EXPECT_TRUE(is_to_psp(with(44, {17, 0, 0, 1, 0, 0, 0, 1})));
  EXPECT_FALSE(is_to_psp(with(44, {17, 0, 0, 9, 0, 0, 0, 1})));
  EXPECT_FALSE(is_to_psp(with(6, {})));
  EXPECT_FALSE(is_to_psp(Octets()));
}

}  // namespace
}  // namespace psp::test
