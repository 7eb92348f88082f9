// SPDX-License-Identifier: Apache-2.0
// The complete engine in both directions without I/O: an lcore between two ports in memory, compared with the
// library's AEAD on packets of the same length. Each round also measures the ports alone, which make and free
// the frames; the reader of the lines subtracts that. With many flows it also measures memory access alone.
// Because that depends on the location of the tables, they are created again every few rounds.
//   engine_bench [flows...]                                        one line per case
//   engine_bench profile encrypt|decrypt VERSION OCTETS FLOWS      one case until it is ended, for a profiler
#include <algorithm>

#include "from_wire.h"
#include "memory_alone.h"
#include "mill.h"
#include "raw_aead.h"

namespace psp {
namespace {

constexpr int kRounds = 11, kRoundsOfATable = 4, kTables = 3;
constexpr uint32_t kTurns = 400;
constexpr uint64_t kPackets = uint64_t{kTurns} * kBurst;
constexpr size_t kSizes[] = {64, 256, 512, 1420};
// So many flows that no cache holds the data that packets need of them.
constexpr uint32_t kManyFlows = 100'000;

// Cache lines of an expanded key that the AEAD reads: round keys, and a power of the hash key per block up to
// 48, three of them for the additional authenticated data.
uint32_t key_lines(uint8_t version, size_t octets) {
  const size_t rounds = key_length(version) == 16 ? 11 : 15;
  const size_t powers = std::min<size_t>(octets / 16 + 3, 48);
  return static_cast<uint32_t>((rounds + 3) / 4 + (powers + 3) / 4);
}

double ports_alone(Mill& from, Mill& to) {
  return ns_per(kPackets, [&] {
    rte_mbuf* packets[kBurst];
    for (uint32_t turn = 0; turn < kTurns; ++turn) to.tx_burst(packets, from.rx_burst(packets, kBurst));
  });
}

// Several passes over all flows, so that none of them is new and the key of each is cached.
void meet_all(Plant& plant, uint32_t flows) {
  constexpr uint32_t kTurnsOfNeighbours = 1 << 18;  // in which the hosts stay reachable
  const auto turns = static_cast<uint32_t>(10 + uint64_t{12} * flows / kBurst);
  for (uint32_t turn = 0; turn < turns; ++turn) {
    if (turn % kTurnsOfNeighbours == 0) plant.know_hosts();
    plant.turn();
    if (turn % 1024 != 0) continue;
    plant.take_events();
    plant.grow_keys();
  }
  plant.take_events();
}

struct Case {
  bool egress;
  uint8_t version;
  size_t octets;
  uint32_t flows;
};

// Nanoseconds per packet, round by round.
struct Measured {
  std::vector<double> engine, ports, aead, alone;
  uint64_t packets = 0, missed = 0;
};

void measure(Plant& plant, RawAead& raw, MemoryAlone* memory, const Case& of, int rounds,
             Measured& measured) {
  const auto& [egress, version, octets, flows] = of;
  Mill& from = egress ? plant.unsecured : plant.secured;
  Mill& to = egress ? plant.secured : plant.unsecured;
  std::unique_ptr<FromWire> wire;
  if (!egress) wire = std::make_unique<FromWire>(*plant.aead, octets, flows, version);
  const auto missed = [&] { return plant.counters[Value::kKeyCacheMisses].value(); };
  for (int round = 0; round < rounds; ++round) {
    if (!egress) plant.know_hosts();
    from.fill = egress ? from_hosts(octets, flows) : wire->fill();
    if (round == 0) {
      meet_all(plant, flows);
    } else {
      plant.turn();
      plant.take_events();
    }
    const uint64_t sent = to.taken, missed_before = missed();
    measured.engine.push_back(ns_per(kPackets, [&] {
      for (uint32_t turn = 0; turn < kTurns; ++turn) plant.turn();
    }));
    if (to.taken - sent < kPackets) {
      std::fprintf(stderr, "engine: %lu of %lu packets came through\n", to.taken - sent, kPackets);
      for (const DropCount& drop : plant.counters.read().drops) {
        if (drop.packets != 0) std::fprintf(stderr, "%s: %lu\n", drop.reason.data(), drop.packets);
      }
      std::exit(1);
    }
    measured.missed += missed() - missed_before;
    measured.packets += kPackets;
    measured.ports.push_back(ports_alone(from, to));
    from.fill = nullptr;
    measured.aead.push_back(raw.measure(egress, octets, kPackets));
    if (memory != nullptr) measured.alone.push_back(memory->ns(key_lines(version, octets), kPackets));
  }
}

void print(const Case& of, const Measured& measured) {
  Line("engine")
      .text("direction", of.egress ? "encrypt" : "decrypt")
      .number("version", of.version)
      .number("octets", static_cast<double>(of.octets))
      .number("flows", of.flows)
      .number("keyMisses", static_cast<double>(measured.missed) / static_cast<double>(measured.packets))
      .numbers("withPortsNs", measured.engine)
      .numbers("portsNs", measured.ports)
      .numbers("aeadNs", measured.aead)
      .numbers("memoryNs", measured.alone);
}

void measure_all(RawAead& raw, uint8_t version, uint32_t flows) {
  std::vector<std::pair<Case, Measured>> cases;
  for (const bool egress : {true, false}) {
    for (const size_t octets : kSizes) cases.push_back({{egress, version, octets, flows}, {}});
  }
  const bool many = flows >= kManyFlows;
  for (int table = 0; table < (many ? kTables : 1); ++table) {
    Plant plant(flows, version);
    const auto memory = many ? std::make_unique<MemoryAlone>(flows) : nullptr;
    for (auto& [of, measured] : cases) {
      measure(plant, raw, memory.get(), of, many ? kRoundsOfATable : kRounds, measured);
    }
  }
  for (const auto& [of, measured] : cases) print(of, measured);
}

// A line when the case is running, then nanoseconds per packet including the ports, round by round.
[[noreturn]] void run_on(bool egress, uint8_t version, size_t octets, uint32_t flows) {
  Plant plant(flows, version);
  std::unique_ptr<FromWire> wire;
  if (!egress) wire = std::make_unique<FromWire>(*plant.aead, octets, flows, version);
  for (bool met = false;;) {
    plant.know_hosts();
    (egress ? plant.unsecured : plant.secured).fill = egress ? from_hosts(octets, flows) : wire->fill();
    if (!met) meet_all(plant, flows);
    met = true;
    constexpr uint32_t kManyTurns = 50 * kTurns;
    const double ns = ns_per(uint64_t{kManyTurns} * kBurst, [&] {
      for (uint32_t turn = 0; turn < kManyTurns; ++turn) plant.turn();
    });
    Line("engine").number("withPortsNs", ns);
    plant.secured.fill = nullptr;
    plant.take_events();
  }
}

}  // namespace
}  // namespace psp

int main(int count, char** words) {
  using namespace psp;
  enter_eal(kTestEal);
  if (count == 6 && words[1] == std::string("profile")) {
    const auto number = [&](int i) { return static_cast<uint32_t>(std::atol(words[i])); };
    run_on(words[2] == std::string("encrypt"), static_cast<uint8_t>(number(3)), number(4), number(5));
  }
  std::vector<uint32_t> flow_counts;
  for (int i = 1; i < count; ++i) flow_counts.push_back(static_cast<uint32_t>(std::atol(words[i])));
  if (flow_counts.empty()) flow_counts = {1, 1000, 1000000};
  const auto raw = raw_limit();
  const uint8_t key[32] = {1, 2, 3};
  for (const uint8_t version : {0, 1}) {
    raw->set_key(key, version == 1);
    for (const uint32_t flows : flow_counts) measure_all(*raw, version, flows);
  }
}
