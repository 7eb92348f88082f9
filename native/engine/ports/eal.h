// SPDX-License-Identifier: Apache-2.0
// DPDK's environment, once per process: it cannot be ended and begun again, so the first engine that starts
// brings it up and later ones join. Called on an engine's own thread, never on the caller's, because DPDK
// binds the thread that calls it; the binding is undone.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace psp {

struct EalOptions {
  uint32_t memory_mb = 256;              // for pools and tables; counts in the first call
  std::vector<std::string> pci_devices;  // counts in the first call; none: the PCI bus is not looked at
  bool packets_in_eal_memory = false;    // a device reads and writes packets by itself: it knows no other
};

// Brings the environment up, or joins this thread to it. Throws EngineError.
void enter_eal(const EalOptions& options);

// Whether pools must take their memory of the environment, because some engine of the process asked for it.
bool packets_in_eal_memory();

// Takes this thread's number back, which enter_eal gave it.
void leave_eal();

// Removes what the environment left in the file system (/var/run/dpdk/psp-<pid>). Done at exit too; after
// SIGKILL the empty folder stays.
void remove_eal_files();

}  // namespace psp
