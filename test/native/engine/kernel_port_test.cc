// SPDX-License-Identifier: Apache-2.0
// A port on one end of a real veth pair; at the other end a packet socket with GSO metadata, as a
// host's kernel does. Each test has a network namespace of its own.
#include "engine/ports/kernel_port.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/seccomp.h>
#include <linux/udp.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <map>
#include <thread>

#include "engine/ports/eal.h"
#include "engine/ports/interface.h"
#include "gateway.h"
#include "gso_frames.h"

namespace psp {
namespace {

struct Seen {
  FrameFacts facts;
  Frame frame;
};

// The far end.
class Host {
 public:
  explicit Host(const std::string& name) : fd_(socket(AF_PACKET, SOCK_RAW, 0)) {
    const int on = 1;
    EXPECT_EQ(setsockopt(fd_, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on), 0);
    EXPECT_EQ(setsockopt(fd_, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on), 0);
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(0x0003);
    address.sll_ifindex = static_cast<int>(interface_index(name));
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  ~Host() { close(fd_); }
  void send(Frame frame, FrameFacts facts = {}) {
    const std::array<iovec, 2> pieces = {iovec{&facts, sizeof facts}, iovec{frame.data(), frame.size()}};
    EXPECT_EQ(writev(fd_, pieces.data(), 2), static_cast<ssize_t>(sizeof facts + frame.size()));
  }
  std::vector<Seen> receive(size_t count) {
    std::vector<Seen> result;
    pollfd waiting{fd_, POLLIN, 0};
    while (result.size() < count && poll(&waiting, 1, 2000) > 0) result.push_back(next());
    // And no more than that.
    while (poll(&waiting, 1, 20) > 0) result.push_back(next());
    return result;
  }

 private:
  Seen next() {
    Seen seen;
    seen.frame.resize(70000);
    const std::array<iovec, 2> pieces = {iovec{&seen.facts, sizeof seen.facts},
                                         iovec{seen.frame.data(), seen.frame.size()}};
    const ssize_t length = readv(fd_, pieces.data(), 2);
    seen.frame.resize(static_cast<size_t>(std::max<ssize_t>(length, 10)) - 10);
    return seen;
  }
  int fd_;
};

class KernelPortTest : public testing::Test {
 protected:
  static bool run(const std::string& command) { return std::system(command.c_str()) == 0; }

  // Runs with a port on "near", whose other end is "far", on a thread that a namespace may be given to.
  template <typename Test>
  void with_port(bool sealed, Test test, int mtu = 1600) {
    std::thread([&] {
      const std::string size = " mtu " + std::to_string(mtu);
      const bool made = unshare(CLONE_NEWNET) == 0 &&
                        run("ip link add near" + size + " type veth peer name far" + size +
                            "&& for i in near far; do sysctl -qw net.ipv6.conf.$i.disable_ipv6=1;"
                            "ip link set $i up || exit 1; done");
      if (!made) GTEST_SKIP() << "no rights to make a network namespace with veth pairs";
      enter_eal(kTestEal);
      KernelPort port("near", sealed, counters);
      pool = std::make_unique<Pool>("test", 1024, 16384 + RTE_PKTMBUF_HEADROOM);
      test(port);
      pool.reset();
    }).join();
  }

  // All that waits at the port, in bursts of this length.
  std::vector<Frame> received(KernelPort& port, uint16_t burst = kBurst) {
    std::vector<Frame> frames;
    flags.clear();
    tags.clear();
    std::array<rte_mbuf*, kBurst> packets;
    while (const uint16_t n = port.rx_burst(packets.data(), burst)) {
      EXPECT_LE(n, burst);
      for (uint16_t i = 0; i < n; ++i) {
        const auto* octets = rte_pktmbuf_mtod(packets[i], const uint8_t*);
        frames.emplace_back(octets, octets + packets[i]->data_len);
        flags.push_back(packets[i]->ol_flags);
        tags.push_back(packets[i]->vlan_tci);
        EXPECT_GE(rte_pktmbuf_tailroom(packets[i]), kIcvLength);
        rte_pktmbuf_free(packets[i]);
      }
    }
    return frames;
  }

  // How many of these the port takes in one burst; the others end here.
  uint16_t send(KernelPort& port, const std::vector<Frame>& frames) {
    std::vector<rte_mbuf*> packets;
    for (const Frame& frame : frames) {
      rte_mbuf* const packet = rte_pktmbuf_alloc(pool->get());
      std::memcpy(rte_pktmbuf_append(packet, static_cast<uint16_t>(frame.size())), frame.data(),
                  frame.size());
      packets.push_back(packet);
    }
    const uint16_t taken = port.tx_burst(packets.data(), static_cast<uint16_t>(packets.size()));
    for (size_t i = taken; i < packets.size(); ++i) rte_pktmbuf_free(packets[i]);
    EXPECT_EQ(rte_mempool_avail_count(pool->get()), 1024u);
    return taken;
  }

  uint64_t value(Value value) { return counters[value].value(); }

  Counters counters;
  std::unique_ptr<Pool> pool;
  std::vector<uint64_t> flags;
  std::vector<uint16_t> tags;
};

constexpr uint64_t kGood = RTE_MBUF_F_RX_L4_CKSUM_GOOD;

TEST_F(KernelPortTest, SegmentsTheGsoPacketsOfHostsForBurstsOfAnySize) {
  for (const uint16_t burst : {uint16_t{1}, uint16_t{7}, kBurst}) {
    with_port(false, [&](KernelPort& port) {
      Host host("far");
      std::vector<Frame> expected;
      for (const bool udp : {false, true}) {
        for (const bool ipv6 : {false, true}) {
          Segment whole{.ipv6 = ipv6, .udp = udp, .identification = 5, .payload = octets_of(65000)};
          FrameFacts facts;
          const Frame super = whole.partial(1448, &facts);
          host.send(super, facts);
          for (Frame& packet : expected_packets(whole, 1448)) expected.push_back(std::move(packet));
          whole.payload = octets_of(100);
          expected.push_back(whole.frame());
          host.send(expected.back());
        }
      }
      EXPECT_EQ(received(port, burst), expected);
      EXPECT_EQ(value(Value::kGsoPacketsSegmented), 4u);
      EXPECT_EQ(value(Value::kChecksumsCompleted), 4u * 45);
      EXPECT_EQ(flags[0] & kGood, kGood);
      EXPECT_EQ(flags[45] & kGood, 0u);
    });
    counters[Value::kGsoPacketsSegmented].set(0);
    counters[Value::kChecksumsCompleted].set(0);
  }
}

// A host that sends datagrams of one send through a VXLAN device of the kernel's over the far end.
class VxlanHost {
 public:
  // Null where the kernel or the machine has no such device.
  static std::unique_ptr<VxlanHost> make(bool outer_ipv6, bool inner_ipv6, bool summed) {
    const std::string family = outer_ipv6 ? "fd00:9::" : "10.9.0.", length = outer_ipv6 ? "/64 nodad" : "/24";
    const std::string checksums =
        !outer_ipv6 ? (summed ? " udpcsum" : " noudpcsum") : (summed ? "" : " udp6zerocsumtx udp6zerocsumrx");
    const std::string inner = inner_ipv6 ? "fd00:8::" : "10.8.0.",
                      inner_length = inner_ipv6 ? "/64 nodad" : "/24";
    const std::string mac = " lladdr 02:00:00:00:00:99 nud permanent dev ";
    const bool made =
        std::system(("sysctl -qw net.ipv6.conf.far.disable_ipv6=0 && ip address add " + family + "1" +
                     length + " dev far && ip neighbour add " + family + "2" + mac +
                     "far && ip link add over type vxlan id 5 remote " + family + "2 local " + family +
                     "1 dstport 4789" + checksums + " && ip address add " + inner + "1" + inner_length +
                     " dev over && ip link set over up && ip neighbour add " + inner + "2" + mac + "over")
                        .c_str()) == 0;
    if (!made) return nullptr;
    return std::unique_ptr<VxlanHost>(new VxlanHost(inner_ipv6, inner + "2"));
  }
  ~VxlanHost() { close(fd_); }
  void send(const Frame& payload, int size) {
    EXPECT_EQ(setsockopt(fd_, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size), 0);
    EXPECT_EQ(::send(fd_, payload.data(), payload.size(), 0), static_cast<ssize_t>(payload.size()));
  }

 private:
  VxlanHost(bool ipv6, const std::string& to) : fd_(socket(ipv6 ? AF_INET6 : AF_INET, SOCK_DGRAM, 0)) {
    sockaddr_in6 six{};
    six.sin6_family = AF_INET6;
    six.sin6_port = htons(5000);
    sockaddr_in four{};
    four.sin_family = AF_INET;
    four.sin_port = htons(5000);
    const bool read = ipv6 ? inet_pton(AF_INET6, to.c_str(), &six.sin6_addr) == 1
                           : inet_pton(AF_INET, to.c_str(), &four.sin_addr) == 1;
    EXPECT_TRUE(read);
    EXPECT_EQ(ipv6 ? connect(fd_, reinterpret_cast<const sockaddr*>(&six), sizeof six)
                   : connect(fd_, reinterpret_cast<const sockaddr*>(&four), sizeof four),
              0);
  }
  int fd_;
};

// Checks the IPv4 headers of consecutive VXLAN frames and takes out of them what differs from run to run: the
// identification, which counts up by one, and the header checksum.
void take_identifications_out(std::vector<Frame>& frames, bool outer_ipv6, bool inner_ipv6) {
  const size_t inner = 14 + (outer_ipv6 ? 40 : 20) + 16 + 14;
  for (const auto& [at, ipv6] : {std::pair(size_t{14}, outer_ipv6), std::pair(inner, inner_ipv6)}) {
    if (ipv6) continue;
    const uint32_t first = get16(frames[0], at + 4);
    for (size_t i = 0; i < frames.size(); ++i) {
      IpPacket ip;
      EXPECT_EQ(read_ip(&frames[i][at], frames[i].size() - at, &ip), IpFault::kNone);
      EXPECT_EQ(get16(frames[i], at + 4), static_cast<uint16_t>(first + i));
      put16(frames[i], at + 4, 0);
      put16(frames[i], at + 10, 0);
    }
  }
}

TEST_F(KernelPortTest, SegmentsTheGsoPacketsOfAVxlanDeviceAsTheKernelDoes) {
  for (const auto& [outer_ipv6, inner_ipv6, summed] : {std::tuple(false, false, false),
                                                       {false, true, true},
                                                       {true, false, true},
                                                       {true, true, false},
                                                       {true, true, true}}) {
    counters[Value::kGsoPacketsSegmented].set(0);
    with_port(
        false, [&, outer_ipv6 = outer_ipv6, inner_ipv6 = inner_ipv6, summed = summed](KernelPort& port) {
          const auto host = VxlanHost::make(outer_ipv6, inner_ipv6, summed);
          if (!host) GTEST_SKIP() << "no VXLAN device can be made";
          const auto overlay_frames = [&] {
            std::vector<Frame> all = received(port), frames;
            for (Frame& frame : all) {
              const size_t udp = outer_ipv6 ? 54 : 34;
              if (frame.size() > 500 && get16(frame, udp + 2) == 4789) frames.push_back(std::move(frame));
            }
            return frames;
          };
          host->send(octets_of(20500), 1000);
          std::vector<Frame> ours = overlay_frames();
          EXPECT_EQ(value(Value::kGsoPacketsSegmented), 1u);
          ASSERT_TRUE(run("ethtool -K far tx-udp_tnl-segmentation off tx-udp_tnl-csum-segmentation off"));
          host->send(octets_of(20500), 1000);
          std::vector<Frame> theirs = overlay_frames();
          EXPECT_EQ(value(Value::kGsoPacketsSegmented), 1u);
          ASSERT_EQ(ours.size(), 21u);
          ASSERT_EQ(theirs.size(), 21u);
          EXPECT_EQ(get16(ours[0], outer_ipv6 ? 60 : 40) != 0, summed);
          take_identifications_out(ours, outer_ipv6, inner_ipv6);
          take_identifications_out(theirs, outer_ipv6, inner_ipv6);
          EXPECT_EQ(ours, theirs);
        });
  }
}

TEST_F(KernelPortTest, CompletesThePartialChecksumOfOnePacketAndNoOther) {
  with_port(false, [&](KernelPort& port) {
    Host host("far");
    Segment one{.payload = octets_of(1200)};
    FrameFacts facts;
    Frame partial = one.partial(0, &facts);
    facts.kind = kNoGso;
    facts.size = 0;
    host.send(partial, facts);
    // The same octets from a host that means them.
    host.send(partial);
    EXPECT_EQ(received(port), (std::vector<Frame>{one.frame(), partial}));
    EXPECT_EQ(flags[0] & kGood, kGood);
    EXPECT_EQ(flags[1] & kGood, 0u);
    EXPECT_EQ(value(Value::kChecksumsCompleted), 1u);
    EXPECT_TRUE(port.info().completes_checksums);
  });
}

TEST_F(KernelPortTest, MarksPacketsThatItCannotSegmentAndThatDoNotFit) {
  with_port(false, [&](KernelPort& port) {
    Host host("far");
    Segment fragment{.marks = 0x2000, .payload = octets_of(1000)};
    FrameFacts facts;
    const Frame whole = fragment.partial(600, &facts);
    host.send(whole, facts);
    const auto frames = received(port);
    ASSERT_EQ(frames.size(), 1u);
    EXPECT_NE(flags[0] & RTE_MBUF_F_RX_LRO, 0u);
    EXPECT_EQ(value(Value::kGsoPacketsSegmented), 0u);
    // The host raised its MTU behind our back.
    run("ip link set near mtu 9000; ip link set far mtu 9000");
    host.send(Segment{.payload = octets_of(5000)}.frame());
    host.send(Segment{.payload = octets_of(10)}.frame());
    const auto later = received(port);
    ASSERT_EQ(later.size(), 2u);
    EXPECT_NE(flags[0] & RTE_MBUF_F_RX_LRO, 0u);
    EXPECT_LT(later[0].size(), 5000u);
    EXPECT_EQ(later[1], Segment{.payload = octets_of(10)}.frame());
    const Frame wide = Segment{.payload = octets_of(9000)}.partial(4000, &facts);
    host.send(wide, facts);
    ASSERT_EQ(received(port).size(), 1u);
    EXPECT_NE(flags[0] & RTE_MBUF_F_RX_LRO, 0u);
  });
}

TEST_F(KernelPortTest, ReceivesNothingThatLeavesByItsOwnInterface) {
  with_port(false, [&](KernelPort& port) {
    Host kernel("near"), host("far");
    const Frame frame = Segment{.payload = octets_of(10)}.frame();
    kernel.send(frame);
    EXPECT_EQ(host.receive(1).size(), 1u);
    ASSERT_EQ(send(port, {frame}), 1);
    EXPECT_EQ(host.receive(1).size(), 1u);
    EXPECT_TRUE(received(port).empty());
  });
}

TEST_F(KernelPortTest, ReportsTheTagThatTheKernelStripped) {
  with_port(false, [&](KernelPort& port) {
    Host host("far");
    const Frame plain = Segment{.payload = octets_of(10)}.frame();
    Frame tagged = plain;
    const Frame tag = {0x81, 0, 0x20, 5};
    tagged.insert(tagged.begin() + 12, tag.begin(), tag.end());
    host.send(tagged);
    host.send(plain);
    EXPECT_EQ(received(port), (std::vector<Frame>{plain, plain}));
    EXPECT_NE(flags[0] & RTE_MBUF_F_RX_VLAN_STRIPPED, 0u);
    EXPECT_EQ(tags[0], 0x2005);
    EXPECT_EQ(flags[1] & RTE_MBUF_F_RX_VLAN_STRIPPED, 0u);
  });
}

TEST_F(KernelPortTest, JoinsPacketsOfEachFlowAcrossOneBurst) {
  with_port(false, [&](KernelPort& port) {
    Host host("far");
    std::vector<Frame> sent, expected;
    std::vector<std::vector<Frame>> flows;
    for (uint16_t flow = 0; flow < 3; ++flow) {
      Segment whole{.ipv6 = flow == 1, .udp = flow == 2, .source = flow, .payload = octets_of(9500)};
      FrameFacts facts;
      expected.push_back(whole.partial(1000, &facts));
      flows.push_back(expected_packets(whole, 1000));
    }
    for (size_t i = 0; i < 10; ++i) {
      for (const auto& packets : flows) sent.push_back(packets[i]);
    }
    ASSERT_EQ(send(port, sent), 30);
    const auto seen = host.receive(3);
    ASSERT_EQ(seen.size(), 3u);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(seen[i].frame, expected[i]);
      EXPECT_EQ(seen[i].facts.size, 1000);
      EXPECT_EQ(seen[i].facts.flags, kPartialChecksum);
    }
    EXPECT_EQ(value(Value::kGroPacketsMade), 3u);
    // One packet alone stays as it is.
    ASSERT_EQ(send(port, {sent[0]}), 1);
    const auto alone = host.receive(1);
    ASSERT_EQ(alone.size(), 1u);
    EXPECT_EQ(alone[0].frame, sent[0]);
    EXPECT_EQ(alone[0].facts.flags, 0);
  });
}

TEST_F(KernelPortTest, KeepsTheOrderOfEveryFlow) {
  with_port(false, [&](KernelPort& port) {
    Host host("far");
    // Of one flow: data, an acknowledgement, data; between them another flow and what nobody can read.
    Segment data{.payload = octets_of(3000)}, other{.source = 9, .payload = octets_of(1000)};
    const auto packets = expected_packets(data, 1000);
    Segment plain = data;
    plain.payload.clear();
    plain.sequence += 2000;
    const Frame acknowledges = plain.frame(), odd = arp(true, kHostMac, "10.1.0.5", "10.1.0.1");
    ASSERT_EQ(send(port, {packets[0], other.frame(), packets[1], acknowledges, packets[2], odd}), 6);
    const auto seen = host.receive(5);
    ASSERT_EQ(seen.size(), 5u);
    EXPECT_EQ(seen[0].frame.size(), packets[0].size() + 1000);
    EXPECT_EQ(seen[1].frame, other.frame());
    EXPECT_EQ(seen[2].frame, acknowledges);
    EXPECT_EQ(seen[3].frame, packets[2]);
    EXPECT_EQ(seen[4].frame, odd);
  });
}

// On the wire: sealed datagrams of one size, without a checksum.
std::vector<Frame> sealed_datagrams(size_t count) {
  std::vector<Frame> frames;
  for (size_t i = 0; i < count; ++i) {
    Segment one{.udp = true, .payload = octets_of(1400, i), .checked = false};
    frames.push_back(one.frame());
    put16(frames.back(), 36, 1000);
  }
  return frames;
}

TEST_F(KernelPortTest, CarriesSealedDatagramsToAnotherGatewayInOneFrame) {
  with_port(true, [&](KernelPort& port) {
    Counters others;
    KernelPort other("far", true, others);
    const auto datagrams = sealed_datagrams(20);
    ASSERT_EQ(send(port, datagrams), 20);
    auto frames = received(other);
    EXPECT_EQ(others[Value::kGsoPacketsSegmented].value(), 1u);
    ASSERT_EQ(frames.size(), 20u);
    for (size_t i = 0; i < 20; ++i) {
      EXPECT_EQ(flags[i] & kGood, kGood);
      // But for the identification they are the same.
      EXPECT_EQ(get16(frames[i], 18), i);
      for (const size_t at : {18, 24}) put16(frames[i], at, get16(datagrams[i], at));
      EXPECT_EQ(frames[i], datagrams[i]);
    }
  });
}

TEST_F(KernelPortTest, LeavesSegmentationToTheKernelWhereTheDeviceCannotSegment) {
  with_port(true, [&](KernelPort& port) {
    if (!run("ethtool -K near tx-udp-segmentation off tx off")) GTEST_SKIP() << "ethtool is missing";
    Host wire("far");
    const auto datagrams = sealed_datagrams(20);
    ASSERT_EQ(send(port, datagrams), 20);
    const auto seen = wire.receive(20);
    ASSERT_EQ(seen.size(), 20u);
    for (size_t i = 0; i < 20; ++i) {
      IpPacket ip;
      ASSERT_EQ(read_ip(&seen[i].frame[14], seen[i].frame.size() - 14, &ip), IpFault::kNone);
      EXPECT_TRUE(udp_checksum_ok(ip, &seen[i].frame[14]));
      EXPECT_EQ(Frame(seen[i].frame.begin() + 42, seen[i].frame.end()),
                Frame(datagrams[i].begin() + 42, datagrams[i].end()));
    }
  });
}

TEST_F(KernelPortTest, QueuesShareFramesOutByFlowAndHearNothingOfTheirOwn) {
  with_port(false, [&](KernelPort& port) {
    Counters worker_counters;
    KernelPort other(port, worker_counters);
    Host host("far");
    constexpr uint16_t kFlows = 40;
    for (int round = 0; round < 2; ++round) {
      for (uint16_t n = 0; n < kFlows; ++n) {
        host.send(ethernet(port.info().mac, kHostMac, 0x0800,
                           ip_packet(address("10.1.0.5"), address("10.2.0.7"), kProtocolUdp,
                                     udp(static_cast<uint16_t>(1000 + n), 9, text("one of two")))));
      }
    }
    std::map<uint16_t, int> here, there;
    for (const Frame& frame : received(port)) ++here[get16(frame, 34)];
    for (const Frame& frame : received(other)) ++there[get16(frame, 34)];
    EXPECT_EQ(here.size() + there.size(), kFlows);
    EXPECT_GT(here.size(), 0u);
    EXPECT_GT(there.size(), 0u);
    for (const auto& queue : {here, there}) {
      for (const auto& [source, frames] : queue) EXPECT_EQ(frames, 2) << source;
    }
    const Frame out = ethernet(kHostMac, port.info().mac, 0x0800, udp_packet("10.2.0.7", "10.1.0.5", "out"));
    ASSERT_EQ(send(port, {out}), 1);
    ASSERT_EQ(send(other, {out}), 1);
    EXPECT_EQ(host.receive(2).size(), 2u);
    EXPECT_TRUE(received(port).empty());
    EXPECT_TRUE(received(other).empty());
  });
}

TEST_F(KernelPortTest, CountsARefusedFrameAndGoesOn) {
  with_port(true, [&](KernelPort& port) {
    const auto datagrams = sealed_datagrams(3);
    Frame stranger = Segment{.source = 9, .payload = octets_of(10)}.frame();
    // As the fence does it: out of the port goes UDP and nothing else.
    if (!run("nft 'table netdev t { chain c { type filter hook egress device \"near\" priority 0;"
             "policy drop; ip protocol 17 accept; }; }'")) {
      GTEST_SKIP() << "nft is missing";
    }
    Host wire("far");
    ASSERT_EQ(send(port, {stranger, datagrams[0], datagrams[1], stranger, datagrams[2]}), 5);
    EXPECT_EQ(wire.receive(1).size(), 1u);
    EXPECT_EQ(value(Value::kFramesRefused), 2u);
    run("ip link set near down");
    ASSERT_EQ(send(port, datagrams), 3);
    EXPECT_EQ(value(Value::kFramesRefused), 5u);
    run("ip link set near up; sleep 0.1");
    // The socket tells once that the interface was down, to whoever asks first.
    EXPECT_TRUE(received(port).empty());
    ASSERT_EQ(send(port, datagrams), 3);
    EXPECT_EQ(wire.receive(1).size(), 1u);
    EXPECT_EQ(value(Value::kFramesRefused), 5u);
  });
}

// From now on sendmmsg() of one message fails in this thread, as a kernel before 6.2 refuses datagrams that
// were joined.
void refuse_one_message() {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_sendmmsg, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args) + 2 * sizeof(uint64_t)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog program{static_cast<uint16_t>(std::size(code)), code};
  ASSERT_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
  ASSERT_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

TEST_F(KernelPortTest, ReportsOnceHowManyFramesItHadNoSpaceFor) {
  with_port(false, [&](KernelPort& port) {
    Host host("far");
    EXPECT_EQ(port.missed(), 0u);
    constexpr size_t kSent = 20'000;
    const Frame frame = from_host("10.1.0.5", "10.2.0.7", "one of many");
    for (size_t i = 0; i < kSent; ++i) host.send(frame);
    const size_t taken = received(port).size();
    EXPECT_GT(taken, 0u);
    EXPECT_LT(taken, kSent);
    EXPECT_EQ(port.missed(), kSent - taken);
    EXPECT_EQ(port.missed(), 0u);
  });
}

TEST_F(KernelPortTest, SendsDatagramsAloneWhereTheKernelDoesNotKnowThemJoined) {
  with_port(true, [&](KernelPort& port) {
    Host wire("far");
    const auto datagrams = sealed_datagrams(4);
    refuse_one_message();
    // They stay the caller's, who sends them again.
    ASSERT_EQ(send(port, datagrams), 0);
    ASSERT_EQ(send(port, datagrams), 4);
    const auto seen = wire.receive(4);
    ASSERT_EQ(seen.size(), 4u);
    for (size_t i = 0; i < 4; ++i) EXPECT_EQ(seen[i].frame, datagrams[i]);
    EXPECT_EQ(value(Value::kFramesRefused), 0u);
  });
}

TEST_F(KernelPortTest, CarriesJumboFrames) {
  with_port(
      false,
      [&](KernelPort& port) {
        Host host("far");
        Segment whole{.payload = octets_of(62636)};
        FrameFacts facts;
        const Frame super = whole.partial(8948, &facts);
        host.send(super, facts);
        const auto packets = received(port);
        EXPECT_EQ(packets, expected_packets(whole, 8948));
        ASSERT_EQ(send(port, packets), packets.size());
        const auto seen = host.receive(1);
        ASSERT_EQ(seen.size(), 1u);
        EXPECT_EQ(seen[0].frame, super);
      },
      9000);
}

}  // namespace
}  // namespace psp
