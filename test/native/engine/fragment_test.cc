// SPDX-License-Identifier: Apache-2.0
// Fragments joined again by plain code are the packet that was cut.
#include "engine/ip/fragment.h"

#include <set>

#include "sealed_frames.h"

namespace psp {
namespace {

constexpr size_t kPoolSize = 255;

class FragmentTest : public testing::Test {
 protected:
  FragmentTest()
      : eal_((enter_eal(kTestEal), true)),
        pool_("test", kPoolSize, 2048 + RTE_PKTMBUF_HEADROOM),
        packets_("whole", 7, 65535) {}

  // The frame in an mbuf of ours.
  rte_mbuf* mbuf_of(const Frame& frame) {
    rte_mbuf* mbuf = rte_pktmbuf_alloc(packets_.get());
    std::memcpy(rte_pktmbuf_append(mbuf, static_cast<uint16_t>(frame.size())), frame.data(), frame.size());
    return mbuf;
  }
  static std::vector<Frame> frames_of(const Fragments& fragments) {
    std::vector<Frame> frames;
    for (uint32_t i = 0; i < fragments.count; ++i) {
      const auto* octets = rte_pktmbuf_mtod(fragments.mbufs[i], const uint8_t*);
      frames.emplace_back(octets, octets + fragments.mbufs[i]->data_len);
      rte_pktmbuf_free(fragments.mbufs[i]);
    }
    return frames;
  }
  std::vector<Frame> cut_ipv4(const Frame& packet, uint32_t mtu) {
    Fragments fragments;
    rte_mbuf* mbuf = mbuf_of(from_host(packet));
    fault_ = fragment_ipv4(mbuf, mtu, pool_.get(), &fragments);
    rte_pktmbuf_free(mbuf);
    return fault_ == FragmentFault::kNone ? frames_of(fragments) : std::vector<Frame>{};
  }
  std::vector<Frame> cut_ipv6(const Frame& packet, uint32_t mtu, const Unfragmentable& part) {
    Fragments fragments;
    rte_mbuf* mbuf = mbuf_of(from_host(packet));
    fault_ = fragment_ipv6(mbuf, mtu, part, 0xdeadbeef, pool_.get(), &fragments);
    rte_pktmbuf_free(mbuf);
    return fault_ == FragmentFault::kNone ? frames_of(fragments) : std::vector<Frame>{};
  }
  uint32_t in_use() const { return rte_mempool_in_use_count(pool_.get()); }

  bool eal_;
  Pool pool_, packets_;
  FragmentFault fault_ = FragmentFault::kNone;  // of the last cut
};

TEST_F(FragmentTest, OfIpv4JoinToThePacketAndAreNoLongerThanTheMtu) {
  for (const size_t length : {577u, 1000u, 1500u, 9000u, 40000u}) {
    for (const uint32_t mtu : {576u, 577u, 583u, 1400u}) {
      const Frame packet = ipv4_marked(long_packet("10.1.0.5", "10.2.0.7", length), 4711, 0);
      if (packet.size() <= mtu) continue;
      const auto frames = cut_ipv4(packet, mtu);
      ASSERT_GE(frames.size(), 2u);
      for (const Frame& frame : frames) EXPECT_LE(frame.size() - 14, mtu);
      // All but the last are as full as a multiple of 8 allows.
      for (size_t i = 0; i + 1 < frames.size(); ++i)
        EXPECT_EQ(frames[i].size() - 14 - 20, (mtu - 20) / 8 * 8);
      EXPECT_EQ(joined(frames), from_host(packet));
      EXPECT_EQ(piece_of(frames[0]).identification, 4711u);
    }
  }
  EXPECT_EQ(in_use(), 0u);
}

TEST_F(FragmentTest, OfAFragmentKeepItsOffset) {
  for (const bool more : {true, false}) {
    const auto marks = static_cast<uint16_t>((more ? 0x2000 : 0) | 100);
    const Frame packet =
        ipv4_marked(ip_packet(address("10.1.0.5"), address("10.2.0.7"), 17, Frame(1208)), 9, marks);
    const auto frames = cut_ipv4(packet, 576);
    ASSERT_EQ(frames.size(), 3u);
    EXPECT_EQ(piece_of(frames[0]).offset, 800u);
    EXPECT_TRUE(piece_of(frames[0]).more);
    EXPECT_EQ(piece_of(frames[2]).offset, 800u + 2 * 552);
    EXPECT_EQ(piece_of(frames[2]).more, more);
    EXPECT_EQ(piece_of(frames[2]).octets.size(), 1208u - 2 * 552);
  }
}

TEST_F(FragmentTest, AreNotMadeOfAFragmentThatEndsBehindTheLongestPacket) {
  const Frame fragment = long_packet("10.1.0.5", "10.2.0.7", 1300);
  EXPECT_EQ(cut_ipv4(ipv4_marked(fragment, 4711, 0x1f5f), 576).size(), 3u);
  // One octet more than an offset of 13 bits can say.
  EXPECT_TRUE(cut_ipv4(ipv4_marked(fragment, 4711, 0x1f60), 576).empty());
  EXPECT_EQ(fault_, FragmentFault::kUnfragmentable);
  EXPECT_EQ(in_use(), 0u);
}

TEST_F(FragmentTest, BehindTheFirstCarryOnlyOptionsWithTheCopiedFlag) {
  // Record route (not copied), no-operation, router alert (copied), end.
  const Frame options = {7, 7, 4, 0, 0, 0, 0, 1, 148, 4, 0, 0};
  const Frame packet = with_options(long_packet("10.1.0.5", "10.2.0.7", 1400), options);
  const auto frames = cut_ipv4(packet, 600);
  ASSERT_EQ(frames.size(), 3u);
  EXPECT_EQ(piece_of(frames[0]).headers.size(), 32u);
  for (size_t i = 1; i < frames.size(); ++i) {
    const Frame headers = piece_of(frames[i]).headers;
    EXPECT_EQ(Frame(headers.begin() + 20, headers.end()), (Frame{148, 4, 0, 0}));
  }
  EXPECT_EQ(joined(frames), from_host(packet));
  // Options whose lengths are nonsense end the copying, not the gateway.
  for (const Frame& odd :
       {Frame{148, 0, 1, 1}, Frame{148, 1, 1, 1}, Frame{148, 99, 1, 1}, Frame{1, 1, 1, 148}}) {
    const auto cut = cut_ipv4(with_options(long_packet("10.1.0.5", "10.2.0.7", 1400), odd), 600);
    ASSERT_EQ(cut.size(), 3u);
    EXPECT_EQ(piece_of(cut[1]).headers.size(), 20u);
  }
}

TEST_F(FragmentTest, OfIpv6RepeatWhatIsUnfragmentableAndNameWhatFollowed) {
  const Frame plain = long_packet("fd00:1::5", "fd00:2::7", 1400);
  const auto frames = cut_ipv6(plain, 1280, {});
  ASSERT_EQ(frames.size(), 2u);
  for (const Frame& frame : frames) EXPECT_LE(frame.size() - 14, 1280u);
  EXPECT_EQ(frames[0].size() - 14, 1280u);
  EXPECT_EQ(piece_of(frames[1]).identification, 0xdeadbeef);
  EXPECT_EQ(joined(frames), from_host(plain));

  const Frame hops = with_extensions(plain, 0, {17, 0, 1, 4, 0, 0, 0, 0});
  const auto with_hops = cut_ipv6(hops, 1280, {48, 40});
  ASSERT_EQ(with_hops.size(), 2u);
  for (const Frame& frame : with_hops) {
    EXPECT_EQ(frame[14 + 6], 0);
    EXPECT_EQ(frame[14 + 40], kProtocolFragment);
    EXPECT_LE(frame.size() - 14, 1280u);
  }
  EXPECT_EQ(joined(with_hops), from_host(hops));
  EXPECT_EQ(in_use(), 0u);
}

TEST_F(FragmentTest, AreAllMadeOrNone) {
  const Frame packet = ipv4_marked(long_packet("10.1.0.5", "10.2.0.7", 60000), 1, 0);
  std::vector<rte_mbuf*> taken(kPoolSize - 50);
  ASSERT_EQ(rte_pktmbuf_alloc_bulk(pool_.get(), taken.data(), static_cast<unsigned>(taken.size())), 0);
  EXPECT_TRUE(cut_ipv4(packet, 576).empty());
  EXPECT_EQ(fault_, FragmentFault::kNoMemory);
  EXPECT_EQ(in_use(), taken.size());
  EXPECT_EQ(cut_ipv4(packet, 1400).size(), 44u);
  rte_pktmbuf_free_bulk(taken.data(), static_cast<unsigned>(taken.size()));
  // More than a pool's packet holds, an MTU without room, and one that asks for too many.
  for (const uint32_t mtu : {3000u, 27u, 60u}) {
    EXPECT_TRUE(cut_ipv4(packet, mtu).empty());
    EXPECT_EQ(fault_, FragmentFault::kUnfragmentable);
  }
  EXPECT_EQ(in_use(), 0u);
}

TEST(Identifications, DoNotComeTwice) {
  Identifications a, b;
  std::set<uint32_t> wide;
  std::set<uint16_t> narrow;
  bool differ = false;
  for (int i = 0; i < 65536; ++i) {
    const uint32_t id = a.next();
    wide.insert(id);
    narrow.insert(static_cast<uint16_t>(id));
    differ |= b.next() != id;
  }
  EXPECT_EQ(wide.size(), 65536u);
  EXPECT_EQ(narrow.size(), 65536u);
  EXPECT_TRUE(differ);
}

}  // namespace
}  // namespace psp
