// SPDX-License-Identifier: Apache-2.0
// The cost of many flows: memory and time to install ten million, look-ups compared with plain reads of as
// much memory, flows replaced while others send packets, and the memory of a million offers. One lcore, no
// threads; memory is the resident memory of the process.
//   cmake --build build/native --target flows_bench && build/native/flows_bench [flows]
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "measure.h"
#include "mill.h"

namespace psp {
namespace {

constexpr int kRounds = 15;
constexpr uint32_t kAtOnce = 1000;
constexpr uint32_t kOffers = 1'000'000;

double resident() {
  double pages = 0, ignored = 0;
  std::ifstream("/proc/self/statm") >> ignored >> pages;
  return pages * static_cast<double>(sysconf(_SC_PAGESIZE));
}

// Commands are created before the clock starts: they are work of the control side.
void measure_install(Plant& plant, uint32_t flows) {
  const double before = resident();
  std::vector<double> ns;
  for (uint32_t first = 0; first < flows; first += 100 * kAtOnce) {
    std::vector<Command> commands;
    for (uint32_t at = first; at < first + 100 * kAtOnce && at < flows; at += kAtOnce) {
      commands.emplace_back().body = plant.install_of(at, std::min(flows, at + kAtOnce), 0);
    }
    ns.push_back(ns_per(commands.size() * kAtOnce, [&] {
      for (Command& command : commands) plant.obey(command);
    }));
  }
  Line("flows").text("what", "install").number("flows", flows).numbers("ns", ns);
  Line("flows")
      .text("what", "memory")
      .number("flows", flows)
      .number("resident", resident())
      .number("each", (resident() - before) / flows);
}

void measure_look_ups(Plant& plant, uint32_t flows, double table_octets) {
  struct alignas(64) CacheLine {
    uint64_t word;
  };
  const auto lines = static_cast<uint32_t>(table_octets / sizeof(CacheLine));
  std::vector<CacheLine> memory(lines, CacheLine{1});
  constexpr uint32_t kLookUps = 320'000;
  Shuffle among_flows(flows), among_lines(lines);
  std::vector<double> ns, read_ns;
  uint64_t found = 0, read = 0;
  for (int round = 0; round < kRounds; ++round) {
    ns.push_back(ns_per(kLookUps, [&] {
      for (uint32_t i = 0; i < kLookUps; ++i)
        found += plant.main->flow_table.find(nth_flow(among_flows.next())) != 0;
    }));
    read_ns.push_back(ns_per(kLookUps, [&] {
      for (uint32_t i = 0; i < kLookUps; ++i) read += memory[among_lines.next()].word;
    }));
  }
  if (found != uint64_t{kRounds} * kLookUps || read != found) std::abort();
  Line("flows").text("what", "look-up").number("flows", flows).numbers("ns", ns).numbers("readNs", read_ns);
}

// A thousand flows send; in each turn others are removed and installed again.
void measure_changes(Plant& plant, uint32_t flows) {
  constexpr uint32_t kSending = 1000, kTurns = 2000, kChanged = 16;
  std::vector<double> with, without;
  uint32_t at = kSending;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<Command> removes(kTurns), installs(kTurns);
    for (uint32_t turn = 0; turn < kTurns; ++turn) {
      if (at + kChanged > flows) at = kSending;
      RemoveCommand remove;
      for (uint32_t n = at; n < at + kChanged; ++n) remove.flows.push_back(nth_flow(n));
      removes[turn].body = std::move(remove);
      installs[turn].body = plant.install_of(at, at + kChanged, 0);
      at += kChanged;
    }
    plant.unsecured.fill = from_hosts(512, kSending);
    without.push_back(ns_per(kTurns, [&] {
      for (uint32_t turn = 0; turn < kTurns; ++turn) plant.turn();
    }));
    with.push_back(ns_per(kTurns, [&] {
      for (uint32_t turn = 0; turn < kTurns; ++turn) {
        plant.turn();
        plant.obey(removes[turn]);
        plant.obey(installs[turn]);
      }
    }));
    plant.unsecured.fill = nullptr;
  }
  Line("flows")
      .text("what", "change")
      .number("flows", flows)
      .number("changed", kChanged)
      .numbers("withNs", with)
      .numbers("withoutNs", without);
}

void measure_offers() {
  Plant plant(kOffers);
  std::vector<Command> commands(kOffers / kAtOnce);
  for (uint32_t at = 0; at < kOffers; at += kAtOnce) {
    commands[at / kAtOnce].body = plant.admit_of(at, at + kAtOnce, 0);
  }
  const double before = resident();
  const double ns = ns_per(kOffers, [&] {
    for (Command& command : commands) plant.obey(command);
  });
  Line("flows")
      .text("what", "offers")
      .number("flows", kOffers)
      .number("each", (resident() - before) / kOffers)
      .numbers("ns", {ns});
}

}  // namespace
}  // namespace psp

int main(int count, char** words) {
  using namespace psp;
  const auto flows = static_cast<uint32_t>(count > 1 ? std::atol(words[1]) : 10'000'000);
  enter_eal(kTestEal);
  measure_offers();
  Plant plant(flows);
  const double empty = resident();
  measure_install(plant, flows);
  measure_look_ups(plant, flows, resident() - empty);
  measure_changes(plant, flows);
}
