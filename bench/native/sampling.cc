// SPDX-License-Identifier: Apache-2.0
// What sampling costs on the packet path: packets of one flow through a worker between two ports in memory,
// with sampling off and on by turns, so that both meet the same machine. Prints nanoseconds per packet, the
// median of all rounds. Nothing is measured of JavaScript or the bus.
//   cmake --build build/native --target sampling_bench && build/native/sampling_bench
#include <algorithm>
#include <chrono>
#include <cstdio>

#include "engine/sample_ring.h"
#include "test/native/engine/gateway.h"

namespace psp {
namespace {

constexpr int kRounds = 101, kTurns = 300;

// Ports that hand out copies of one frame for ever and swallow what they are given.
class Mill : public Port {
 public:
  explicit Mill(PortInfo info, Frame frame = {})
      : info_(info), frame_(std::move(frame)), pool_("mill", 4096, 4096) {}
  PortInfo info() const override { return info_; }
  uint16_t rx_burst(rte_mbuf** packets, uint16_t count) override {
    if (frame_.empty()) return 0;
    rte_pktmbuf_alloc_bulk(pool_.get(), packets, count);
    for (uint16_t i = 0; i < count; ++i) {
      std::memcpy(rte_pktmbuf_append(packets[i], static_cast<uint16_t>(frame_.size())), frame_.data(),
                  frame_.size());
    }
    return count;
  }
  uint16_t tx_burst(rte_mbuf** packets, uint16_t count) override {
    rte_pktmbuf_free_bulk(packets, count);
    return count;
  }
  int descriptor() const override { return -1; }

 private:
  const PortInfo info_;
  const Frame frame_;
  Pool pool_;
};

double median(std::vector<double> numbers) {
  std::ranges::nth_element(numbers, numbers.begin() + static_cast<long>(numbers.size() / 2));
  return numbers[numbers.size() / 2];
}

void measure(size_t inner_octets) {
  auto aead = make_aead_ipsec_mb();
  if (!aead) aead = make_aead_libcrypto();
  const EngineConfig config = gateway_config();
  Mill unsecured({kUnsecuredMac, 1500},
                 from_host("10.1.0.5", "10.2.0.7", std::string(inner_octets - 28, 'x')));
  Mill secured({kSecuredMac, 1600});
  Counters counters;
  SpscRing<Event> events(64);
  SampleRing samples(8192, config.sampling.snap_bytes);
  Worker worker(config, *aead, unsecured, secured, 0,
                std::make_unique<MasterKey>(std::span<const uint8_t, 32>(kMasterOctets)), counters, events,
                samples, kSeed);
  const auto obey = [&](CommandBody body) {
    Command command;
    command.body = std::move(body);
    worker.carry_out(command);
  };
  InstallCommand install;
  install.flows = {flow("10.1.0.5", "10.2.0.7")};
  install.keys.push_back(egress_key(5));
  install.keys[0].mac = kPeerMac;
  install.results.resize(1);
  obey(std::move(install));

  const std::array<std::optional<uint8_t>, 4> rates = {std::nullopt, 10, 4, 0};
  std::array<std::vector<double>, rates.size()> ns;
  uint64_t now_ns = 1'000'000'000;
  for (int round = 0; round < kRounds; ++round) {
    for (size_t i = 0; i < rates.size(); ++i) {
      obey(SamplingCommand{std::nullopt, rates[i]});
      const auto before = std::chrono::steady_clock::now();
      for (int turn = 0; turn < kTurns; ++turn) {
        worker.run_once(now_ns += 10'000);
        // As the control side would: the ring is never full.
        if (turn % 8 == 0) {
          for (Sample sample; samples.pop(&sample);) {
          }
        }
      }
      const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - before;
      ns[i].push_back(took.count() / (kTurns * kBurst));
    }
  }
  const double off = median(ns[0]);
  std::printf("%5zu octets: off %.1f ns", inner_octets, off);
  for (size_t i = 1; i < rates.size(); ++i) {
    const double on = median(ns[i]);
    std::printf(", 1 in 2^%d %.1f ns (%+.1f %%)", *rates[i], on, (on / off - 1) * 100);
  }
  std::printf("\n");
}

}  // namespace
}  // namespace psp

int main() {
  psp::enter_eal(psp::kTestEal);
  for (const size_t octets : {64, 512, 1420}) psp::measure(octets);
}
