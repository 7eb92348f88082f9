// SPDX-License-Identifier: Apache-2.0
// What is joined comes apart again as it was, and what would not is not joined.
#include "engine/ports/gro.h"

#include <gtest/gtest.h>

#include "gso_frames.h"

namespace psp {
namespace {

using Result = GroPacket::Result;

Joinable read(const Frame& frame, bool sealed = false) {
  return read_joinable(frame.data(), static_cast<uint32_t>(frame.size()), sealed);
}

// The GSO packet of packets that all join.
Frame joined(const std::vector<Frame>& packets, FrameFacts* facts, bool sealed = false) {
  GroPacket one;
  one.begin(read(packets[0], sealed));
  for (size_t i = 1; i < packets.size(); ++i) {
    EXPECT_EQ(one.add(read(packets[i], sealed)), Result::kMerged) << i;
  }
  EXPECT_EQ(one.count(), packets.size());
  *facts = one.facts();
  Frame frame(GroPacket::kHeadersAtMost);
  frame.resize(one.write_headers(frame.data()));
  for (const Frame& packet : packets) {
    const Joinable read_again = read(packet, sealed);
    frame.insert(frame.end(), read_again.octets(), read_again.octets() + read_again.payload);
  }
  return frame;
}

const Frame kTimestamps = {1, 1, 8, 10, 0, 0, 1, 2, 0, 0, 3, 4};

TEST(GroTest, IsTheGsoPacketThatTheseSegmentsCameFrom) {
  for (const bool ipv6 : {false, true}) {
    for (const Segment& kind : {Segment{.ipv6 = ipv6, .identification = 0xfffd},
                                Segment{.ipv6 = ipv6, .marks = 0, .flags = 0x59, .options = kTimestamps},
                                Segment{.ipv6 = ipv6, .flags = 0x98, .sequence = 0xffffff00},
                                Segment{.ipv6 = ipv6, .udp = true, .marks = 0}}) {
      for (const size_t length : {size_t{1001}, size_t{2000}, size_t{41234}}) {
        Segment whole = kind;
        whole.payload = octets_of(length);
        FrameFacts expected, facts;
        const Frame super = whole.partial(1000, &expected);
        if (whole.flags & 0x80) expected.kind |= kCongestionOnce;
        EXPECT_EQ(joined(expected_packets(whole, 1000), &facts), super);
        EXPECT_EQ(facts.flags, expected.flags);
        EXPECT_EQ(facts.kind, expected.kind);
        EXPECT_EQ(facts.headers, expected.headers);
        EXPECT_EQ(facts.size, expected.size);
        EXPECT_EQ(facts.checksum_start, expected.checksum_start);
        EXPECT_EQ(facts.checksum_offset, expected.checksum_offset);
      }
    }
  }
}

TEST(GroTest, JoinsSealedDatagramsWithoutAChecksumAndNoOthers) {
  Segment one{.udp = true, .payload = octets_of(100), .checked = false};
  Frame frame = one.frame();
  EXPECT_EQ(read(frame).headers, 0);
  EXPECT_EQ(read(frame, true).headers, 0);
  put16(frame, 36, 1000);
  EXPECT_EQ(read(frame).headers, 0);
  EXPECT_EQ(read(frame, true).headers, 42);
  FrameFacts facts;
  const Frame super = joined({frame, frame, frame}, &facts, true);
  EXPECT_EQ(facts.size, 100);
  EXPECT_EQ(get16(super, 16), 20 + 8 + 300);
  EXPECT_EQ(get16(super, 38), 8 + 300);
  // Those with a checksum do not stand beside those without one.
  one.checked = true;
  Segment to_psp = one;
  Frame checked = to_psp.frame();
  put16(checked, 36, 1000);
  put16(checked, 40, 0);
  FrameFacts partial;
  partial.checksum_start = 34;
  partial.checksum_offset = 6;
  put16(checked, 40, static_cast<uint16_t>(~plain_checksum(one.pseudo_header(108))));
  ASSERT_TRUE(complete_checksum(partial, checked.data(), static_cast<uint32_t>(checked.size())));
  ASSERT_EQ(read(checked, true).headers, 42);
  GroPacket mixed;
  mixed.begin(read(frame, true));
  EXPECT_EQ(mixed.add(read(checked, true)), Result::kFollows);
}

// The second of two packets, changed in one way each.
TEST(GroTest, EndsBeforeAPacketOfItsFlowThatDiffers) {
  const Segment first{.identification = 5, .marks = 0, .options = kTimestamps, .payload = octets_of(100)};
  Segment second = first;
  second.identification = 6;
  second.sequence += 100;
  const auto fit = [&](const Segment& next, auto... change) {
    const Frame a = first.frame();
    Frame b = next.frame();
    (change(b), ...);
    GroPacket one;
    one.begin(read(a));
    const Result result = one.add(read(b));
    // Nothing joins any more, so that no packet overtakes another.
    if (result == Result::kFollows) {
      const Frame good = second.frame();
      EXPECT_EQ(one.add(read(good)), Result::kFollows);
    }
    return result;
  };
  EXPECT_EQ(fit(second), Result::kMerged);
  const auto changed = [&](auto change) {
    Segment next = second;
    change(next);
    return fit(next);
  };
  EXPECT_EQ(changed([](Segment& s) { s.sequence += 1; }), Result::kFollows);
  EXPECT_EQ(changed([](Segment& s) { s.sequence -= 100; }), Result::kFollows);
  EXPECT_EQ(changed([](Segment& s) { s.acknowledged += 1; }), Result::kFollows);
  EXPECT_EQ(changed([](Segment& s) { s.window += 1; }), Result::kFollows);
  EXPECT_EQ(changed([](Segment& s) { s.options[11] ^= 1; }), Result::kFollows);
  EXPECT_EQ(changed([](Segment& s) { s.options.clear(); }), Result::kFollows);
  EXPECT_EQ(changed([](Segment& s) { s.traffic_class = 3; }), Result::kFollows);
  EXPECT_EQ(changed([](Segment& s) { s.identification = 7; }), Result::kFollows);
  EXPECT_EQ(changed([](Segment& s) { s.marks = 0x4000; }), Result::kFollows);
  EXPECT_EQ(changed([](Segment& s) { s.marks = 0x2000; }), Result::kFollows);
  EXPECT_EQ(changed([](Segment& s) { s.payload = octets_of(101); }), Result::kFollows);
  EXPECT_EQ(changed([](Segment& s) { s.payload.clear(); }), Result::kFollows);
  EXPECT_EQ(changed([](Segment& s) { s.flags |= 0x40; }), Result::kFollows);
  EXPECT_EQ(changed([](Segment& s) { s.flags |= 0x80; }), Result::kFollows);
  for (const uint8_t flag : {0x02, 0x04, 0x20}) {
    EXPECT_EQ(changed([&](Segment& s) { s.flags |= flag; }), Result::kFollows) << int{flag};
  }
  EXPECT_EQ(changed([](Segment& s) { s.ip_options = {1, 1, 1, 1}; }), Result::kFollows);
  EXPECT_EQ(fit(second, [](Frame& b) { b[0] ^= 2; }), Result::kFollows);
  // A checksum that is wrong must arrive wrong.
  EXPECT_EQ(fit(second, [](Frame& b) { b.back() ^= 1; }), Result::kFollows);
  EXPECT_EQ(fit(second, [](Frame& b) { b.push_back(0); }), Result::kFollows);
  // Hop limit, with the header's checksum right again.
  EXPECT_EQ(fit(second,
                [](Frame& b) {
                  b[22] = 63;
                  put16(b, 24, get16(b, 24) + 0x100);
                }),
            Result::kFollows);
  // Of another flow.
  EXPECT_EQ(changed([](Segment& s) { s.source += 1; }), Result::kOther);
  EXPECT_EQ(changed([](Segment& s) { s.udp = true; }), Result::kOther);
  EXPECT_EQ(changed([](Segment& s) { s.ipv6 = true; }), Result::kOther);
  EXPECT_EQ(fit(second, [](Frame& b) { b[33] ^= 1; }), Result::kOther);
  // With DF the identification has no meaning.
  Segment a = first, b = second;
  a.marks = b.marks = 0x4000;
  b.identification = a.identification;
  const Frame a_frame = a.frame(), b_frame = b.frame();
  GroPacket one;
  one.begin(read(a_frame));
  EXPECT_EQ(one.add(read(b_frame)), Result::kMerged);
}

TEST(GroTest, EndsWithAShorterPacketAndWithFinOrPsh) {
  for (const uint8_t flags : {0x10, 0x18, 0x11}) {
    Segment whole{.flags = flags, .payload = octets_of(flags == 0x10 ? 250 : 300)};
    const auto packets = expected_packets(whole, 100);
    GroPacket one;
    one.begin(read(packets[0]));
    EXPECT_EQ(one.add(read(packets[1])), Result::kMerged);
    EXPECT_EQ(one.add(read(packets[2])), Result::kMerged);
    Segment next = whole;
    next.sequence += static_cast<uint32_t>(whole.payload.size());
    next.payload.resize(50);
    const Frame behind = next.frame();
    EXPECT_EQ(one.add(read(behind)), Result::kFollows);
  }
  // Also when the first one has it.
  const Segment first{.flags = 0x18, .payload = octets_of(100)};
  Segment second = first;
  second.sequence += 100;
  const Frame a = first.frame(), b = second.frame();
  GroPacket one;
  one.begin(read(a));
  EXPECT_EQ(one.add(read(b)), Result::kFollows);
}

TEST(GroTest, StaysBelow64KiB) {
  Segment whole{.payload = octets_of(65160)};
  const auto packets = expected_packets(whole, 1448);
  Segment next = whole;
  next.sequence += 65160;
  next.payload = octets_of(322);
  GroPacket one;
  const auto begin = [&] {
    one.begin(read(packets[0]));
    for (size_t i = 1; i < packets.size(); ++i) ASSERT_EQ(one.add(read(packets[i])), Result::kMerged);
  };
  begin();
  const Frame longer = next.frame();
  EXPECT_EQ(one.add(read(longer)), Result::kFollows);
  begin();
  next.payload.resize(321);
  const Frame fits = next.frame();
  EXPECT_EQ(one.add(read(fits)), Result::kMerged);
}

// What cannot be read may be of any flow: nothing passes it.
TEST(GroTest, LetsNothingPassWhatItCannotRead) {
  const Frame good = Segment{.payload = octets_of(100)}.frame();
  Frame truncated(good.begin(), good.begin() + 30);
  for (const Frame& odd : {arp(true, kHostMac, "10.1.0.5", "10.1.0.1"), Frame(10), truncated}) {
    EXPECT_EQ(read(odd).headers, 0);
    GroPacket one;
    one.begin(read(good));
    EXPECT_EQ(one.add(read(odd)), Result::kFollows);
    one.begin(read(odd));
    EXPECT_EQ(one.add(read(good)), Result::kFollows);
  }
}

}  // namespace
}  // namespace psp
