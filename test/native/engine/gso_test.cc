// SPDX-License-Identifier: Apache-2.0
// GSO packets of hosts come apart into exactly the packets that the host would have sent itself.
#include "engine/ports/gso.h"

#include <gtest/gtest.h>

#include "gso_frames.h"

namespace psp {
namespace {

std::vector<Frame> cut(const FrameFacts& facts, const Frame& frame, bool sealed = false) {
  Segments segments;
  std::vector<Frame> packets;
  if (!segments.begin(facts, frame.data(), static_cast<uint32_t>(frame.size()), sealed)) return packets;
  while (!segments.done()) {
    Frame packet(segments.longest());
    packet.resize(segments.next(packet.data()));
    packets.push_back(std::move(packet));
  }
  EXPECT_EQ(packets.size(), segments.count());
  return packets;
}

const Frame kTimestamps = {1, 1, 8, 10, 0, 0, 1, 2, 0, 0, 3, 4};

std::vector<Segment> kinds() {
  std::vector<Segment> result;
  for (const bool ipv6 : {false, true}) {
    result.push_back({.ipv6 = ipv6, .identification = 7});
    result.push_back({.ipv6 = ipv6, .identification = 0xfffe, .traffic_class = 0x2e, .options = kTimestamps});
    result.push_back({.ipv6 = ipv6, .marks = 0, .flags = 0xd9, .sequence = 0xffffff00});
    result.push_back({.ipv6 = ipv6, .udp = true, .identification = 9});
    const Frame options = ipv6 ? Frame{0, 0, 1, 4, 0, 0, 0, 0} : Frame{0x94, 4, 0, 0};
    result.push_back({.ipv6 = ipv6, .identification = 3, .options = kTimestamps, .ip_options = options});
    result.push_back({.ipv6 = ipv6, .udp = true, .ip_options = options});
  }
  return result;
}

TEST(GsoTest, ComesApartIntoThePacketsThatItStandsFor) {
  for (Segment whole : kinds()) {
    for (const uint16_t size : {uint16_t{100}, uint16_t{1448}, uint16_t{8948}}) {
      for (const size_t length : {size_t{1}, size_t{99}, size_t{100}, size_t{101}, size_t{1448 * 2},
                                  size_t{1448 * 3 - 1}, size_t{65160}}) {
        whole.payload = octets_of(length);
        FrameFacts facts;
        const Frame frame = whole.partial(size, &facts);
        if (whole.flags & 0x80) facts.kind |= kCongestionOnce;
        if ((length + size - 1) / size > kSegmentsAtMost) continue;
        ASSERT_EQ(cut(facts, frame), expected_packets(whole, size))
            << whole.ipv6 << whole.udp << ' ' << length << '/' << size;
      }
    }
  }
}

TEST(GsoTest, KeepsCongestionMarksInEveryPacketWhereTheKernelDoesNotSayOnce) {
  Segment whole{.flags = 0x90, .payload = octets_of(3000)};
  FrameFacts facts;
  const Frame frame = whole.partial(1000, &facts);
  EXPECT_EQ(cut(facts, frame), expected_packets(whole, 1000, false));
}

TEST(GsoTest, TakesTheWholeOfADatagramThatIsAsLongAsOneCanBe) {
  Segment whole{.udp = true, .payload = octets_of(65507)};
  FrameFacts facts;
  const Frame frame = whole.partial(1472, &facts);
  EXPECT_EQ(cut(facts, frame), expected_packets(whole, 1472));
}

TEST(GsoTest, SumsAnewWhereTheChecksumIsNotPartial) {
  Segment whole{.options = kTimestamps, .payload = octets_of(3000)};
  FrameFacts facts;
  whole.partial(1448, &facts);
  facts.flags = 0;
  EXPECT_EQ(cut(facts, whole.frame()), expected_packets(whole, 1448));
}

TEST(GsoTest, GivesSealedDatagramsNoChecksumAndAllOthersOne) {
  Segment whole{.udp = true, .payload = octets_of(3000)};
  FrameFacts facts;
  Frame frame = whole.partial(1000, &facts);
  EXPECT_EQ(cut(facts, frame, true), expected_packets(whole, 1000));
  whole.checked = false;
  std::vector<Frame> expected = expected_packets(whole, 1000);
  for (Frame* one : {&frame, &expected[0], &expected[1], &expected[2]}) put16(*one, 36, 1000);
  EXPECT_EQ(cut(facts, frame, true), expected);
  EXPECT_NE(get16(cut(facts, frame, false)[0], 40), 0);
}

TEST(GsoTest, LeavesLinkPaddingOut) {
  Segment whole{.payload = octets_of(150)};
  FrameFacts facts;
  Frame frame = whole.partial(100, &facts);
  frame.resize(frame.size() + 20, 0xee);
  EXPECT_EQ(cut(facts, frame), expected_packets(whole, 100));
}

TEST(GsoTest, SegmentsGsoPacketsInsideAHostsTunnel) {
  for (const Overlay& overlay : overlays()) {
    for (Segment whole : kinds()) {
      for (const size_t length : {size_t{1}, size_t{1398}, size_t{1398 * 3 - 1}, size_t{60000}}) {
        whole.payload = octets_of(length);
        FrameFacts facts;
        const Frame frame = overlay.partial(whole, 1398, &facts);
        if (whole.flags & 0x80) facts.kind |= kCongestionOnce;
        ASSERT_EQ(cut(facts, frame), expected_packets(overlay, whole, 1398))
            << static_cast<int>(overlay.kind) << overlay.ipv6 << overlay.summed << overlay.keyed << ' '
            << whole.ipv6 << whole.udp << ' ' << length;
      }
    }
  }
}

TEST(GsoTest, SegmentsGsoPacketsInsideNestedTunnels) {
  const Overlay inner{.summed = true}, middle{.kind = Overlay::Kind::kGre, .ipv6 = true, .summed = true},
      outer{.kind = Overlay::Kind::kGeneve, .summed = true, .identification = 900};
  const Segment whole{.ipv6 = true, .payload = octets_of(5000)};
  FrameFacts facts;
  Frame frame = inner.partial(whole, 1000, &facts);
  std::vector<Frame> expected = expected_packets(inner, whole, 1000);
  for (const auto& [overlay, inner_ipv6] : {std::pair(middle, false), std::pair(outer, true)}) {
    frame = overlay.around(frame, true);
    facts.checksum_start = static_cast<uint16_t>(facts.checksum_start + overlay.front(inner_ipv6) - 14);
    for (size_t i = 0; i < expected.size(); ++i) {
      expected[i] = overlay.around(expected[i], false, static_cast<uint16_t>(i));
    }
  }
  EXPECT_EQ(cut(facts, frame), expected);
  // One more is one too many.
  facts.checksum_start = static_cast<uint16_t>(facts.checksum_start + outer.front(false) - 14);
  EXPECT_TRUE(cut(facts, outer.around(frame, true)).empty());
}

TEST(GsoTest, ChecksumsAnInnerDatagramToPort1000) {
  Segment whole{.udp = true, .payload = octets_of(3000)};
  const Overlay overlay{.summed = true};
  FrameFacts facts;
  Frame frame = overlay.partial(whole, 1000, &facts);
  const size_t port = facts.checksum_start + 2u;
  put16(frame, port, 1000);
  for (const Frame& packet : cut(facts, frame, true)) EXPECT_NE(get16(packet, port + 4), 0);
}

TEST(GsoTest, RefusesTunnelsThatCannotBeSegmented) {
  const Segment whole{.payload = octets_of(3000)};
  const auto count = [&](const Overlay& overlay, auto change) {
    FrameFacts facts;
    Frame frame = overlay.partial(whole, 1000, &facts);
    change(frame, facts);
    return cut(facts, frame).size();
  };
  const auto nothing = [](Frame&, FrameFacts&) {};
  const auto set = [](size_t at, uint8_t value) {
    return [=](Frame& frame, FrameFacts&) { frame[at] = value; };
  };
  const Overlay vxlan, gre{.kind = Overlay::Kind::kGre}, ip_in_ip{.kind = Overlay::Kind::kIpInIp};
  const size_t outer_ip = 14, behind = 34;
  for (const Overlay& overlay : {vxlan, gre, ip_in_ip}) ASSERT_EQ(count(overlay, nothing), 3u);
  // Sequence numbers, routing, a version of GRE other than 0.
  EXPECT_EQ(count(gre, set(behind, 0x10)), 0u);
  EXPECT_EQ(count(gre, set(behind, 0x40)), 0u);
  EXPECT_EQ(count(gre, set(behind + 1, 1)), 0u);
  // Remote checksum offload of VXLAN.
  EXPECT_EQ(count(vxlan, set(behind + 8 + 1, 0x20)), 0u);
  // A UDP length that ends elsewhere, an inner packet that does, and one with a wrong checksum.
  EXPECT_EQ(count(vxlan, set(behind + 5, 0)), 0u);
  const size_t inner = behind + 8 + 8 + 14;
  EXPECT_EQ(count(vxlan, set(inner + 3, 0)), 0u);
  EXPECT_EQ(count(vxlan, set(inner + 10, 0)), 0u);
  // Another protocol outside, whose checksum is made right; an inner fragment.
  const auto sum = [](Frame& frame, size_t at) {
    put16(frame, at + 10, 0);
    put16(frame, at + 10,
          plain_checksum(Frame(frame.begin() + static_cast<ptrdiff_t>(at),
                               frame.begin() + static_cast<ptrdiff_t>(at) + 20)));
  };
  EXPECT_EQ(count(vxlan, [&](Frame& frame, FrameFacts&) { frame[outer_ip + 9] = 50, sum(frame, outer_ip); }),
            0u);
  EXPECT_EQ(count(vxlan, [&](Frame& frame, FrameFacts&) { frame[inner + 6] = 0x20, sum(frame, inner); }), 0u);
  // A checksum that begins elsewhere than at layer 4, or outside the frame.
  for (const int moved : {-40, -2, 2, 20, 3100, 60000}) {
    EXPECT_EQ(count(vxlan,
                    [&](Frame&, FrameFacts& facts) {
                      facts.checksum_start = static_cast<uint16_t>(facts.checksum_start + moved);
                    }),
              0u)
        << moved;
  }
  // Inner packets of the other family than the kernel says.
  EXPECT_EQ(count(vxlan, [](Frame&, FrameFacts& facts) { facts.kind = kTcpIpv6Packets; }), 0u);
}

TEST(GsoTest, RefusesPacketsThatItCannotSegment) {
  const Segment whole{.payload = octets_of(3000)};
  FrameFacts facts;
  const Frame frame = whole.partial(1000, &facts);
  ASSERT_EQ(cut(facts, frame).size(), 3u);
  const auto refuses = [](const FrameFacts& facts, const Frame& frame) {
    Segments segments;
    const auto length = static_cast<uint32_t>(frame.size());
    return !segments.begin(facts, frame.data(), length, false) && segments.done();
  };
  FrameFacts changed = facts;
  changed.size = 0;
  EXPECT_TRUE(refuses(changed, frame));
  // More packets than one frame may stand for.
  changed.size = 2;
  EXPECT_TRUE(refuses(changed, frame));
  changed.size = 3;
  EXPECT_FALSE(refuses(changed, frame));
  // As inside a tunnel, where there is none.
  changed = facts;
  changed.checksum_start += 50;
  EXPECT_TRUE(refuses(changed, frame));
  // Of another protocol or family than the frame.
  for (const uint8_t kind : {kTcpIpv6Packets, kUdpPackets, uint8_t{3}, uint8_t{6}}) {
    changed = facts;
    changed.kind = kind;
    EXPECT_TRUE(refuses(changed, frame)) << int{kind};
  }
  // A fragment, another type, cut off anywhere in front of its end.
  Segment fragment = whole;
  fragment.marks = 0x2000;
  FrameFacts ignored;
  EXPECT_TRUE(refuses(facts, fragment.partial(1000, &ignored)));
  Frame other = frame;
  put16(other, 12, 0x8100);
  EXPECT_TRUE(refuses(facts, other));
  for (const size_t length : {size_t{0}, size_t{13}, size_t{14}, size_t{40}, size_t{54}, frame.size() - 1}) {
    EXPECT_TRUE(refuses(facts, Frame(frame.begin(), frame.begin() + static_cast<ptrdiff_t>(length))));
  }
  // TCP headers longer than all there is, and none.
  for (const uint8_t words : {uint8_t{0x40}, uint8_t{0xf0}}) {
    Segment tiny{.payload = octets_of(8)};
    Frame odd = tiny.partial(4, &ignored);
    odd[14 + 20 + 12] = words;
    EXPECT_TRUE(refuses(ignored, odd)) << int{words};
  }
}

TEST(GsoTest, CompletesAPartialChecksumWhereverItLies) {
  for (Segment one : kinds()) {
    one.payload = octets_of(333);
    FrameFacts facts;
    Frame frame = one.partial(0, &facts);
    ASSERT_TRUE(complete_checksum(facts, frame.data(), static_cast<uint32_t>(frame.size())));
    EXPECT_EQ(frame, one.frame());
  }
  // Behind the headers of a tunnel: only the sum of what is there counts.
  const Segment inner{.payload = octets_of(100)};
  FrameFacts facts;
  const Frame partial = inner.partial(0, &facts), whole = inner.frame();
  const Frame front = ethernet(kUnsecuredMac, kHostMac, 0x0800, Frame(50, 0xab));
  const auto behind = [&](const Frame& frame) {
    Frame result = front;
    result.insert(result.end(), frame.begin(), frame.end());
    return result;
  };
  facts.checksum_start = static_cast<uint16_t>(facts.checksum_start + front.size());
  Frame frame = behind(partial);
  ASSERT_TRUE(complete_checksum(facts, frame.data(), static_cast<uint32_t>(frame.size())));
  EXPECT_EQ(frame, behind(whole));
}

TEST(GsoTest, NeverCompletesToZeroWhichWouldMeanNone) {
  // A payload whose two last octets bring the sum to zero.
  Segment one{.udp = true, .payload = octets_of(10)};
  const Frame before = one.frame();
  one.payload.push_back(before[14 + 20 + 6]);
  one.payload.push_back(before[14 + 20 + 7]);
  // Two lengths grew by 2.
  const uint16_t last = static_cast<uint16_t>(get16(one.payload, 10) - 4);
  put16(one.payload, 10, last);
  FrameFacts facts;
  Frame frame = one.partial(0, &facts);
  ASSERT_TRUE(complete_checksum(facts, frame.data(), static_cast<uint32_t>(frame.size())));
  EXPECT_EQ(get16(frame, 14 + 20 + 6), 0xffff);
}

TEST(GsoTest, CompletesTheCrcOfSctp) {
  // RFC 9260 asks for CRC32c; of "123456789" it is e3069283.
  Frame sctp(12);
  const Frame rest = text("123456789");
  sctp.insert(sctp.end(), rest.begin(), rest.end());
  put16(sctp, 0, 9);
  uint32_t crc = UINT32_MAX;
  const auto bitwise = [](const Frame& octets, uint32_t crc) {
    for (const uint8_t octet : octets) {
      crc ^= octet;
      for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
    }
    return crc;
  };
  ASSERT_EQ(~bitwise(rest, UINT32_MAX), 0xe3069283);
  crc = ~bitwise(sctp, UINT32_MAX);
  Frame frame = ethernet(kUnsecuredMac, kHostMac, 0x0800,
                         ip_packet(address("10.1.0.5"), address("10.2.0.7"), kProtocolSctp, sctp));
  frame[14 + 20 + 9] = 1;  // what stands in the field does not count
  FrameFacts facts;
  facts.checksum_start = 34;
  facts.checksum_offset = 8;
  ASSERT_TRUE(complete_checksum(facts, frame.data(), static_cast<uint32_t>(frame.size())));
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(frame[34 + 8 + i], static_cast<uint8_t>(crc >> 8 * i));
}

TEST(GsoTest, CompletesNothingOutsideTheFrame) {
  Frame frame(60);
  FrameFacts facts;
  for (const auto& [start, offset] : {std::pair{55, 4}, {60, 0}, {65535, 65535}, {52, 8}}) {
    facts.checksum_start = static_cast<uint16_t>(start);
    facts.checksum_offset = static_cast<uint16_t>(offset);
    EXPECT_FALSE(complete_checksum(facts, frame.data(), 60));
  }
  EXPECT_EQ(frame, Frame(60));
}

}  // namespace
}  // namespace psp
