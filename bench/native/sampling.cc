// SPDX-License-Identifier: Apache-2.0
// The cost of sampling on the packet path: packets of one flow through an lcore between two ports in memory,
// with sampling off and on in alternation, so that both run under the same conditions. Prints nanoseconds per
// packet, the median of all rounds. JavaScript and the bus are not measured.
//   cmake --build build/native --target sampling_bench && build/native/sampling_bench
#include <algorithm>
#include <chrono>
#include <cstdio>

#include "mill.h"

namespace psp {
namespace {

constexpr int kRounds = 101, kTurns = 300;

double median(std::vector<double> numbers) {
  std::ranges::nth_element(numbers, numbers.begin() + static_cast<long>(numbers.size() / 2));
  return numbers[numbers.size() / 2];
}

void measure(size_t inner_octets) {
  Plant plant(1, uint8_t{0});
  plant.unsecured.fill = from_hosts(inner_octets, 1);
  const std::array<std::optional<uint8_t>, 4> rates = {std::nullopt, 10, 4, 0};
  std::array<std::vector<double>, rates.size()> ns;
  for (int round = 0; round < kRounds; ++round) {
    for (size_t i = 0; i < rates.size(); ++i) {
      plant.obey(SamplingCommand{std::nullopt, rates[i]});
      const auto before = std::chrono::steady_clock::now();
      for (int turn = 0; turn < kTurns; ++turn) {
        plant.turn();
        // As the control side does: the ring is never full.
        if (turn % 8 == 0) {
          for (Sample sample; plant.samples.pop(&sample);) {
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
