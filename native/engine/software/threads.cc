// SPDX-License-Identifier: Apache-2.0
// All that can fail happens before the control side is answered; after that only polling is left.
#include "engine/software/threads.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <utility>

#include "engine/software/main_thread.h"
#include "engine/software/open_ports.h"
#include "engine/start_thread.h"
#include "psp/secret.h"

namespace psp {
namespace {

// Between looks whether memory is wanted.
constexpr auto kGrowEvery = std::chrono::milliseconds(50);

uint64_t random_seed() {
  uint64_t seed;
  random_octets({reinterpret_cast<uint8_t*>(&seed), sizeof seed});
  return seed;
}

std::unique_ptr<Aead> make_aead(CryptoChoice choice) {
  std::unique_ptr<Aead> aead;
  if (choice != CryptoChoice::kLibcrypto) aead = make_aead_ipsec_mb();
  if (aead) return aead;
  if (choice == CryptoChoice::kIpsecMb) {
    throw EngineError{"ENGINE_FAILED", "",
                      "libipsec-mb does not run on this processor or was not there at build time; install "
                      "libipsec-mb-dev and build again, or set engine.crypto to auto"};
  }
  return make_aead_libcrypto();
}

}  // namespace

Threads::Threads(EngineConfig config, MasterKeys& master_keys, ControlRings& rings, Counters& counters)
    : config_(std::move(config)),
      master_keys_(master_keys),
      rings_(rings),
      counters_(counters),
      aead_(make_aead(config_.crypto)),
      samples_(kSamples, config_.sampling.snap_bytes) {
  for (uint32_t i = 1; i < config_.lcores; ++i) {
    workers_.push_back(std::make_unique<WorkerThread>(config_.sampling.snap_bytes));
  }
}

EngineInfo Threads::start() {
  std::promise<EngineInfo> started;
  auto info = started.get_future();
  thread_ = start_thread([this, promise = std::move(started)]() mutable { run(promise); });
  try {
    return info.get();
  } catch (...) {
    thread_.join();
    throw;
  }
}

void Threads::stop() {
  if (!thread_.joinable()) return;
  stopping_ = true;
  rings_.main.force();
  thread_.join();
}

bool Threads::next_sample(Sample* sample) {
  if (samples_.pop(sample)) return true;
  return std::ranges::any_of(workers_, [&](const auto& worker) { return worker->samples.pop(sample); });
}

uint64_t Threads::samples_due_in_ns(uint64_t now_ns) const {
  uint64_t due_ns = samples_.due_in_ns(now_ns);
  for (const auto& worker : workers_) due_ns = std::min(due_ns, worker->samples.due_in_ns(now_ns));
  return due_ns;
}

EngineCounts Threads::counts() const {
  EngineCounts counts = counters_.read();
  for (const auto& worker : workers_) counts.add(worker->counters.read());
  return counts;
}

// The thread of the main lcore.
void Threads::run(std::promise<EngineInfo>& started) {
  std::unique_ptr<Port> unsecured, secured;
  std::unique_ptr<MainLcore> main;
  std::jthread memory;
  std::exception_ptr failure;
  try {
    check_cores(config_);
    enter_eal(eal_options(config_));
    unsecured = open_port(config_, config_.unsecured.device, false, 0, counters_);
    const uint16_t wanted = wanted_mtu(config_, *unsecured);
    secured = open_port(config_, config_.secured.device, true, wanted, counters_);
    check_mtu(config_, *secured);
    for (uint16_t i = 0; i < workers_.size(); ++i) {
      workers_[i]->unsecured = open_queue(*unsecured, i + 1, workers_[i]->counters);
      workers_[i]->secured = open_queue(*secured, i + 1, workers_[i]->counters);
    }
    main = std::make_unique<MainLcore>(config_, *aead_, *unsecured, *secured, master_keys_, counters_,
                                       rings_.events, samples_, random_seed());
    for (uint32_t i = 0; i < workers_.size(); ++i) {
      WorkerThread& worker = *workers_[i];
      worker.lcore = std::make_unique<WorkerLcore>(*main, i, *worker.unsecured, *worker.secured,
                                                   worker.counters, worker.samples, random_seed());
    }
    // Before other threads look at them.
    main->follow_link(false, unsecured->link());
    main->follow_link(true, secured->link());
    for (const auto& worker : workers_) worker->start(rings_, config_.busy_polling);
    memory = start_thread<std::jthread>([&](const std::stop_token& stop) { grow_memory(*main, stop); });
    started.set_value({aead_->name(), unsecured->info(), secured->info(), wanted});
  } catch (...) {
    failure = std::current_exception();
  }
  if (!failure) MainThread(*main, rings_, samples_, workers_, stopping_).run(config_.busy_polling);
  memory = {};
  for (const auto& worker : workers_) worker->end();
  // Both ports have packets of every pool, those of the lcores and each other's.
  if (secured) secured->stop();
  if (unsecured) unsecured->stop();
  for (const auto& worker : workers_) worker->lcore.reset();
  main.reset();
  for (const auto& worker : workers_) worker->unsecured.reset(), worker->secured.reset();
  secured.reset();
  unsecured.reset();
  remove_eal_files();
  if (failure) started.set_exception(failure);
}

// The thread that pre-faults memory that polling threads will use soon.
void Threads::grow_memory(MainLcore& main, const std::stop_token& stop) {
  pthread_setname_np(pthread_self(), "psp memory");
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any sooner;
  while (!stop.stop_requested()) {
    bool grew = main.grow_memory();
    for (const auto& worker : workers_) grew |= worker->lcore->grow_memory();
    if (grew) continue;
    sooner.wait_for(lock, stop, kGrowEvery, [] { return false; });
  }
}

}  // namespace psp
