// SPDX-License-Identifier: Apache-2.0
// Encrypting frames: what stands outside, and that every frame with IP is sealed or named.
#include "pcap/seal.h"

#include <gtest/gtest.h>

#include "pcap/link.h"
#include "transcoding.h"

namespace psp::test {
namespace {

TEST(FrameSealer, WritesTheOuterHeaderFromThePacketsOwn) {
  const Octets packet = udp4(0x2b67, 0x56ce, 100);
  const Octets outer = run(capture_of({ethernet(packet)}), options()).frames()[0].octets;
  IpPacket read;
  ASSERT_EQ(read_ip(outer.data() + 14, outer.size() - 14, &read), IpFault::kNone);
  EXPECT_EQ(read.source, mapped(packet.data() + 12));
  EXPECT_EQ(read.destination, mapped(packet.data() + 16));
  EXPECT_EQ(outer[14 + 8], 61);                             // hop limit
  EXPECT_EQ(load_u16(outer.data() + 14 + 6), 0x4000);       // don't fragment
  EXPECT_EQ(load_u16(outer.data() + 34), 0x2b67 ^ 0x56ce);  // source port
  EXPECT_EQ(load_u16(outer.data() + 40), 0);                // checksum
  const Octets may_fragment = run(capture_of({ethernet(udp4(5, 6, 9, 0))}), options()).frames()[0].octets;
  EXPECT_EQ(load_u16(may_fragment.data() + 14 + 6), 0);
  EXPECT_EQ(load_u16(may_fragment.data() + 14 + 4), 7);  // identification
}

TEST(FrameSealer, TakesOuterAddressesOfEitherFamily) {
  SealOptions seal = options();
  Address source{}, destination{};
  source[0] = destination[0] = 0x20;
  destination[15] = 9;
  seal.outer = {source, destination};
  const Octets file = capture_of({ethernet(udp4(5, 6, 40), {0x81, 0, 0, 5}), ethernet(udp6(5, 6, 40))});
  const Result sealed = run(file, seal);
  ASSERT_EQ(sealed.fault, "");
  for (const ReadFrame& frame : sealed.frames()) {
    EXPECT_EQ(read_link(1, frame.octets)->ip_version, 6);
    const size_t front = read_link(1, frame.octets)->length;
    EXPECT_TRUE(
        std::equal(source.begin(), source.end(), frame.octets.begin() + static_cast<long>(front) + 8));
  }
  EXPECT_EQ(run(sealed.octets, std::nullopt).octets, file);

  const uint8_t v4[] = {192, 0, 2, 1};
  seal.outer = {mapped(v4), mapped(v4)};
  const Result four = run(file, seal);
  EXPECT_EQ(read_link(1, four.frames()[1].octets)->ip_version, 4);
  EXPECT_EQ(run(four.octets, std::nullopt).octets, file);
}

TEST(FrameSealer, WorksOnRawIpAndTellsWhereALinkHasOneVersion) {
  const Octets both = capture_of({udp4(5, 6, 7), udp6(5, 6, 7)}, 101);
  EXPECT_EQ(run(run(both, options()).octets, std::nullopt).octets, both);

  SealOptions seal = options();
  seal.outer = {Address{0x20}, Address{0x20}};
  const Octets four = capture_of({udp4(5, 6, 7)}, 228);
  EXPECT_NE(run(four, seal).fault.find("one IP version"), std::string::npos);
  EXPECT_EQ(run(run(four, options()).octets, std::nullopt).octets, four);
  // What cannot come out of an IPv4 link, read from one.
  Octets six_in_four = run(capture_of({udp6(5, 6, 7)}, 101),
                           [&] {
                             SealOptions other = options();
                             const uint8_t v4[] = {192, 0, 2, 1};
                             other.outer = {mapped(v4), mapped(v4)};
                             return other;
                           }())
                           .octets;
  six_in_four[20] = 228;
  EXPECT_NE(run(six_in_four, std::nullopt).fault.find("one IP version"), std::string::npos);
}

TEST(FrameSealer, CarriesFragmentsInTunnelModeAndNamesThemInTransportMode) {
  const Octets file =
      capture_of({arp(), ethernet(udp4(5, 6, 100, 0x2000)), ethernet(udp4(5, 6, 100, 0x0010))});
  EXPECT_EQ(run(run(file, options()).octets, std::nullopt).octets, file);
  const Result refused = run(file, options(Mode::kTransport));
  EXPECT_EQ(refused.frame, 2u);
  EXPECT_NE(refused.fault.find("fragment"), std::string::npos);
}

TEST(FrameSealer, SealsEveryIpFrameOrNamesIt) {
  const auto fault = [](const Octets& frame, uint32_t original = 0, Mode mode = Mode::kTunnel) {
    const Ends ends;
    const Result result =
        run(ends.pcap_header() + ends.pcap_frame(arp()) + ends.pcap_frame(frame, original), options(mode));
    EXPECT_EQ(result.frame, 2u) << result.fault;
    return result.fault;
  };
  const Octets whole = ethernet(udp4(5, 6, 100));
  const Octets cut(whole.begin(), whole.begin() + 96);
  EXPECT_EQ(fault(cut, 142), "only 96 of its 142 octets were captured; capture with a larger snap length");
  EXPECT_EQ(fault(cut), "its IP packet is longer than the frame");
  Octets wrong = whole;
  wrong[24] ^= 1;
  EXPECT_EQ(fault(wrong), "its IPv4 header checksum is wrong");
  wrong = whole;
  wrong[14] = 0x43;
  EXPECT_EQ(fault(wrong), "its IP header is malformed");
  EXPECT_EQ(fault(ethernet(udp6(5, 6, 1), {}, 0x0800)), "its IP version is not the one its link names");
  Octets tunnelled = udp4(5, 6, 100);
  tunnelled[9] = 41;
  write_ipv4_checksum(tunnelled.data());
  EXPECT_NE(fault(ethernet(tunnelled), 0, Mode::kTransport).find("protocol 4 or 41"), std::string::npos);
  const std::string too_long = "it would be longer than an IP packet can be";
  EXPECT_EQ(fault(ethernet(udp4(5, 6, 65480))), too_long);
  EXPECT_EQ(fault(ethernet(udp4(5, 6, 65480)), 0, Mode::kTransport), too_long);
}

TEST(FrameSealer, NamesFramesOfOtherLinks) {
  for (const std::optional<SealOptions>& seal : {std::optional(options()), std::optional<SealOptions>()}) {
    const Result result = run(capture_of({Octets(60, 1)}, 105), seal);
    EXPECT_EQ(result.frame, 1u);
    EXPECT_NE(result.fault.find("link type 105"), std::string::npos);
  }
}

TEST(FrameSealer, RefusesACryptOffsetPastThePayload) {
  const Octets file = capture_of({ethernet(udp4(5, 6, 100)), ethernet(udp4(5, 6, 6))});
  SealOptions seal = options();
  for (const bool cookie : {false, true}) {
    if (cookie) seal.cookie = 5;
    for (const Mode mode : {Mode::kTunnel, Mode::kTransport}) {
      seal.mode = mode;
      const unsigned longest = ((mode == Mode::kTunnel ? 34 : 14) + (cookie ? 8 : 0)) / 4;
      seal.crypt_offset = static_cast<uint8_t>(longest);
      const Result sealed = run(file, seal);
      EXPECT_EQ(sealed.fault, "");
      EXPECT_EQ(run(sealed.octets, std::nullopt).octets, file);
      seal.crypt_offset++;
      const Result refused = run(file, seal);
      EXPECT_EQ(refused.frame, 2u);
      EXPECT_EQ(refused.fault, "crypt offset " + std::to_string(longest + 1) +
                                   " points past its payload; the longest for it is " +
                                   std::to_string(longest));
    }
  }
}

}  // namespace
}  // namespace psp::test
