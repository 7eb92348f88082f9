// SPDX-License-Identifier: Apache-2.0
// The MTU of a device that DPDK drives. Drivers such as i40e, ice and vmxnet3 refuse another one once they
// run: as those need their hardware, the null driver does so here, by a function of ethdev's name in front of
// ethdev's.
#include "engine/ports/dpdk_port.h"

#include <dlfcn.h>
#include <rte_ethdev.h>

#include "gateway.h"

namespace psp {
namespace {

bool refuses_when_running = false;
bool refuses_always = false;
bool runs = false;

template <typename Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace
}  // namespace psp

extern "C" int rte_eth_dev_start(uint16_t port) {
  const int done = psp::real<int(uint16_t)>("rte_eth_dev_start")(port);
  psp::runs = done == 0;
  return done;
}

extern "C" int rte_eth_dev_set_mtu(uint16_t port, uint16_t mtu) {
  if (psp::refuses_always) return -EINVAL;
  if (psp::refuses_when_running && psp::runs) return -EBUSY;
  return psp::real<int(uint16_t, uint16_t)>("rte_eth_dev_set_mtu")(port, mtu);
}

namespace psp {
namespace {

class DpdkPortMtu : public testing::Test {
 protected:
  void SetUp() override {
    enter_eal(kTestEal);
    runs = false;
  }
  void TearDown() override { refuses_when_running = refuses_always = false; }
};

uint16_t mtu_of_device(const char* name) {
  uint16_t id = 0, mtu = 0;
  EXPECT_EQ(rte_eth_dev_get_port_by_name(name, &id), 0);
  EXPECT_EQ(rte_eth_dev_get_mtu(id, &mtu), 0);
  return mtu;
}

TEST_F(DpdkPortMtu, IsSetBeforeTheDeviceRunsAsManyDriversRefuseItThen) {
  refuses_when_running = true;
  DpdkPort port("net_null_mtu0", 1, 1588);
  EXPECT_EQ(port.info().mtu, 1588);
  EXPECT_EQ(mtu_of_device("net_null_mtu0"), 1588);
}

TEST_F(DpdkPortMtu, IsThatOfTheDeviceWhereItRefusesAnother) {
  refuses_always = true;
  DpdkPort port("net_null_mtu1", 1, 1588);
  EXPECT_EQ(port.info().mtu, 1500);
  EXPECT_EQ(mtu_of_device("net_null_mtu1"), 1500);
}

TEST_F(DpdkPortMtu, IsNotLoweredAndPacketMemoryHoldsAFrameOfIt) {
  DpdkPort least("net_null_mtu2", 1, 1400);
  EXPECT_EQ(least.info().mtu, 1500);
  DpdkPort most("net_null_mtu3,size=9000", 1, 9080);
  EXPECT_EQ(most.info().mtu, 9080);
  rte_mbuf* packet = nullptr;
  ASSERT_EQ(most.rx_burst(&packet, 1), 1);
  EXPECT_GE(rte_pktmbuf_tailroom(packet) + packet->data_len, 14 + 9080 + 16);
  rte_pktmbuf_free(packet);
}

}  // namespace
}  // namespace psp
