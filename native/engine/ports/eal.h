// SPDX-License-Identifier: Apache-2.0
// DPDK's environment abstraction layer (EAL), once per process: it cannot be cleaned up and initialized
// again, so the first engine that starts initializes it and later ones join. Called on an engine's own
// thread, never on the caller's, because DPDK binds the thread that calls it to a CPU; the binding is undone.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace psp {

struct EalOptions {
  uint32_t memory_mb = 256;              // for pools and tables; counts in the first call
  std::vector<std::string> pci_devices;  // counts in the first call; none: the PCI bus is not scanned
  bool packets_in_eal_memory =
      false;  // a device reads and writes packets by itself and has access to no other memory
};

// Initializes EAL, or registers this thread with it. Throws EngineError.
void enter_eal(const EalOptions& options);

// Whether pools must allocate their memory from EAL, because some engine of the process needs that.
bool packets_in_eal_memory();

// Unregisters this thread, which enter_eal registered.
void leave_eal();

// Removes the files of EAL (/var/run/dpdk/psp-<pid>). Done at exit too; after SIGKILL an empty folder stays.
void remove_eal_files();

}  // namespace psp
