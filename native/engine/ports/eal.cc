// SPDX-License-Identifier: Apache-2.0
// No hugepages, no shared configuration, no telemetry, one lcore whose CPUs are all of the process's.
#include "engine/ports/eal.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <mutex>

#include "engine/engine.h"

namespace psp {

namespace {

std::mutex once_mutex;
bool is_up = false;
std::atomic<bool> devices_reach_packets{false};

// "0@(0,1,2)": lcore 0 on every CPU that the process may use.
std::string lcore_on(const cpu_set_t& cpus) {
  std::string lcore = "0@(";
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &cpus)) continue;
    if (lcore.back() != '(') lcore.push_back(',');
    lcore.append(std::to_string(cpu));
  }
  lcore.push_back(')');
  return lcore;
}

void bring_up(const EalOptions& options) {
  cpu_set_t cpus;
  sched_getaffinity(0, sizeof cpus, &cpus);
  std::vector<std::string> arguments = {"psp",
                                        "--no-huge",
                                        "--no-shconf",
                                        "--no-telemetry",
                                        "--iova-mode=va",
                                        "--file-prefix=psp-" + std::to_string(getpid()),
                                        "--lcores=" + lcore_on(cpus),
                                        "--log-level=critical",
                                        "-m",
                                        std::to_string(options.memory_mb)};
  if (options.pci_devices.empty()) arguments.push_back("--no-pci");
  for (const std::string& device : options.pci_devices) {
    arguments.push_back("-a");
    arguments.push_back(device);
  }
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);

  rte_openlog_stream(stderr);
  const int done = rte_eal_init(static_cast<int>(arguments.size()), argv.data());
  sched_setaffinity(0, sizeof cpus, &cpus);
  // Its runtime folder stays empty, and once the process has given up root nobody could remove it.
  std::error_code ignored;
  std::filesystem::remove(rte_eal_get_runtime_dir(), ignored);
  if (done < 0) throw EngineError{"ENGINE_FAILED", "dpdk", std::string("EAL: ") + rte_strerror(rte_errno)};
}

}  // namespace

void enter_eal(const EalOptions& options) {
  const std::lock_guard lock(once_mutex);
  if (options.packets_in_eal_memory) devices_reach_packets = true;
  if (!is_up) {
    bring_up(options);
    is_up = true;
    std::atexit(remove_eal_files);
  } else if (rte_lcore_id() == LCORE_ID_ANY) {
    // Without an lcore number pools have no cache for this thread: slower, not wrong.
    rte_thread_register();
  }
}

bool packets_in_eal_memory() {
  return devices_reach_packets;
}

void leave_eal() {
  rte_thread_unregister();
}

void remove_eal_files() {
  const std::lock_guard lock(once_mutex);
  if (!is_up) return;
  std::error_code ignored;
  std::filesystem::remove_all(rte_eal_get_runtime_dir(), ignored);
}

}  // namespace psp
