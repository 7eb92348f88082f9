// SPDX-License-Identifier: Apache-2.0
// Our side of the comparison with DPDK's ipsec-secgw: an lcore between the same two virtual devices; frames
// are read from a file in a loop and discarded on output. One direction of one flow, tunnel mode, version 0.
//   secgw_bench make FOLDER                writes the files: {clear,sealed}-{64,imix,1420}.pcap
//   secgw_bench encrypt|decrypt FILE       prints nanoseconds of this thread per packet sent, by rounds
#include <chrono>
#include <cstring>
#include <fstream>

#include "engine/ports/dpdk_port.h"
#include "measure.h"
#include "mill.h"

namespace psp {
namespace {

constexpr int kRounds = 9;
constexpr double kRoundNs = 2e8;
constexpr uint32_t kSpi = 0x10005;
// The name of DPDK's pcap driver.
constexpr MacAddress kPcapMac = {2, 0x70, 0x63, 0x61, 0x70, 0};

void write_pcap(const std::string& path, const std::vector<Frame>& frames) {
  std::ofstream file(path, std::ios::binary);
  const auto words = [&](std::initializer_list<uint32_t> values) {
    for (const uint32_t value : values) file.write(reinterpret_cast<const char*>(&value), sizeof value);
  };
  words({0xa1b2c3d4, 2 | 4 << 16, 0, 0, 65535, 1});
  for (const Frame& frame : frames) {
    const auto length = static_cast<uint32_t>(frame.size());
    words({0, 0, length, length});
    file.write(reinterpret_cast<const char*>(frame.data()), length);
  }
}

// Lengths of IP packets; IMIX is seven short ones, four medium ones and a long one, spread evenly.
std::vector<size_t> lengths_of(const std::string& mix) {
  if (mix == "imix") return {64, 576, 64, 64, 576, 64, 1420, 64, 576, 64, 64, 576};
  return {std::stoul(mix)};
}

void make(const std::string& folder) {
  for (const std::string mix : {"64", "imix", "1420"}) {
    std::vector<Frame> clear, sealed_ones;
    uint64_t iv = 0;
    for (int times = 0; times < 40; ++times) {
      for (const size_t octets : lengths_of(mix)) {
        const std::string words(octets - 28, 'x');
        clear.push_back(from_host("10.1.0.5", "10.2.0.7", words));
        sealed_ones.push_back(sealed(key_of(kSpi, 0), udp_packet("10.2.0.7", "10.1.0.5", words), ++iv));
        for (Frame* frame : {&clear.back(), &sealed_ones.back()}) {
          std::copy(kPcapMac.begin(), kPcapMac.end(), frame->begin());
        }
      }
    }
    write_pcap(folder + "/clear-" + mix + ".pcap", clear);
    write_pcap(folder + "/sealed-" + mix + ".pcap", sealed_ones);
  }
}

uint64_t monotonic_ns() {
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch() /
                               std::chrono::nanoseconds(1));
}

int run(bool egress, const std::string& file) {
  enter_eal({512, {}, false});
  DpdkPort from("net_pcap0,rx_pcap=" + file + ",infinite_rx=1");
  DpdkPort to("net_null0,no-rx=1");
  const EngineConfig config = gateway_config();
  const auto aead = Plant::fastest();
  Counters counters;
  SpscRing<Event> events(64);
  SampleRing samples(64, 128);
  MasterKeys keys = test_master_keys();
  MainLcore lcore(config, *aead, egress ? from : to, egress ? to : from, keys, counters, events, samples,
                  kSeed);
  Command install, admit;
  EgressKey key = egress_key(kSpi);
  key.mac = kPeerMac;
  install.body = InstallCommand{0, {flow("10.1.0.5", "10.2.0.7")}, {key}, std::vector<InstallResult>(1)};
  admit.body = offer_of({flow("10.2.0.7", "10.1.0.5")}, kSpi);
  const Counter& sent = (egress ? counters.secured : counters.unsecured).tx_packets;

  const auto begin = monotonic_ns();
  run_once(lcore, begin);
  carry_out(lcore, install, lcore.budget);
  carry_out(lcore, admit, lcore.budget);
  std::vector<double> rounds;
  for (int round = -1; round < kRounds; ++round) {
    // No host answers.
    lcore.hosts.seed(address("10.1.0.5"), kHostMac, monotonic_ns() / 1'000'000);
    const uint64_t sent_before = sent.value();
    const double start = thread_ns();
    double took = 0;
    while ((took = thread_ns() - start) < kRoundNs) {
      for (int turn = 0; turn < 1000; ++turn) run_once(lcore, monotonic_ns());
    }
    const uint64_t packets = sent.value() - sent_before;
    if (packets < 1000) {
      std::fprintf(stderr, "secgw: nothing came through\n");
      return 1;
    }
    if (round >= 0) rounds.push_back(took / static_cast<double>(packets));
  }
  Line("secgw").numbers("ns", rounds);
  return 0;
}

}  // namespace
}  // namespace psp

int main(int count, char** words) {
  if (count != 3) return 2;
  const std::string what = words[1];
  if (what != "make") return psp::run(what == "encrypt", words[2]);
  psp::make(words[2]);
}
