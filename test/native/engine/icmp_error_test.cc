// SPDX-License-Identifier: Apache-2.0
// ICMP errors octet by octet, when there is none, and how many there are at most.
#include "engine/ip/icmp_error.h"

#include <atomic>
#include <thread>

#include "sealed_frames.h"

namespace psp {
namespace {

IpPacket read(const Frame& packet) {
  IpPacket result;
  EXPECT_EQ(read_ip(packet.data(), packet.size(), &result), IpFault::kNone);
  return result;
}

class IcmpErrorTest : public testing::Test {
 protected:
  IcmpErrorTest() : eal_((enter_eal(kTestEal), true)), pool_("test", 15, 2048 + RTE_PKTMBUF_HEADROOM) {}

  Frame too_big(const Frame& packet, const std::string& source, uint16_t mtu) {
    rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_.get());
    EXPECT_TRUE(write_too_big(mbuf, kUnsecuredMac, address(source), read(packet), packet.data(), mtu));
    const auto* octets = rte_pktmbuf_mtod(mbuf, const uint8_t*);
    const Frame frame(octets, octets + mbuf->data_len);
    rte_pktmbuf_free(mbuf);
    return frame;
  }

  bool eal_;
  Pool pool_;
};

TEST_F(IcmpErrorTest, FragmentationNeededQuotesUpTo576OctetsInAll) {
  for (const size_t length : {100u, 548u, 549u, 1500u}) {
    const Frame packet = with_df(long_packet("10.1.0.5", "10.2.0.7", length));
    const Frame frame = too_big(packet, "10.1.0.1", 1440);
    EXPECT_EQ(std::memcmp(frame.data() + 6, kUnsecuredMac.data(), 6), 0);
    EXPECT_EQ(get16(frame, 12), 0x0800);
    const Frame ip(frame.begin() + 14, frame.end());
    const IpPacket error = read(ip);
    EXPECT_EQ(error.length, ip.size());
    EXPECT_EQ(ip.size(), std::min<size_t>(576, 28 + length));
    EXPECT_EQ(error.protocol, kProtocolIcmp);
    EXPECT_EQ(error.source, address("10.1.0.1"));
    EXPECT_EQ(error.destination, address("10.1.0.5"));
    EXPECT_EQ(ip[20], 3);
    EXPECT_EQ(ip[21], 4);
    EXPECT_EQ(get16(ip, 24), 0);
    EXPECT_EQ(get16(ip, 26), 1440);
    EXPECT_EQ(checksum_fold(checksum_add(ip.data() + 20, ip.size() - 20, 0)), 0);
    EXPECT_EQ(Frame(ip.begin() + 28, ip.end()),
              Frame(packet.begin(), packet.begin() + static_cast<ptrdiff_t>(ip.size() - 28)));
  }
}

TEST_F(IcmpErrorTest, PacketTooBigQuotesUpTo1280OctetsInAll) {
  for (const size_t length : {1232u, 1233u, 1500u}) {
    const Frame packet = long_packet("fd00:1::5", "fd00:2::7", length);
    const Frame frame = too_big(packet, "fd00:1::1", 1400);
    EXPECT_EQ(get16(frame, 12), 0x86dd);
    const Frame ip(frame.begin() + 14, frame.end());
    const IpPacket error = read(ip);
    EXPECT_EQ(error.length, ip.size());
    EXPECT_EQ(ip.size(), std::min<size_t>(1280, 48 + length));
    EXPECT_EQ(error.protocol, kProtocolIcmpv6);
    EXPECT_EQ(error.source, address("fd00:1::1"));
    EXPECT_EQ(error.destination, address("fd00:1::5"));
    EXPECT_EQ(ip[40], 2);
    EXPECT_EQ(ip[41], 0);
    EXPECT_EQ(load_u32(ip.data() + 44), 1400u);
    const auto message = static_cast<uint32_t>(ip.size() - 40);
    EXPECT_EQ(checksum_fold(checksum_add(ip.data() + 40, message, pseudo_header_sum(error, message))), 0);
    EXPECT_EQ(Frame(ip.begin() + 48, ip.end()),
              Frame(packet.begin(), packet.begin() + static_cast<ptrdiff_t>(ip.size() - 48)));
  }
}

bool told(const Frame& packet) {
  return may_cause_error(read(packet), packet.data());
}

TEST(IcmpErrors, AreNotSentAboutErrorsLaterFragmentsOrMany) {
  const auto icmp = [](uint8_t type) {
    return ip_packet(address("10.1.0.5"), address("10.2.0.7"), 1, {type, 0, 0, 0, 0, 0, 0, 0});
  };
  const auto icmpv6 = [](uint8_t type) {
    return ip_packet(address("fd00:1::5"), address("fd00:2::7"), 58, {type, 0, 0, 0, 0, 0, 0, 0});
  };
  for (const uint8_t type : {3, 4, 5, 11, 12}) EXPECT_FALSE(told(icmp(type))) << int{type};
  for (const uint8_t type : {0, 8, 13, 14}) EXPECT_TRUE(told(icmp(type))) << int{type};
  for (const uint8_t type : {1, 2, 3, 4, 100, 127, 137}) EXPECT_FALSE(told(icmpv6(type))) << int{type};
  for (const uint8_t type : {128, 129, 160}) EXPECT_TRUE(told(icmpv6(type))) << int{type};
  EXPECT_FALSE(told(ip_packet(address("10.1.0.5"), address("10.2.0.7"), 1, {})));

  const Frame packet = long_packet("10.1.0.5", "10.2.0.7", 100);
  EXPECT_TRUE(told(packet));
  EXPECT_TRUE(told(ipv4_marked(packet, 1, 0x2000)));
  EXPECT_FALSE(told(ipv4_marked(packet, 1, 0x2001)));
  EXPECT_FALSE(told(ipv4_marked(packet, 1, 1)));
  const Frame packet6 = long_packet("fd00:1::5", "fd00:2::7", 100);
  EXPECT_TRUE(told(packet6));
  EXPECT_TRUE(told(with_extensions(packet6, 44, {17, 0, 0, 1, 0, 0, 0, 1})));
  EXPECT_FALSE(told(with_extensions(packet6, 44, {17, 0, 0, 8, 0, 0, 0, 1})));
  EXPECT_FALSE(told(with_extensions(ip_packet(address("fd00:1::5"), address("fd00:2::7"), 58, {1, 0, 0, 0}),
                                    60, {58, 0, 1, 4, 0, 0, 0, 0})));
  for (const char* many : {"224.0.0.1", "255.255.255.255", "0.0.0.0", "127.0.0.1"}) {
    EXPECT_FALSE(told(long_packet("10.1.0.5", many, 100))) << many;
    EXPECT_FALSE(told(long_packet(many, "10.1.0.5", 100))) << many;
  }
  EXPECT_FALSE(told(long_packet("fd00:1::5", "ff02::1", 100)));
  EXPECT_FALSE(told(long_packet("ff02::1", "fd00:1::5", 100)));
  EXPECT_FALSE(told(long_packet("::", "fd00:1::5", 100)));
}

TEST(TokenBucket, FillsWithTimeUpToItsBurst) {
  constexpr uint64_t kMs = 1'000'000;
  TokenBucket bucket(1000, 5);
  uint64_t now = 1'000'000'000'000;
  const auto taken = [&](int tries) {
    int got = 0;
    for (int i = 0; i < tries; ++i) got += bucket.take(now);
    return got;
  };
  EXPECT_EQ(taken(10), 5);
  now += kMs - 1;
  EXPECT_EQ(taken(10), 0);
  now += 1;
  EXPECT_EQ(taken(10), 1);
  now += 3 * kMs;
  EXPECT_EQ(taken(10), 3);
  now += 1'000'000'000'000'000;  // days
  EXPECT_EQ(taken(10), 5);
}

TEST(TokenBucket, GivesSeveralThreadsTogetherNoMoreThanItsBurst) {
  for (int round = 0; round < 50; ++round) {
    TokenBucket bucket(1000, 100);
    std::atomic<int> taken = 0;
    const auto take = [&] {
      for (int i = 0; i < 100; ++i) taken += bucket.take(1'000'000'000);
    };
    std::thread one(take), other(take);
    one.join();
    other.join();
    ASSERT_EQ(taken, 100);
  }
}

TEST(IcmpLimit, BoundsOneHostAndAllOfThem) {
  uint64_t now = 1'000'000'000'000;
  IcmpLimit limit;
  int one = 0;
  for (int i = 0; i < 100; ++i) one += limit.take(address("10.1.0.5"), now);
  EXPECT_EQ(one, 10);
  int all = 0;
  for (int i = 0; i < 5000; ++i) {
    all += limit.take(address("10.1." + std::to_string(i / 250) + "." + std::to_string(i % 250)), now);
  }
  EXPECT_EQ(all, 40);  // the rest of the burst
  // A host that may no more takes nothing from the others.
  now += 5'000'000;
  for (int i = 0; i < 100; ++i) limit.take(address("10.1.0.5"), now);
  int others = 0;
  for (int i = 0; i < 1000; ++i) others += limit.take(address("10.9.0." + std::to_string(i % 250)), now);
  EXPECT_GE(others, 4);
  // In the long run 1000 a second.
  int second = 0;
  for (int i = 0; i < 10000; ++i) {
    now += 1'000'000;
    second += limit.take(address("10.2." + std::to_string(i % 100) + "." + std::to_string(i % 250)), now);
    second += limit.take(address("10.3." + std::to_string(i % 100) + "." + std::to_string(i % 250)), now);
  }
  EXPECT_LE(second, 10051);
  EXPECT_GE(second, 8000);
}

}  // namespace
}  // namespace psp
