// SPDX-License-Identifier: Apache-2.0
// The threads of an engine: their priority, and a system that refuses another one, because pthread_create of
// this program fails when it is told to.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "engine/software/software_engine.h"
#include "gateway.h"

namespace {

std::atomic<int> left{-1};  // threads that still start before one is refused; negative: none is refused

}  // namespace

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
                              void* argument) noexcept {
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto create = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
  if (left.load() >= 0 && left.fetch_sub(1) == 0) return EAGAIN;
  return create(thread, attributes, start, argument);
}

namespace psp {
namespace {

TEST(Threads, OneThatTheSystemRefusesFailsTheStartAndTheEngineStartsAgainAfterwards) {
  if (std::thread::hardware_concurrency() < 2) GTEST_SKIP() << "one core";
  const auto engine = make_software_engine();
  EngineConfig config = gateway_config();
  config.lcores = 2;
  const auto start = [&](int attempt) {
    config.unsecured.device = "net_ring_hosts_" + std::to_string(attempt);
    config.secured.device = "net_ring_wire_" + std::to_string(attempt);
    engine->start(config);
  };
  enter_eal(kTestEal);  // DPDK has threads of its own from now on
  int refused = 0;
  for (bool started = false; !started && refused < 10; ++refused) {
    left = refused;
    try {
      start(refused);
      started = true;
    } catch (const EngineError& error) {
      EXPECT_EQ(error.code, "ENGINE_FAILED") << error.name << " " << error.detail;
      EXPECT_NE(error.detail.find("refuses another thread"), std::string::npos) << error.detail;
    }
    left = -1;
  }
  engine->stop();
  // The threads of two lcores and that of the keys were refused, one after the other.
  EXPECT_EQ(refused, 4);
}

// The nice values of the polling threads of this process.
std::vector<int> nice_of_polling_threads() {
  std::vector<int> found;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    std::getline(std::ifstream(thread.path() / "comm"), name);
    const int id = std::stoi(thread.path().filename());
    if (name == "psp polling") found.push_back(getpriority(PRIO_PROCESS, static_cast<id_t>(id)));
  }
  return found;
}

TEST(Threads, PacketsDoNotWaitForTheControlSideUnlessTheThreadPollsBusily) {
  if (getuid() != 0) GTEST_SKIP() << "raising a priority needs root";
  enter_eal(kTestEal);
  for (const bool busy : {false, true}) {
    const auto engine = make_software_engine();
    EngineConfig config = gateway_config();
    config.busy_polling = busy;
    config.unsecured.device = "net_ring_host_n" + std::to_string(busy);
    config.secured.device = "net_ring_wire_n" + std::to_string(busy);
    engine->start(config);
    // The thread begins to poll a moment later.
    while (nice_of_polling_threads().empty()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(nice_of_polling_threads(), std::vector<int>{busy ? 0 : -10});
    engine->stop();
  }
}

}  // namespace
}  // namespace psp
