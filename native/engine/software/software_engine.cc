// SPDX-License-Identifier: Apache-2.0
// The control side of the software engine: it prepares commands as far as they may allocate, and reaches the
// polling threads by the rings alone.
#include "engine/software/software_engine.h"

#include <poll.h>

#include <memory>
#include <new>
#include <optional>
#include <vector>

#include "engine/ip/topology.h"
#include "engine/software/control_rings.h"
#include "engine/software/keyring.h"
#include "engine/software/polling_thread.h"
#include "engine/software/threads.h"
#include "psp/secret.h"

namespace psp {

namespace {

constexpr uint32_t kFlowsAtMost = 1 << 24;

class SoftwareEngine : public Engine {
 public:
  explicit SoftwareEngine(uint32_t spis_per_key) : spis_per_key_(spis_per_key) {}
  ~SoftwareEngine() override { stop(); }

  Capabilities capabilities(const EngineConfig&) const override {
    return {
        .versions = {0, 1, 2, 3},
        .modes = {Mode::kTunnel, Mode::kTransport},
        .inner = {true, true},
        .outer = {true, true},
        .sample_points = {SamplePoint::kEgressSealed, SamplePoint::kIngressOpened, SamplePoint::kEgressPlain,
                          SamplePoint::kIngressFailed, SamplePoint::kEgressFailed},
        .crypt_offset = kMaxCryptOffset,
        .lcores = kLcoresAtMost,
        .max_flows = kFlowsAtMost,
        .spis_per_flow = UINT8_MAX};
  }

  EngineInfo start(const EngineConfig& config) override {
    gateways_ = config.gateways;
    threads_.emplace(config, master_keys_, rings_, counters_);
    keyring_.emplace(master_keys_, spis_per_key_);
    return threads_->start();
  }

  void stop() override {
    if (threads_) threads_->stop();
  }

  bool submit(std::unique_ptr<Command>& command) override {
    // Only this thread fills the ring, so a command that is prepared here finds its place.
    if (rings_.commands.full()) {
      counters_[Value::kCommandsRefused].add();
      return false;
    }
    if (auto* const offer = std::get_if<OfferCommand>(&command->body)) pick_spis(*offer);
    if (std::holds_alternative<RotateCommand>(command->body)) keyring_->prepare();
    if (auto* const reconfigure = std::get_if<ReconfigureCommand>(&command->body)) prepare(*reconfigure);
    rings_.commands.push(command);
    rings_.main.wake();
    return true;
  }

  std::unique_ptr<Command> completed() override {
    std::unique_ptr<Command> command;
    if (!rings_.completions.pop(&command)) return nullptr;
    // A waiting command may need the space that this completion had.
    if (!rings_.commands.empty()) rings_.main.wake();
    // The topology that was replaced ends with its command.
    if (auto* const rotate = std::get_if<RotateCommand>(&command->body)) {
      keyring_->activate();
      rotate->generation = keyring_->generation();
    }
    return command;
  }

  bool next_event(Event* event) override { return rings_.events.pop(event); }
  bool next_sample(Sample* sample) override { return threads_->next_sample(sample); }
  bool samples_due() const override { return threads_->samples_due_in_ns(monotonic_ns()) == 0; }

  // Whoever takes samples waits for this to return before, so that nobody pops meanwhile.
  void wait() override {
    rings_.control.about_to_sleep();
    const uint64_t due_ns = threads_->samples_due_in_ns(monotonic_ns());
    pollfd waiting{rings_.control.descriptor(), POLLIN, 0};
    if (rings_.completions.empty() && rings_.events.empty() && due_ns != 0) {
      poll(&waiting, 1, due_ns == UINT64_MAX ? -1 : static_cast<int>(due_ns / 1'000'000 + 1));
    }
    rings_.control.awake(waiting.revents != 0);
  }

  void interrupt() override { rings_.control.force(); }

  EngineCounts counts() const override {
    EngineCounts counts = threads_ ? threads_->counts() : counters_.read();
    // No lcore counts it: it is a number of the whole process.
    counts.values[static_cast<size_t>(Value::kUnlockedBytes)].value = unlocked_bytes();
    return counts;
  }

 private:
  void prepare(ReconfigureCommand& command) {
    try {
      command.prepared = std::make_shared<Topology>(gateways_, command.vips, command.peers, command.bypass);
    } catch (const std::bad_alloc&) {
      command.failed = true;
    }
  }
  // Picks SPIs and derives their keys on the control thread, which may allocate; the main lcore then admits
  // them.
  void pick_spis(OfferCommand& offer) {
    offer.generation = keyring_->generation();
    uint8_t* key = offer.keys.data();
    for (uint32_t& spi : offer.spis) {
      const std::optional<uint32_t> next = keyring_->next_spi(offer.version, key);
      if (!next) {
        offer.failure = OfferFailure::kSpisExhausted;
        return;
      }
      spi = *next;
      key += key_length(offer.version);
    }
    offer.spis_left = keyring_->spis_left();
  }

  const uint32_t spis_per_key_;
  std::vector<Prefix> gateways_;
  MasterKeys master_keys_;
  std::optional<Keyring> keyring_;
  Counters counters_;  // of the main lcore, and of refused commands
  ControlRings rings_;
  std::optional<Threads> threads_;
};

}  // namespace

std::unique_ptr<Engine> make_software_engine(uint32_t spis_per_key) {
  return std::make_unique<SoftwareEngine>(spis_per_key);
}

}  // namespace psp
