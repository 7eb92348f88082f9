// SPDX-License-Identifier: Apache-2.0
// Two lcores that share a set of tables, each between its own ports in memory, compared with the main lcore
// alone. Both use all flows, which a device would not allow. They are measured in alternation within each
// round; the time is the processor time of each thread while both run. Prints nothing on a machine with one
// core.
//   cmake --build build/native --target lcores_bench && build/native/lcores_bench [flows...]
#include <atomic>
#include <memory>
#include <thread>

#include "from_wire.h"
#include "measure.h"

namespace psp {
namespace {

constexpr int kRounds = 11;
constexpr uint32_t kTurns = 1000;
constexpr uint64_t kPackets = uint64_t{kTurns} * kBurst;
constexpr size_t kSizes[] = {64, 1420};

// The second lcore of a plant.
struct Second {
  explicit Second(Plant& plant)
      : plant(plant), worker(*plant.main, 0, unsecured, secured, counters, samples, kSeed + 1) {}
  void turn() { run_once(worker, now_ns += 3'000); }
  // As the thread beside a polling one does.
  void grow_keys() {
    while (worker.grow_memory()) {
    }
  }

  Plant& plant;
  Mill unsecured{{kUnsecuredMac, 1500}}, secured{{kSecuredMac, 1600}};
  Counters counters;
  SampleRing samples{8192, 128};
  WorkerLcore worker;
  uint64_t now_ns = plant.now_ns;
};

template <typename Turns>
double ns_of(Turns& lcore) {
  return ns_per(kPackets, [&] {
    for (uint32_t turn = 0; turn < kTurns; ++turn) lcore.turn();
  });
}

// Nanoseconds per packet of either lcore while both run: half the harmonic mean of the two.
double ns_of_both(Plant& first, Second& second) {
  std::atomic<int> ready{0}, done{0};
  double ns[2];
  const auto run = [&](auto& lcore, double* each) {
    // The thread starts on a core whose caches hold none of the data.
    for (uint32_t turn = 0; turn < kTurns; ++turn) lcore.turn();
    for (++ready; ready != 2;) {
    }
    *each = ns_of(lcore);
    // The thread that finishes first continues, so that the other one never runs alone.
    for (++done; done != 2;) lcore.turn();
  };
  std::thread thread([&] {
    enter_eal(kTestEal);
    run(second, &ns[1]);
    leave_eal();
  });
  run(first, &ns[0]);
  thread.join();
  return 1 / (1 / ns[0] + 1 / ns[1]);
}

void measure(Plant& plant, Second& second, bool egress, uint8_t version, size_t octets, uint32_t flows) {
  const auto from = [&](auto& lcore) -> Mill& { return egress ? lcore.unsecured : lcore.secured; };
  const auto to = [&](auto& lcore) -> Mill& { return egress ? lcore.secured : lcore.unsecured; };
  std::unique_ptr<FromWire> wire;
  if (!egress) wire = std::make_unique<FromWire>(*plant.aead, octets, flows, version);
  std::vector<double> one, two;
  for (int round = 0; round < kRounds; ++round) {
    plant.know_hosts();
    second.now_ns = plant.now_ns;
    from(plant).fill = egress ? from_hosts(octets, flows) : wire->fill();
    from(second).fill = egress ? from_hosts(octets, flows) : wire->fill();
    // Several passes over all flows, so that none of them is new and each key that has a cache entry is in
    // it.
    for (uint32_t left = round == 0 ? 10 + 12 * flows / kBurst : 1; left > 0; --left) {
      plant.turn();
      second.turn();
      if (left % 1024 != 1) continue;
      plant.take_events();
      plant.grow_keys();
      second.grow_keys();
    }
    one.push_back(ns_of(plant));
    const uint64_t before = to(plant).taken + to(second).taken;
    two.push_back(ns_of_both(plant, second));
    from(plant).fill = from(second).fill = nullptr;
    // Packets that the worker lcore handed off to the main lcore.
    while (!second.worker.handoff.empty()) plant.turn();
    plant.take_events();
    const uint64_t sent = to(plant).taken + to(second).taken - before;
    if (sent < 2 * kPackets) {
      std::fprintf(stderr, "lcores: %lu of %lu packets came through\n", sent, 2 * kPackets);
      EngineCounts counts = plant.counters.read();
      counts.add(second.counters.read());
      for (const DropCount& drop : counts.drops) {
        if (drop.packets != 0) std::fprintf(stderr, "%s: %lu\n", drop.reason.data(), drop.packets);
      }
      std::exit(1);
    }
  }
  Line("lcores")
      .text("direction", egress ? "encrypt" : "decrypt")
      .number("version", version)
      .number("octets", static_cast<double>(octets))
      .number("flows", flows)
      .numbers("oneNs", one)
      .numbers("twoNs", two);
}

}  // namespace
}  // namespace psp

int main(int count, char** words) {
  using namespace psp;
  if (std::thread::hardware_concurrency() < 2) return 0;
  enter_eal(kTestEal);
  std::vector<uint32_t> flow_counts;
  for (int i = 1; i < count; ++i) flow_counts.push_back(static_cast<uint32_t>(std::atol(words[i])));
  if (flow_counts.empty()) flow_counts = {1, 1000, 1000000};
  for (const uint32_t flows : flow_counts) {
    Plant plant(flows, uint8_t{0}, 2);
    auto second = std::make_unique<Second>(plant);
    for (const bool egress : {true, false}) {
      for (const size_t octets : kSizes) measure(plant, *second, egress, 0, octets, flows);
    }
  }
}
