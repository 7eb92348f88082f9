// SPDX-License-Identifier: Apache-2.0
// Nothing on the packet path allocates: a worker takes packets through all its pipes with the C library's
// allocator counted. Its ports hold buffers that were filled before, and give back what is sent.
#if !defined(__SANITIZE_ADDRESS__)

#include <gtest/gtest.h>

#include "../psp/allocations.h"
#include "gateway.h"
#include "sealed_frames.h"

namespace psp {
namespace {

class LoadedPort : public Port {
 public:
  explicit LoadedPort(PortInfo info) : info_(info), pool_("loaded", 2048, 4096) {}
  ~LoadedPort() override {
    for (; next_ < count_; ++next_) rte_pktmbuf_free(packets_[next_]);
  }
  void load(const Frame& frame) {
    rte_mbuf* const packet = rte_pktmbuf_alloc(pool_.get());
    std::memcpy(rte_pktmbuf_append(packet, static_cast<uint16_t>(frame.size())), frame.data(), frame.size());
    packets_.at(count_++) = packet;
  }
  PortInfo info() const override { return info_; }
  uint16_t rx_burst(rte_mbuf** packets, uint16_t count) override {
    uint16_t taken = 0;
    while (taken < count && next_ < count_) packets[taken++] = packets_[next_++];
    return taken;
  }
  uint16_t tx_burst(rte_mbuf** packets, uint16_t count) override {
    rte_pktmbuf_free_bulk(packets, count);
    return count;
  }
  int descriptor() const override { return -1; }

 private:
  PortInfo info_;
  Pool pool_;
  std::array<rte_mbuf*, 1024> packets_{};
  size_t count_ = 0, next_ = 0;
};

// Hosts' packets: keyed flows of both modes, flows without a key, fragments, too long ones, nobody's.
void load_hosts(LoadedPort& port) {
  port.load(arp(true, kHostMac, "10.1.0.5", "10.1.0.1"));
  port.load(solicitation(kHostMac, "fd00:1::5", "fd00:1::1"));
  for (int i = 0; i < 40; ++i) {
    port.load(from_host("10.1.0.5", "10.2.0.7", "sealed"));
    port.load(from_host("10.1.0.5", "10.3.0.7", "sealed in transport mode"));
    port.load(from_host("10.1.0.5", "10.2.1." + std::to_string(i), "held"));
    port.load(from_host(long_packet("10.1.0.5", "10.2.0.7", 1500)));
    port.load(from_host(with_df(long_packet("10.1.0.5", "10.2.0.7", 1500))));
    port.load(
        from_host(ipv4_marked(long_packet("10.1.0.5", "10.3.0.7", 508), static_cast<uint16_t>(i), 0x2000)));
    port.load(from_host("10.1.0.5", "10.9.0.1", "nobody's"));
    port.load(from_host("fd00:1::5", "fd00:2::7", "IPv6, held"));
  }
}

// Packets of the wire: good ones under two SPIs, forged, of an unknown SPI, and no PSP.
void load_wire(LoadedPort& port) {
  port.load(arp(true, kPeerMac, "192.0.2.2", "192.0.2.1"));
  EgressKey forged = key_of(17, 0);
  forged.key[0] ^= 1;
  for (uint64_t iv = 1; iv <= 40; ++iv) {
    port.load(sealed(key_of(17, 0), udp_packet("10.2.0.7", "10.1.0.5", "opened"), iv, 255, "192.0.2.2",
                     "192.0.2.1", {iv % 2 == 0, false}));
    port.load(sealed(key_of(18, 1), udp_packet("10.2.0.8", "10.1.0.5", "opened"), iv));
    port.load(sealed(forged, udp_packet("10.2.0.7", "10.1.0.5", "forged"), iv));
    port.load(sealed(key_of(99, 0), udp_packet("10.2.0.7", "10.1.0.5", "unknown"), iv));
    port.load(ethernet(kSecuredMac, kPeerMac, 0x0800, udp_packet("192.0.2.2", "192.0.2.1", "not PSP")));
  }
}

TEST(MainLcore, AllocatesNothingOnAnyPathOfAPacket) {
  enter_eal(kTestEal);
  EngineConfig config = gateway_config();
  config.peers.push_back({.vips = {prefix("10.3.0.0/16")}, .mode = Mode::kTransport});
  config.sampling.egress_log2 = 1;
  config.sampling.plain = true;
  config.capture.ingress = config.capture.egress = true;
  std::vector<std::unique_ptr<Aead>> aeads;
  aeads.push_back(make_aead_libcrypto());
  if (auto fast = make_aead_ipsec_mb()) aeads.push_back(std::move(fast));
  for (const auto& aead : aeads) {
    LoadedPort unsecured({kUnsecuredMac, 1500}), secured({kSecuredMac, 1500});
    Counters counters;
    SpscRing<Event> events(4096);
    SampleRing samples(64, 128);
    MasterKeys keys = test_master_keys();
    MainLcore lcore(config, *aead, unsecured, secured, keys, counters, events, samples, kSeed);
    Command install, install_transport, admit, admit_another;
    install.body = InstallCommand{0, {flow("10.1.0.5", "10.2.0.7")}, {egress_key(5)}, {InstallResult{}}};
    install_transport.body =
        InstallCommand{1, {flow("10.1.0.5", "10.3.0.7")}, {transport_key(6, 1)}, {InstallResult{}}};
    admit.body = offer_of({flow("10.2.0.7", "10.1.0.5")}, 17, 0);
    admit_another.body = offer_of({flow("10.2.0.8", "10.1.0.5")}, 18, 1);
    for (Command* command : {&install, &install_transport, &admit, &admit_another}) {
      carry_out(lcore, *command, lcore.budget);
    }
    load_hosts(unsecured);
    load_wire(secured);

    const size_t before = allocations;
    for (uint64_t turn = 1; turn <= 400; ++turn) run_once(lcore, turn * 10'000'000);
    EXPECT_EQ(allocations - before, 0u) << aead->name();
    for (const Value taken :
         {Value::kTxPackets, Value::kRxPackets, Value::kForwardedEgress, Value::kForwardedIngress,
          Value::kHeldTotal, Value::kPacketsFragmented, Value::kIcmpSent, Value::kSamplesTaken,
          Value::kCapturesTaken, Value::kRxAuthFail, Value::kMissEvents, Value::kConsumed}) {
      EXPECT_NE(counters[taken].value(), 0u) << kValues[static_cast<size_t>(taken)].name;
    }
    EXPECT_NE(counters[Drop::kEgressFragmentTimeout].value(), 0u);
    EXPECT_NE(counters[Drop::kEgressNoPeer].value(), 0u);
    EXPECT_NE(counters[Drop::kIngressUnknownSpi].value(), 0u);
  }
}

}  // namespace
}  // namespace psp

#endif
