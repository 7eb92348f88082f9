// SPDX-License-Identifier: Apache-2.0
// The least that an engine is. Commands are carried out at once, on the control thread. It includes nothing
// of the project but the engine interface.
#include "null_engine.h"

#include <algorithm>
#include <deque>
#include <semaphore>

namespace psp {
namespace {

using State = FlowRow::State;

class NullEngine : public Engine {
 public:
  Capabilities capabilities(const EngineConfig&) const override {
    Capabilities can;
    can.versions = {0, 1}, can.modes = {Mode::kTunnel};
    can.inner.ipv4 = can.outer.ipv4 = true;
    can.lcores = 1, can.max_flows = 4096, can.spis_per_flow = 8;
    return can;
  }
  EngineInfo start(const EngineConfig& config) override {
    counts_.peers.resize(config.peers.size());
    return {"none", {{2, 0, 0, 0, 0, 1}, 1500}, {{2, 0, 0, 0, 0, 2}, 1600}, 1568};
  }
  void stop() override {}
  bool submit(std::unique_ptr<Command>& command) override {
    std::visit([this](auto& body) { carry_out(body); }, command->body);
    done_.push_back(std::move(command));
    wake_.release();
    return true;
  }
  std::unique_ptr<Command> completed() override {
    if (done_.empty()) return nullptr;
    std::unique_ptr<Command> command = std::move(done_.front());
    done_.pop_front();
    return command;
  }
  bool next_event(Event*) override { return false; }
  bool next_sample(Sample*) override { return false; }
  bool samples_due() const override { return false; }
  void wait() override { wake_.acquire(); }
  void interrupt() override { wake_.release(); }
  EngineCounts counts() const override { return counts_; }

 private:
  void set(State state, const FlowKey& flow, uint16_t peer, uint32_t spi, uint8_t version) {
    FlowRow row{};
    row.flow = flow, row.state = state, row.peer = peer, row.spi = spi, row.version = version;
    row.mode = Mode::kTunnel, row.live_spis = state == State::kOffered;
    remove(state, flow);
    rows_.push_back(row);
  }
  void remove(State state, const FlowKey& flow) {
    std::erase_if(rows_, [&](const FlowRow& row) { return row.state == state && row.flow == flow; });
  }
  void carry_out(InstallCommand& command) {
    for (size_t i = 0; i < command.flows.size(); ++i) {
      set(State::kKeyed, command.flows[i], command.peer, command.keys[i].spi, command.keys[i].version);
      command.results[i] = InstallResult::kInstalled;
    }
  }
  void carry_out(OfferCommand& command) {
    command.generation = generation_, command.spis_left = UINT32_MAX - last_spi_;
    random_octets(command.keys);
    for (size_t i = 0; i < command.inbound.size(); ++i) {
      command.spis[i] = ++last_spi_;
      set(State::kOffered, command.inbound[i], command.peer, last_spi_, command.version);
    }
  }
  void carry_out(WithdrawCommand& command) {
    std::erase_if(rows_, [&](const FlowRow& row) {
      return std::ranges::any_of(
          command.entries, [&](const auto& one) { return one.spi == row.spi && one.inbound == row.flow; });
    });
  }
  void carry_out(RemoveCommand& command) {
    for (const FlowKey& flow : command.flows)
      remove(State::kKeyed, flow), remove(State::kOffered, flow.reversed());
  }
  void carry_out(RefuseCommand&) {}    // nothing is held
  void carry_out(SamplingCommand&) {}  // nothing leaves
  void carry_out(ReconfigureCommand& command) { counts_.peers.resize(command.peers.size()); }
  void carry_out(RotateCommand& command) { command.generation = ++generation_; }
  void carry_out(FlowsCommand& command) {
    const uint64_t end = std::min<uint64_t>(command.cursor + command.rows.size(), rows_.size());
    for (uint64_t i = command.cursor; i < end; ++i) command.rows[command.count++] = rows_[i];
    command.next_cursor = end < rows_.size() ? end : 0;
  }

  std::counting_semaphore<> wake_{0};
  std::deque<std::unique_ptr<Command>> done_;
  std::vector<FlowRow> rows_;
  uint32_t generation_ = 1, last_spi_ = 0;
  EngineCounts counts_;
};

}  // namespace

std::unique_ptr<Engine> make_null_engine() {
  return std::make_unique<NullEngine>();
}

}  // namespace psp
