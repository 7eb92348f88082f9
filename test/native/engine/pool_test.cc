// SPDX-License-Identifier: Apache-2.0
// Where packets lie: side by side in huge pages, or where the environment keeps its memory.
#include "engine/ports/pool.h"

#include <gtest/gtest.h>
#include <rte_mempool.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "engine/ports/dpdk_port.h"
#include "engine/ports/eal.h"
#include "engine/ports/packet.h"
#include "gateway.h"

namespace psp {
namespace {

constexpr uint32_t kCount = 2047, kRoom = RTE_PKTMBUF_HEADROOM + 2048;

class PoolTest : public testing::Test {
 protected:
  PoolTest() { enter_eal(kTestEal); }
};

// Kibibytes of huge pages of the mapping in which `address` lies.
long huge_kibibytes(const void* address) {
  std::ifstream maps("/proc/self/smaps");
  const auto at = reinterpret_cast<uintptr_t>(address);
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    uintptr_t from, to;
    long huge;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &from, &to) == 2) inside = from <= at && at < to;
    if (inside && std::sscanf(line.c_str(), "AnonHugePages: %ld", &huge) == 1) return huge;
  }
  return -1;
}

std::vector<rte_mbuf*> take_all(const Pool& pool) {
  std::vector<rte_mbuf*> packets;
  while (rte_mbuf* const packet = rte_pktmbuf_alloc(pool.get())) packets.push_back(packet);
  return packets;
}

TEST_F(PoolTest, PacketsLieSideBySide) {
  Pool pool("test", kCount, kRoom);
  ASSERT_EQ(rte_mempool_avail_count(pool.get()), kCount);
  const rte_mempool_memhdr* const memory = STAILQ_FIRST(&pool.get()->mem_list);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(memory->addr) % (2 << 20), 0u);
  std::vector<rte_mbuf*> packets = take_all(pool);
  ASSERT_EQ(packets.size(), kCount);
  std::sort(packets.begin(), packets.end());
  const auto octets = reinterpret_cast<uintptr_t>(packets.back()) - reinterpret_cast<uintptr_t>(packets[0]);
  EXPECT_LT(octets / (kCount - 1), sizeof(rte_mbuf) + kRoom + 256);
  for (rte_mbuf* packet : packets) {
    ASSERT_EQ(rte_pktmbuf_tailroom(packet), 2048);
    rte_pktmbuf_free(packet);
  }
}

TEST_F(PoolTest, PagesAreHuge) {
  std::string mode;
  std::getline(std::ifstream("/sys/kernel/mm/transparent_hugepage/enabled"), mode);
  if (mode.empty() || mode.find("[never]") != std::string::npos) {
    GTEST_SKIP() << "this kernel gives no transparent huge pages";
  }
  Pool pool("test", kCount, kRoom);
  const rte_mempool_memhdr* const memory = STAILQ_FIRST(&pool.get()->mem_list);
  EXPECT_GE(huge_kibibytes(memory->addr), 2048);
}

// Most of a pool for GSO packets is never touched.
TEST_F(PoolTest, LargePacketsAppearAsTheyAreUsed) {
  Pool pool("test", 63, UINT16_MAX);
  ASSERT_EQ(rte_mempool_avail_count(pool.get()), 63u);
  const rte_mempool_memhdr* const memory = STAILQ_FIRST(&pool.get()->mem_list);
  EXPECT_LE(huge_kibibytes(memory->addr), 0);
}

TEST(DeviceTest, OnlyKnownDriversLeavePacketsWhereTheyLie) {
  for (const char* device : {"eth0", "net_ring0", "net_pcap0,rx_pcap=a", "net_af_xdp0,iface=eth1", "net_tap0",
                             "net_memif0", "net_null0", "net_af_packet0,iface=a"}) {
    EXPECT_FALSE(reaches_packets(device)) << device;
  }
  for (const char* device : {"0000:03:00.0", "03:00.0,dv_flow_en=1", "virtio_user0,path=/dev/vhost-net",
                             "net_virtio_user0", "net_bonding0,member=0000:03:00.0", "net_vhost0"}) {
    EXPECT_TRUE(reaches_packets(device)) << device;
  }
}

// In a process of its own: it holds from then on.
TEST_F(PoolTest, DevicesThatReachPacketsGetThemInEalMemory) {
  const auto is_in_eal_memory = [] {
    EalOptions options = kTestEal;
    options.packets_in_eal_memory = true;
    enter_eal(options);
    Pool pool("test", kCount, kRoom);
    const rte_mbuf* const packet = rte_pktmbuf_alloc(pool.get());
    return rte_mem_virt2memseg(packet, nullptr) != nullptr && rte_pktmbuf_iova(packet) != RTE_BAD_IOVA;
  };
  EXPECT_EXIT(std::_Exit(is_in_eal_memory() ? 0 : 1), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace psp
