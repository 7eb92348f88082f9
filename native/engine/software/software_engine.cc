// SPDX-License-Identifier: Apache-2.0
// The thread of the main lcore opens everything, runs, and closes everything; the control side reaches it by
// the rings alone. A command is taken only while there is space for its completion, and is completed once the
// worker lcores, each a thread that the main one starts and joins, took over what it changed. Another thread
// pre-faults the memory of the tables and key caches of all lcores.
#include "engine/software/software_engine.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <future>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>

#include "engine/ip/oversize.h"
#include "engine/memory/wakeup.h"
#include "engine/ports/dpdk_port.h"
#include "engine/ports/eal.h"
#include "engine/ports/kernel_port.h"
#include "engine/software/commands.h"
#include "engine/software/keyring.h"
#include "engine/software/turn.h"
#include "engine/start_thread.h"
#include "psp/secret.h"
#include "psp/tunnel.h"

namespace psp {

namespace {

constexpr uint32_t kFlowsAtMost = 1 << 24;
constexpr size_t kCommands = 1024, kEvents = 8192, kSamples = 8192;
// Empty turns before sleeping. Asking a kernel port costs a system call, and who spins on
// a machine whose cores are all in use keeps the hosts from running; what only looks at memory is asked more
// often.
constexpr uint32_t kEmptyTurnsAtKernel = 2, kEmptyTurns = 256;
constexpr uint64_t kLookNs = 100'000'000;  // between looks whether the interfaces are there and up
constexpr auto kUndescribedSleep = std::chrono::microseconds(500);
constexpr auto kGrowEvery = std::chrono::milliseconds(50);  // between looks whether memory is wanted

// What EAL is given, in MiB: tables of prefixes reserve 64 each, the rest is pools, with room for jumbo
// frames. Only what is used is ever touched: a gateway with MTU 1500 touches about a fifth.
constexpr uint32_t kTablesMb = 160, kPoolsMb = 256, kPoolsOfALcoreMb = 64, kHeldPerMb = 50;

uint64_t monotonic_ns() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

// This thread's name while it polls, and so asks for no memory: for whoever looks at the process's threads,
// and test/native/no_allocation. Threads that EAL started before have names of their own.
struct PollingThread {
  PollingThread() { pthread_setname_np(pthread_self(), "psp polling"); }
  ~PollingThread() { pthread_setname_np(pthread_self(), "psp ending"); }
};

uint64_t random_seed() {
  uint64_t seed;
  random_octets({reinterpret_cast<uint8_t*>(&seed), sizeof seed});
  return seed;
}

EalOptions eal_options(const EngineConfig& config) {
  EalOptions options;
  options.memory_mb = kTablesMb + kPoolsMb + (config.lcores - 1) * kPoolsOfALcoreMb;
  options.memory_mb += config.held_total / kHeldPerMb;
  for (const PortConfig* port : {&config.unsecured, &config.secured}) {
    if (device_kind(port->device) == DeviceKind::kPci) options.pci_devices.push_back(port->device);
    options.packets_in_eal_memory |= reaches_packets(port->device);
  }
  return options;
}

// A packet as large as a host may send should fit the wire once sealed: a device that we alone own is asked
// for that. Elsewhere hosts learn by ICMP what fits.
uint16_t wanted_mtu(const EngineConfig& config, const Port& unsecured) {
  const bool ipv6 = !is_ipv4(config.secured_address.address);
  const size_t wanted = unsecured.info().mtu + tunnel_overhead(ipv6, true);
  return static_cast<uint16_t>(std::min<size_t>(wanted, UINT16_MAX));
}

// What the outer family needs must be there.
void check_mtu(const EngineConfig& config, const Port& secured) {
  const uint16_t mtu = secured.info().mtu, need = least_mtu(!is_ipv4(config.secured_address.address));
  if (mtu >= need) return;
  throw EngineError{"MTU_TOO_SMALL", config.secured.device,
                    "mtu=" + std::to_string(mtu) + " need=" + std::to_string(need)};
}

void check_cores(const EngineConfig& config) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  sched_getaffinity(0, sizeof cpus, &cpus);
  const int count = CPU_COUNT(&cpus);
  if (config.lcores <= static_cast<uint32_t>(count)) return;
  throw EngineError{"LCORES_TOO_MANY", "this machine", "cores: " + std::to_string(count)};
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

// A worker lcore with its thread.
struct WorkerThread {
  explicit WorkerThread(uint16_t snap_bytes) : samples(kSamples, snap_bytes) {}
  Counters counters;
  SampleRing samples;
  Wakeup wakeup;
  std::unique_ptr<Port> unsecured, secured;
  std::unique_ptr<WorkerLcore> lcore;
  std::thread thread;
};

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
    std::promise<EngineInfo> started;
    auto info = started.get_future();
    stopping_ = false;
    config_ = config;
    aead_ = make_aead(config.crypto);
    keyring_.emplace(master_keys_, spis_per_key_);
    samples_ = std::make_unique<SampleRing>(kSamples, config.sampling.snap_bytes);
    workers_.clear();
    for (uint32_t i = 1; i < config.lcores; ++i) {
      workers_.push_back(std::make_unique<WorkerThread>(config.sampling.snap_bytes));
    }
    thread_ = start_thread([this, promise = std::move(started)]() mutable { live(promise); });
    try {
      return info.get();
    } catch (...) {
      thread_.join();
      throw;
    }
  }

  void stop() override {
    if (!thread_.joinable()) return;
    stopping_ = true;
    down_.force();
    thread_.join();
  }

  bool submit(std::unique_ptr<Command>& command) override {
    // Only this thread fills the ring, so what is prepared here finds its place.
    if (commands_.full()) {
      counters_[Value::kCommandsRefused].add();
      return false;
    }
    if (auto* const offer = std::get_if<OfferCommand>(&command->body)) pick_spis(*offer);
    if (std::holds_alternative<RotateCommand>(command->body)) keyring_->prepare();
    commands_.push(command);
    down_.wake();
    return true;
  }

  std::unique_ptr<Command> completed() override {
    std::unique_ptr<Command> command;
    if (!completions_.pop(&command)) return nullptr;
    // Room for completions may be what a command below waits for.
    if (!commands_.empty()) down_.wake();
    if (auto* const rotate = std::get_if<RotateCommand>(&command->body)) {
      keyring_->activate();
      rotate->generation = keyring_->generation();
    }
    return command;
  }

  bool next_event(Event* event) override { return events_.pop(event); }

  bool next_sample(Sample* sample) override {
    if (samples_->pop(sample)) return true;
    return std::ranges::any_of(workers_, [&](const auto& lcore) { return lcore->samples.pop(sample); });
  }

  bool samples_due() const override { return due_in_ns(monotonic_ns()) == 0; }

  // Whoever takes samples waits for this to return before, so that nobody pops meanwhile.
  void wait() override {
    up_.about_to_sleep();
    const uint64_t due_ns = due_in_ns(monotonic_ns());
    pollfd waiting{up_.descriptor(), POLLIN, 0};
    if (completions_.empty() && events_.empty() && due_ns != 0) {
      poll(&waiting, 1, due_ns == UINT64_MAX ? -1 : static_cast<int>(due_ns / 1'000'000 + 1));
    }
    up_.awake(waiting.revents != 0);
  }

  void interrupt() override { up_.force(); }

  EngineCounts counts() const override {
    EngineCounts counts = counters_.read();
    for (const auto& lcore : workers_) counts.add(lcore->counters.read());
    // No lcore counts it: it is a number of the whole process.
    counts.values[static_cast<size_t>(Value::kUnlockedBytes)].value = unlocked_bytes();
    return counts;
  }

 private:
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
  }

  // The polling thread's whole life.
  void live(std::promise<EngineInfo>& started) {
    std::unique_ptr<Port> unsecured, secured;
    std::unique_ptr<MainLcore> main;
    std::jthread memory;
    std::exception_ptr failure;
    ended_ = false;
    try {
      check_cores(config_);
      enter_eal(eal_options(config_));
      unsecured = open_port(config_.unsecured.device, false, 0);
      const uint16_t wanted = wanted_mtu(config_, *unsecured);
      secured = open_port(config_.secured.device, true, wanted);
      check_mtu(config_, *secured);
      for (uint16_t i = 0; i < workers_.size(); ++i) {
        workers_[i]->unsecured = open_queue(*unsecured, i + 1, workers_[i]->counters);
        workers_[i]->secured = open_queue(*secured, i + 1, workers_[i]->counters);
      }
      main = std::make_unique<MainLcore>(config_, *aead_, *unsecured, *secured, master_keys_, counters_,
                                         events_, *samples_, random_seed());
      for (uint32_t i = 0; i < workers_.size(); ++i) {
        WorkerThread& worker = *workers_[i];
        worker.lcore = std::make_unique<WorkerLcore>(*main, i, *worker.unsecured, *worker.secured,
                                                     worker.counters, worker.samples, random_seed());
      }
      unreported_ = {};
      // Before other threads look at them.
      main->follow_link(false, unsecured->link());
      main->follow_link(true, secured->link());
      for (const auto& worker : workers_) worker->thread = start_thread([&] { run_worker(*worker); });
      memory = start_thread<std::jthread>([&](const std::stop_token& stop) { grow_memory(*main, stop); });
      started.set_value({aead_->name(), unsecured->info(), secured->info(), wanted});
    } catch (...) {
      failure = std::current_exception();
    }
    // Nothing that can fail is left to start.
    if (!failure) run(*main, *unsecured, *secured);
    memory = {};
    ended_ = true;
    for (const auto& worker : workers_) {
      if (!worker->thread.joinable()) continue;
      worker->wakeup.force();
      worker->thread.join();
    }
    command_.reset();
    unsettled_.reset();
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

  // Another thread's whole life: pre-faults memory that the polling threads will use soon.
  void grow_memory(MainLcore& main, const std::stop_token& stop) {
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

  std::unique_ptr<Port> open_port(const std::string& device, bool sealed, uint16_t wanted_mtu) {
    if (device_kind(device) == DeviceKind::kInterface) {
      return std::make_unique<KernelPort>(device, sealed, counters_);
    }
    return std::make_unique<DpdkPort>(device, static_cast<uint16_t>(config_.lcores), wanted_mtu);
  }
  static std::unique_ptr<Port> open_queue(Port& port, uint16_t index, Counters& counters) {
    if (const auto* dpdk = dynamic_cast<DpdkPort*>(&port)) return dpdk->queue(index);
    return std::make_unique<KernelPort>(dynamic_cast<KernelPort&>(port), counters);
  }

  // The polling of the main lcore.
  void run(MainLcore& main, Port& unsecured, Port& secured) {
    uint32_t empty = 0;
    uint64_t look_ns = 0;
    const uint32_t empty_turns = empty_turns_of(unsecured, secured);
    const PollingThread name;
    while (!stopping_.load(std::memory_order_relaxed)) {
      const uint64_t now_ns = monotonic_ns();
      if (now_ns >= look_ns) {
        look_ns = now_ns + kLookNs;
        if (!look_at_links(main)) return;
        counters_[Value::kFramesMissed].add(unsecured.missed() + secured.missed());
      }
      bool moved = run_once(main, now_ns);
      moved |= carry_out_commands(main);
      if (!events_.empty() || !completions_.empty() || samples_->due_in_ns(main.now_ns) == 0) up_.wake();
      empty = moved ? 0 : empty + 1;
      if (config_.busy_polling || empty < empty_turns) continue;
      const auto idle = [&] {
        return commands_.empty() && !stopping_ && std::ranges::all_of(workers_, [](const auto& worker) {
                 return worker->lcore->handoff.empty();
               });
      };
      const uint32_t timeout_ms = main.settled() ? main.idle_timeout_ms() : 1;
      const std::array link_descriptors = {unsecured.link_descriptor(), secured.link_descriptor()};
      if (sleep(main, timeout_ms, down_, *samples_, link_descriptors, idle)) look_ns = 0;
      // One turn after waking, then sleep again unless it brought something.
      empty = empty_turns - 1;
    }
  }

  // The whole life of a worker lcore's thread.
  void run_worker(WorkerThread& worker) {
    enter_eal({});
    WorkerLcore& lcore = *worker.lcore;
    const uint32_t empty_turns = empty_turns_of(*worker.unsecured, *worker.secured);
    const PollingThread name;
    uint64_t look_ns = 0;
    for (uint32_t empty = 0; !ended_.load(std::memory_order_relaxed);) {
      const uint64_t now_ns = monotonic_ns();
      if (now_ns >= look_ns) {
        look_ns = now_ns + kLookNs;
        worker.counters[Value::kFramesMissed].add(worker.unsecured->missed() + worker.secured->missed());
      }
      const bool moved = run_once(lcore, now_ns);
      if (!lcore.handoff.empty()) down_.wake();
      if (worker.samples.due_in_ns(lcore.now_ns) == 0) up_.wake();
      empty = moved ? 0 : empty + 1;
      if (config_.busy_polling || empty < empty_turns) continue;
      sleep(lcore, lcore.idle_timeout_ms(), worker.wakeup, worker.samples, kNoLinks,
            [&] { return !lcore.is_changed() && !ended_; });
      empty = empty_turns - 1;
    }
    leave_eal();
  }

  static uint32_t empty_turns_of(const Port& unsecured, const Port& secured) {
    const bool kernel = unsecured.descriptor() >= 0 && secured.descriptor() >= 0;
    return kernel ? kEmptyTurnsAtKernel : kEmptyTurns;
  }

  uint64_t due_in_ns(uint64_t now_ns) const {
    uint64_t due_ns = samples_->due_in_ns(now_ns);
    for (const auto& lcore : workers_) due_ns = std::min(due_ns, lcore->samples.due_in_ns(now_ns));
    return due_ns;
  }

  // Carries out commands, as far as the turn's budget allows. True when there were any.
  bool carry_out_commands(MainLcore& main) {
    if (!main.settled()) return false;
    if (unsettled_) completions_.push(unsettled_);
    bool any = false;
    // A command that was begun has its space among the completions.
    while (command_ || (!completions_.full() && commands_.pop(&command_))) {
      any = true;
      if (!carry_out(main, *command_, main.budget)) break;
      if (!main.settled()) {
        unsettled_ = std::move(command_);
        for (const auto& worker : workers_) worker->wakeup.force();
        break;
      }
      completions_.push(command_);
    }
    return any;
  }

  using LinkDescriptors = std::array<int, 2>;
  static constexpr LinkDescriptors kNoLinks = {-1, -1};

  // Sleeps until a packet arrives, a link changes, the thread is woken, or the timeout expires; not at all
  // unless `idle` still holds. True: a link changed.
  template <typename Idle>
  bool sleep(Lcore& lcore, uint32_t timeout_ms, Wakeup& wakeup, SampleRing& samples,
             const LinkDescriptors& links, Idle&& idle) {
    const Port &unsecured = lcore.unsecured.port, &secured = lcore.secured.port;
    pollfd waiting[5] = {{wakeup.descriptor(), POLLIN, 0},
                         {unsecured.descriptor(), POLLIN, 0},
                         {secured.descriptor(), POLLIN, 0},
                         {links[0], POLLIN, 0},
                         {links[1], POLLIN, 0}};
    auto timeout = std::chrono::nanoseconds(std::chrono::milliseconds(timeout_ms));
    if (unsecured.descriptor() < 0 || secured.descriptor() < 0) {
      timeout = std::min<std::chrono::nanoseconds>(timeout, kUndescribedSleep);
    }
    // The control side may sleep without knowing of samples that came since.
    const uint64_t due_ns = samples.due_in_ns(lcore.now_ns);
    if (due_ns != 0 && due_ns != UINT64_MAX) {
      timeout = std::min(timeout, std::chrono::nanoseconds(due_ns));
    }
    const timespec limit{static_cast<time_t>(timeout.count() / 1'000'000'000),
                         static_cast<long>(timeout.count() % 1'000'000'000)};
    wakeup.about_to_sleep();
    int ready = 0;
    if (idle()) ready = ppoll(waiting, std::size(waiting), &limit, nullptr);
    wakeup.awake(waiting[0].revents != 0);
    lcore.counters[Value::kSleeps].add();
    if (ready <= 0) return false;
    // An interface that goes down reports an error until it is read.
    for (const pollfd& port : {waiting[1], waiting[2]}) {
      int error = 0;
      socklen_t length = sizeof error;
      if (port.revents & POLLERR) getsockopt(port.fd, SOL_SOCKET, SO_ERROR, &error, &length);
    }
    return waiting[3].revents != 0 || waiting[4].revents != 0;
  }

  // Follows changes of the links between two commands, each once all lcores took over the one before. False:
  // an interface is gone.
  bool look_at_links(MainLcore& main) {
    for (const bool secured : {false, true}) {
      Port& port = (secured ? main.secured : main.unsecured).port;
      while (!command_ && main.settled() && port.link_changed()) {
        if (!follow(main, secured, port.link())) return false;
      }
      // The ring of events was full.
      if (unreported_[secured]) report_link(main, secured, port.link());
    }
    return true;
  }

  bool follow(MainLcore& main, bool secured, const LinkState& link) {
    if (link.present) {
      main.follow_link(secured, link);
      for (const auto& worker : workers_) worker->wakeup.force();
      report_link(main, secured, link);
      return true;
    }
    // The reader makes space; nothing else is left to do.
    Event event = LinkEvent{secured, link, 0};
    while (!events_.push(event) && !stopping_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    up_.force();
    return false;
  }

  void report_link(const MainLcore& main, bool secured, const LinkState& link) {
    const uint16_t used = (secured ? main.secured : main.unsecured).info.mtu;
    Event event = LinkEvent{secured, link, used};
    unreported_[secured] = !events_.push(event);
  }

  const uint32_t spis_per_key_;
  EngineConfig config_;
  std::unique_ptr<Aead> aead_;
  MasterKeys master_keys_;
  std::optional<Keyring> keyring_;  // the control thread's
  Counters counters_;
  SpscRing<std::unique_ptr<Command>> commands_{kCommands};
  SpscRing<std::unique_ptr<Command>> completions_{kCommands};
  SpscRing<Event> events_{kEvents};
  std::unique_ptr<SampleRing> samples_;
  Wakeup down_, up_;
  std::vector<std::unique_ptr<WorkerThread>> workers_;
  std::unique_ptr<Command> command_;    // in progress
  std::unique_ptr<Command> unsettled_;  // carried out, and not yet taken over by all lcores
  std::array<bool, 2> unreported_{};    // changes of links, by whether it is the secured port's
  std::atomic<bool> stopping_{false};
  std::atomic<bool> ended_{false};  // the main lcore has
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Engine> make_software_engine(uint32_t spis_per_key) {
  return std::make_unique<SoftwareEngine>(spis_per_key);
}

}  // namespace psp
