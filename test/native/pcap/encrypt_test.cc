// SPDX-License-Identifier: Apache-2.0
// Encrypting frames: the outer headers, and that every frame with IP is sealed or reported with a reason.
#include "pcap/encrypt.h"

#include <gtest/gtest.h>

#include "pcap/decrypt.h"
#include "pcap/layers.h"
#include "transcoding.h"

namespace psp::test {
namespace {

TEST(FrameSealer, CopiesTheOuterHeaderFieldsFromTheInnerHeader) {
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

TEST(FrameSealer, UsesOuterAddressesOfEitherFamily) {
  SealOptions seal = options();
  Address source{}, destination{};
  source[0] = destination[0] = 0x20;
  destination[15] = 9;
  seal.outer = {source, destination};
  const Octets file = capture_of({ethernet(udp4(5, 6, 40), {0x81, 0, 0, 5}), ethernet(udp6(5, 6, 40))});
  const Result sealed = run(file, seal);
  ASSERT_EQ(sealed.fault, "");
  for (const ReadFrame& frame : sealed.frames()) {
    EXPECT_EQ(read_layers(1, frame.octets)->ip_version, 6);
    const size_t front = read_layers(1, frame.octets)->length;
    EXPECT_TRUE(
        std::equal(source.begin(), source.end(), frame.octets.begin() + static_cast<long>(front) + 8));
  }
  EXPECT_EQ(run(sealed.octets, std::nullopt).octets, file);

  const uint8_t v4[] = {192, 0, 2, 1};
  seal.outer = {mapped(v4), mapped(v4)};
  const Result four = run(file, seal);
  EXPECT_EQ(read_layers(1, four.frames()[1].octets)->ip_version, 4);
  EXPECT_EQ(run(four.octets, std::nullopt).octets, file);
}

TEST(FrameSealer, SealsRawIpAndRejectsTheOtherVersionOnSingleVersionLinks) {
  const Octets both = capture_of({udp4(5, 6, 7), udp6(5, 6, 7)}, 101);
  EXPECT_EQ(run(run(both, options()).octets, std::nullopt).octets, both);

  SealOptions seal = options();
  seal.outer = {Address{0x20}, Address{0x20}};
  const Octets four = capture_of({udp4(5, 6, 7)}, 228);
  EXPECT_NE(run(four, seal).fault.find("one IP version"), std::string::npos);
  EXPECT_EQ(run(run(four, options()).octets, std::nullopt).octets, four);
  // An IPv6 packet inside a packet that an IPv4 link type carries.
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

TEST(FrameSealer, SealsFragmentsInTunnelModeAndRejectsThemInTransportMode) {
  const Octets file =
      capture_of({arp(), ethernet(udp4(5, 6, 100, 0x2000)), ethernet(udp4(5, 6, 100, 0x0010))});
  EXPECT_EQ(run(run(file, options()).octets, std::nullopt).octets, file);
  const Result refused = run(file, options(Mode::kTransport));
  EXPECT_EQ(refused.frame, 2u);
  EXPECT_NE(refused.fault.find("fragment"), std::string::npos);
}

TEST(FrameSealer, SealsEveryIpFrameOrReportsWhyNot) {
  const auto fault = [](const Octets& frame, uint32_t original = 0, Mode mode = Mode::kTunnel) {
    const CaptureBuilder builder;
    const Result result =
        run(builder.pcap_header() + builder.pcap_frame(arp()) + builder.pcap_frame(frame, original),
            options(mode));
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
  EXPECT_EQ(fault(ethernet(udp6(5, 6, 1), {}, 0x0800)),
            "its IP version differs from the one in its link header");
  Octets tunnelled = udp4(5, 6, 100);
  tunnelled[9] = 41;
  write_ipv4_checksum(tunnelled.data());
  EXPECT_NE(fault(ethernet(tunnelled), 0, Mode::kTransport).find("protocol is 4 or 41"), std::string::npos);
  const std::string too_long = "it would exceed the maximum length of an IP packet";
  EXPECT_EQ(fault(ethernet(udp4(5, 6, 65480))), too_long);
  EXPECT_EQ(fault(ethernet(udp4(5, 6, 65480)), 0, Mode::kTransport), too_long);
  EXPECT_EQ(fault(ethernet(udp4(5, 6, 9), {}, 0x894f)),
            "it is NSH, which may contain IP that cannot be encrypted");
}

// A frame of 802.3 with SNAP.
Octets snap(const Octets& packet, size_t length) {
  const Octets llc = {0xaa, 0xaa, 3, 0, 0, 0, 8, 0};
  return ethernet(llc + packet, {}, static_cast<uint16_t>(length));
}

TEST(FrameSealer, UpdatesTheLengthFieldsOfLinkLayers) {
  const Octets packet = udp4(5, 6, 100);
  const Octets file = capture_of({snap(packet, 8 + packet.size())});
  for (const Mode mode : {Mode::kTunnel, Mode::kTransport}) {
    const Result sealed = run(file, options(mode));
    ASSERT_EQ(sealed.fault, "");
    const Octets frame = sealed.frames()[0].octets;
    EXPECT_EQ(load_u16(frame.data() + 12), frame.size() - 14);
    EXPECT_TRUE(is_to_psp(std::span(frame).subspan(22)));
    EXPECT_EQ(run(sealed.octets, std::nullopt).octets, file);
  }
  EXPECT_EQ(run(capture_of({snap(udp4(5, 6, 1412), 1448)}), options()).fault,
            "it would exceed the maximum of the length field in its link header");
  for (const size_t wrong : {0ul, 100ul, 9 + packet.size()}) {
    EXPECT_EQ(run(capture_of({snap(packet, wrong)}), options()).fault,
              "the length field in its link header does not match its IP packet");
  }
}

TEST(FrameSealer, RejectsOctetsAfterThePacketThatAreNotPadding) {
  const auto fault = [](const Octets& frame, uint32_t original = 0) {
    const CaptureBuilder builder;
    return run(builder.pcap_header() + builder.pcap_frame(frame, original), options()).fault;
  };
  const auto refusal = [](size_t octets) {
    const std::string number = std::to_string(octets);
    return number +
           " octets follow its IP packet that are not link padding; if they are a trailer, editcap "
           "-C -" +
           number + " IN OUT removes it";
  };
  EXPECT_EQ(fault(ethernet(udp4(5, 6, 100)) + Octets(1, 7)), refusal(1));
  EXPECT_EQ(fault(ethernet(udp4(5, 6, 0)) + Octets(18, 7)), "");
  EXPECT_EQ(fault(ethernet(udp4(5, 6, 0)) + Octets(19, 7)), refusal(19));
  EXPECT_EQ(fault(ethernet(udp6(5, 6, 100)) + Octets(4, 7)), refusal(4));
  // Octets that were not captured count too.
  EXPECT_EQ(fault(ethernet(udp4(5, 6, 100)), 642), refusal(500));
  Octets less = udp6(5, 6, 100);
  store_u16(less.data() + 4, 8);
  EXPECT_EQ(fault(ethernet(less)), refusal(100));
}

TEST(FrameSealer, RemovesAnUndeclaredFrameCheckSequence) {
  // Computed with zlib.
  const Octets longer = ethernet(udp4(5, 6, 100)), shorter = ethernet(udp4(5, 6, 0)) + Octets(18, 0);
  const Octets longer_fcs = {0xc7, 0xc0, 0xbc, 0x94}, shorter_fcs = {0xc2, 0xc2, 0xc5, 0xb6};
  for (const auto& [frame, fcs] : {std::pair(longer, longer_fcs), std::pair(shorter, shorter_fcs)}) {
    const Result sealed = run(capture_of({frame + fcs}), options());
    EXPECT_EQ(sealed.fault, "");
    EXPECT_EQ(run(sealed.octets, std::nullopt).octets,
              run(run(capture_of({frame}), options()).octets, std::nullopt).octets);
    EXPECT_EQ(sealed.counts.padding_octets, 4 + (frame == shorter ? 18u : 0u));
    Octets wrong = fcs;
    wrong[3] ^= 1;
    EXPECT_NE(run(capture_of({frame + wrong}), options()).fault.find("follow its IP packet"),
              std::string::npos);
  }
}

Octets tcp_of(Octets packet) {
  packet[packet[0] >> 4 == 4 ? 9 : 6] = 6;
  if (packet[0] >> 4 == 4) write_ipv4_checksum(packet.data());
  return packet;
}

TEST(FrameSealer, FillsInFieldsThatTheSendingHostLeftToItsInterface) {
  const Octets whole4 = ethernet(tcp_of(udp4(5, 6, 420))), whole6 = ethernet(tcp_of(udp6(5, 6, 420)));
  const auto with_zeros_at = [](Octets frame, std::initializer_list<size_t> fields) {
    for (const size_t at : fields) store_u16(frame.data() + at, 0);
    return frame;
  };
  // The header checksum is computed over a length of 0.
  Octets checked = with_zeros_at(whole4, {16, 24});
  write_ipv4_checksum(checked.data() + 14);
  const struct {
    const char* name;
    Octets frame, whole;
  } rows[] = {{"checksum", with_zeros_at(whole4, {24}), whole4},
              {"length and checksum", with_zeros_at(whole4, {16, 24}), whole4},
              {"length", checked, whole4},
              {"payload length", with_zeros_at(whole6, {18}), whole6}};
  for (const Mode mode : {Mode::kTunnel, Mode::kTransport}) {
    for (const auto& [name, frame, whole] : rows) {
      const Result sealed = run(capture_of({frame, whole}), options(mode));
      EXPECT_EQ(sealed.fault, "") << name;
      EXPECT_EQ(sealed.counts.completed, 1u) << name;
      EXPECT_EQ(sealed.counts.padding_octets, 0u) << name;
      EXPECT_EQ(run(sealed.octets, std::nullopt).octets, capture_of({whole, whole})) << name;
    }
  }
}

TEST(FrameSealer, FillsInNothingThatOffloadDoesNotExplain) {
  const auto fault = [](Octets frame, size_t field, uint32_t original = 0) {
    store_u16(frame.data() + field, 0);
    if (frame[14] >> 4 == 4) write_ipv4_checksum(frame.data() + 14);
    const CaptureBuilder builder;
    return run(builder.pcap_header() + builder.pcap_frame(frame, original), options()).fault;
  };
  const Octets four = ethernet(tcp_of(udp4(5, 6, 420))), six = ethernet(tcp_of(udp6(5, 6, 420)));
  ASSERT_EQ(fault(four, 16), "");
  ASSERT_EQ(fault(six, 18), "");
  EXPECT_NE(fault(four, 16, 2000), "");
  EXPECT_NE(fault(six, 18, 2000), "");
  EXPECT_EQ(fault(ethernet(tcp_of(udp4(5, 6, 18))), 16), "its IP header is malformed");
  EXPECT_EQ(fault(ethernet(tcp_of(udp4(5, 6, 420, 0x2000))), 16), "its IP header is malformed");
  EXPECT_NE(fault(ethernet(tcp_of(udp4(5, 6, 420))) + Octets(65536, 1), 16), "");
  Octets other = six;
  other[20] = 58;
  EXPECT_NE(fault(other, 18).find("428 octets follow its IP packet"), std::string::npos);
  // RFC 2675: hop-by-hop options with the length of a jumbo payload.
  Octets jumbo = six;
  jumbo[20] = 0;
  const Octets options_header = {6, 0, 0xc2, 4, 0, 1, 0, 0};
  std::copy(options_header.begin(), options_header.end(), jumbo.begin() + 54);
  EXPECT_EQ(fault(jumbo, 18), "it is a jumbogram, which cannot be encapsulated");
}

TEST(FrameSealer, RejectsFramesOfOtherLinkTypes) {
  for (const std::optional<SealOptions>& seal : {std::optional(options()), std::optional<SealOptions>()}) {
    const Result result = run(capture_of({Octets(60, 1)}, 105), seal);
    EXPECT_EQ(result.frame, 1u);
    EXPECT_NE(result.fault.find("link type 105"), std::string::npos);
  }
}

TEST(FrameSealer, RejectsACryptOffsetPastThePayload) {
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
                                   " points past its payload; the maximum for it is " +
                                   std::to_string(longest));
    }
  }
}

}  // namespace
}  // namespace psp::test
