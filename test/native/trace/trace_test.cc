// SPDX-License-Identifier: Apache-2.0
// Capture files: link types, frames that cannot be run, the frame limit, and faults.
#include "trace/trace.h"

#include "../pcap/capture.h"
#include "traced.h"

namespace psp {
namespace {

using test::CaptureBuilder;
using test::Octets;

CaptureTrace trace_of(const Octets& file, TraceConfig config, uint32_t limit = 100) {
  enter_eal(kTestEal);
  MemorySource source(file);
  return trace_capture(source, std::move(config), limit);
}

const CaptureBuilder kBuilder;
const Octets kPacket = udp_packet("10.1.0.5", "10.2.0.9", "hello");

// Linux cooked, version 1: 14 octets, then the EtherType.
Octets cooked(const Octets& packet) {
  return test::operator+(test::operator+(Octets(14), Octets{8, 0}), packet);
}

TEST(Trace, RunsFramesOfEveryLinkTypeThatHasAnIpPacket) {
  for (const auto& [link_type, frame] :
       {std::pair{1u, from_host(kPacket)}, {101u, kPacket}, {228u, kPacket}, {113u, cooked(kPacket)}}) {
    using test::operator+;
    TraceConfig config = keyed();
    if (link_type != 1) config.mac = kUnsecuredMac;
    const CaptureTrace trace =
        trace_of(kBuilder.pcap_header(link_type) + kBuilder.pcap_frame(frame), std::move(config));
    ASSERT_EQ(trace.rows.size(), 1u);
    EXPECT_EQ(trace.rows[0].skipped, "");
    EXPECT_EQ(trace.rows[0].length, frame.size());
    EXPECT_EQ(change_of(trace.rows[0].traced.moved, "forwardedEgress"), 1) << link_type;
  }
}

TEST(Trace, SkipsFramesThatCannotBeRunAndSaysWhy) {
  using test::operator+;
  const CaptureTrace cut = trace_of(kBuilder.pcap_header() + kBuilder.pcap_frame(Octets(60, 1), 1514) +
                                        kBuilder.pcap_frame(from_host(kPacket)),
                                    keyed());
  ASSERT_EQ(cut.rows.size(), 2u);
  EXPECT_EQ(cut.rows[0].skipped,
            "only 60 of its 1514 octets were captured; capture with a larger snap length");
  EXPECT_TRUE(cut.rows[0].traced.moved.pipes.empty());
  EXPECT_EQ(change_of(cut.rows[1].traced.moved, "forwardedEgress"), 1);
  EXPECT_EQ(cut.rows[1].number, 2u);

  // A frame as long as the MTU is not a GSO packet, whatever tags it carries.
  const Frame longest = from_host(long_packet("10.1.0.5", "10.2.0.9", 1500));
  Octets tagged = longest;
  tagged.insert(tagged.begin() + 12, {0x81, 0x00, 0x20, 0x00});
  const CaptureTrace lengths =
      trace_of(kBuilder.pcap_header() + kBuilder.pcap_frame(longest) + kBuilder.pcap_frame(tagged) +
                   kBuilder.pcap_frame(from_host(long_packet("10.1.0.5", "10.2.0.9", 1501))),
               keyed());
  ASSERT_EQ(lengths.rows.size(), 3u);
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(change_of(lengths.rows[i].traced.moved, "forwardedEgress"), 1);
  EXPECT_EQ(
      lengths.rows[2].skipped,
      "it is longer than the port's MTU: a GSO packet, and a capture does not contain how to segment it");

  const CaptureTrace wireless =
      trace_of(kBuilder.pcap_header(105) + kBuilder.pcap_frame(Octets(60, 1)), keyed());
  EXPECT_EQ(wireless.rows.at(0).skipped,
            "its link type 105 is not supported; supported are Ethernet, Linux cooked and raw IP");
}

TEST(Trace, StopsAtTheLimitAndReportsWhetherThereAreMoreFrames) {
  using test::operator+;
  const Octets two = kBuilder.pcap_header() + kBuilder.pcap_frame(from_host(kPacket)) +
                     kBuilder.pcap_frame(from_host(kPacket));
  const CaptureTrace one = trace_of(two, keyed(), 1);
  EXPECT_EQ(one.rows.size(), 1u);
  EXPECT_TRUE(one.more);
  const CaptureTrace all = trace_of(two, trace_config(Direction::kEgress), 2);
  EXPECT_EQ(all.rows.size(), 2u);
  EXPECT_FALSE(all.more);
  EXPECT_EQ(all.held, 2u);
}

TEST(Trace, ThrowsForAFileWithAFault) {
  using test::operator+;
  Octets file =
      kBuilder.pcap_header() + kBuilder.pcap_frame(from_host(kPacket)) + kBuilder.pcap_frame(kPacket);
  file.pop_back();
  EXPECT_THROW(trace_of(file, keyed()), CaptureFault);
}

TEST(Trace, ReportsTheInnerPacketOfFramesFromTheWire) {
  using test::operator+;
  const EgressKey key = mode_key(0x21, 0, Mode::kTunnel);
  const CaptureTrace trace =
      trace_of(kBuilder.section() + kBuilder.interface() +
                   kBuilder.enhanced(on_wire(key, udp_packet("10.2.0.9", "10.1.0.5", "x"))) +
                   kBuilder.enhanced(from_wire(kPacket)),
               keyed(Direction::kIngress));
  ASSERT_EQ(trace.rows.size(), 2u);
  EXPECT_EQ(trace.format, CaptureFormat::kPcapng);
  ASSERT_TRUE(trace.rows[0].inner);
  EXPECT_EQ(trace.rows[0].inner->ip.source, address("10.2.0.9"));
  EXPECT_FALSE(trace.rows[1].inner);
  EXPECT_TRUE(trace.rows[0].at_ns);
}

}  // namespace
}  // namespace psp
