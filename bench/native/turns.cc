// SPDX-License-Identifier: Apache-2.0
// The duration of single turns of a polling lcore with a million flows and both ports saturated: without
// commands, while a thousand flows at a time are installed, removed and offered again, and while a rotation's
// dead SPIs are cleared. A turn is a burst from each port, timers, and commands, as in the engine's own loop.
// Its duration is processor time of the thread: kernel work on its behalf, such as clearing pages, is
// included, and so are interrupts and the hypervisor; time of other threads is not. Timers run by that time.
//   cmake --build build/native --target turns_bench && build/native/turns_bench [flows]
#include <algorithm>
#include <cstdlib>
#include <deque>
#include <memory>

#include "from_wire.h"
#include "measure.h"

namespace psp {
namespace {

constexpr int kRounds = 7;
constexpr uint32_t kAtOnce = 1000, kOctets = 64;
// SPIs of the other slot, for repeated offers.
constexpr uint32_t kOtherSlot = 0x80000000;

class Turns {
 public:
  explicit Turns(uint32_t flows)
      : flows_(flows), plant_(flows, uint8_t{0}), wire_(*plant_.aead, kOctets, flows, 0), any_(flows) {
    plant_.know_hosts();
    meet_all();
  }

  // Runs this many turns without a command.
  std::vector<double> alone(uint32_t turns) {
    std::vector<double> ns;
    for (uint32_t i = 0; i < turns; ++i) ns.push_back(turn());
    return ns;
  }
  // Runs turns until all of these commands are carried out.
  std::vector<double> with(std::deque<std::unique_ptr<Command>> commands) {
    std::vector<double> ns;
    while (!commands.empty()) ns.push_back(turn(&commands));
    return ns;
  }
  // A rotation into the slot, and turns until no SPI of the dead key is left.
  std::vector<double> rotation(uint8_t slot) {
    std::deque<std::unique_ptr<Command>> commands;
    plant_.master_keys.next_slot = slot;
    plant_.master_keys.next = std::make_unique<MasterKey>(std::span<const uint8_t, 32>(kMasterOctets));
    commands.push_back(of(RotateCommand{}));
    std::vector<double> ns = with(std::move(commands));
    while (plant_.main->receive_spis.any_due()) ns.push_back(turn());
    return ns;
  }

  std::deque<std::unique_ptr<Command>> installs(uint32_t count) {
    std::deque<std::unique_ptr<Command>> commands;
    for (uint32_t i = 0; i < count; ++i) {
      InstallCommand install;
      for (uint32_t n = 0; n < kAtOnce; ++n) {
        const uint32_t flow = any_.next();
        install.flows.push_back(nth_flow(flow));
        install.keys.push_back(nth_egress_key(flow, 0));
      }
      install.results.resize(kAtOnce);
      commands.push_back(of(std::move(install)));
    }
    return commands;
  }
  std::deque<std::unique_ptr<Command>> removals(uint32_t count) {
    std::deque<std::unique_ptr<Command>> commands;
    for (uint32_t i = 0; i < count; ++i) {
      RemoveCommand remove;
      for (uint32_t n = 0; n < kAtOnce; ++n) remove.flows.push_back(nth_flow(any_.next()));
      commands.push_back(of(std::move(remove)));
    }
    return commands;
  }
  // Offers for every flow, under SPIs of one master key slot.
  std::deque<std::unique_ptr<Command>> offers(uint32_t slot_bit) {
    std::deque<std::unique_ptr<Command>> commands;
    for (uint32_t first = 0; first < flows_; first += kAtOnce) {
      OfferCommand admit = Plant::admit_of(first, std::min(flows_, first + kAtOnce), 0);
      for (uint32_t& spi : admit.spis) spi |= slot_bit;
      commands.push_back(of(std::move(admit)));
    }
    return commands;
  }
  // Installs and admits again every flow that was removed.
  void mend() {
    for (uint32_t first = 0; first < flows_; first += kAtOnce) {
      const uint32_t end = std::min(flows_, first + kAtOnce);
      plant_.obey(Plant::install_of(first, end, 0));
      plant_.obey(Plant::admit_of(first, end, 0));
    }
    meet_all();
  }

 private:
  template <typename Body>
  static std::unique_ptr<Command> of(Body body) {
    auto command = std::make_unique<Command>();
    command->body = std::move(body);
    return command;
  }

  double turn(std::deque<std::unique_ptr<Command>>* commands = nullptr) {
    MainLcore& lcore = *plant_.main;
    done_.clear();  // the control side frees them
    done_.reserve(Budget::kTurn);
    const double before = thread_ns();
    run_once(lcore, plant_.now_ns);
    while (commands != nullptr && !commands->empty() && carry_out(lcore, *commands->front(), lcore.budget)) {
      done_.push_back(std::move(commands->front()));
      commands->pop_front();
    }
    const double ns = thread_ns() - before;
    plant_.now_ns += static_cast<uint64_t>(ns);
    if (++turns_ % 1024 == 0) {
      plant_.take_events();
      plant_.grow_keys();
    }
    return ns;
  }
  // So that the keys in use are cached.
  void meet_all() {
    plant_.unsecured.fill = from_hosts(kOctets, flows_);
    plant_.secured.fill = wire_.fill();
    for (uint32_t left = 10 + 4 * flows_ / kBurst; left > 0; --left) turn();
  }

  const uint32_t flows_;
  Plant plant_;
  FromWire wire_;
  Shuffle any_;
  std::vector<std::unique_ptr<Command>> done_;
  uint64_t turns_ = 0;
};

// The turns of one round: per phase the median, the duration that one of 10 000 turns exceeds, and the
// longest.
struct Phase {
  const char* what;
  std::vector<double> median{}, most{}, longest{};
  double turns = 0;

  void add(std::vector<double> ns) {
    std::ranges::sort(ns);
    median.push_back(ns[ns.size() / 2]);
    most.push_back(ns[ns.size() - 1 - ns.size() / 10'000]);
    longest.push_back(ns.back());
    turns += static_cast<double>(ns.size());
  }
};

void measure(uint32_t flows) {
  Turns turns(flows);
  Phase alone{"packets alone"}, installs{"installs of 1000"}, offers{"offers of 1000"}, rotation{"rotation"},
      removals{"removals of 1000"};
  const uint32_t commands = std::max(1u, flows / kAtOnce / 10);
  for (int round = 0; round < kRounds; ++round) {
    alone.add(turns.alone(20'000));
    installs.add(turns.with(turns.installs(commands)));
    // The SPIs that packets use belong to slot 0 and stay; those of slot 1 end with the next round's
    // rotation.
    rotation.add(turns.rotation(1));
    offers.add(turns.with(turns.offers(kOtherSlot)));
    removals.add(turns.with(turns.removals(commands / 4 + 1)));
    turns.mend();
  }
  for (const Phase* phase : {&alone, &installs, &offers, &rotation, &removals}) {
    Line("turns")
        .text("what", phase->what)
        .number("flows", flows)
        .number("turns", phase->turns)
        .numbers("medianNs", phase->median)
        .numbers("mostNs", phase->most)
        .numbers("longestNs", phase->longest);
  }
}

}  // namespace
}  // namespace psp

int main(int count, char** words) {
  using namespace psp;
  enter_eal(kTestEal);
  measure(static_cast<uint32_t>(count > 1 ? std::atol(words[1]) : 1'000'000));
}
