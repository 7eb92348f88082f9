// SPDX-License-Identifier: Apache-2.0
// The device's name decides what kind of port it is. Memory of EAL is reserved, and touched only as it is
// used.
#include "engine/software/open_ports.h"

#include <sched.h>

#include <algorithm>

#include "engine/engine.h"
#include "engine/ip/oversize.h"
#include "engine/ports/dpdk_port.h"
#include "engine/ports/kernel_port.h"
#include "psp/tunnel.h"

namespace psp {
namespace {

// What EAL is given, in MiB: pools, with space for jumbo frames. A gateway with MTU 1500 touches about a
// fifth.
constexpr uint32_t kPoolsMb = 288, kPoolsOfALcoreMb = 64, kHeldPerMb = 50;

}  // namespace

void check_cores(const EngineConfig& config) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  sched_getaffinity(0, sizeof cpus, &cpus);
  const int count = CPU_COUNT(&cpus);
  if (config.lcores <= static_cast<uint32_t>(count)) return;
  throw EngineError{"LCORES_TOO_MANY", "this machine", "cores: " + std::to_string(count)};
}

EalOptions eal_options(const EngineConfig& config) {
  EalOptions options;
  options.memory_mb = kPoolsMb + (config.lcores - 1) * kPoolsOfALcoreMb;
  options.memory_mb += config.held_total / kHeldPerMb;
  for (const PortConfig* port : {&config.unsecured, &config.secured}) {
    if (device_kind(port->device) == DeviceKind::kPci) options.pci_devices.push_back(port->device);
    options.packets_in_eal_memory |= reaches_packets(port->device);
  }
  return options;
}

// The MTU of an interface is not changed; hosts receive ICMP errors with the MTU that fits.
uint16_t wanted_mtu(const EngineConfig& config, const Port& unsecured) {
  const bool ipv6 = !is_ipv4(config.secured_address.address);
  const size_t wanted = unsecured.info().mtu + tunnel_overhead(ipv6, true);
  return static_cast<uint16_t>(std::min<size_t>(wanted, UINT16_MAX));
}

std::unique_ptr<Port> open_port(const EngineConfig& config, const std::string& device, bool sealed,
                                uint16_t wanted_mtu, Counters& counters) {
  if (device_kind(device) == DeviceKind::kInterface) {
    return std::make_unique<KernelPort>(device, sealed, counters);
  }
  return std::make_unique<DpdkPort>(device, static_cast<uint16_t>(config.lcores), wanted_mtu);
}

std::unique_ptr<Port> open_queue(Port& port, uint16_t index, Counters& counters) {
  if (const auto* dpdk = dynamic_cast<DpdkPort*>(&port)) return dpdk->queue(index);
  return std::make_unique<KernelPort>(dynamic_cast<KernelPort&>(port), counters);
}

void check_mtu(const EngineConfig& config, const Port& secured) {
  const uint16_t mtu = secured.info().mtu, need = least_mtu(!is_ipv4(config.secured_address.address));
  if (mtu >= need) return;
  throw EngineError{"MTU_TOO_SMALL", config.secured.device,
                    "mtu=" + std::to_string(mtu) + " need=" + std::to_string(need)};
}

}  // namespace psp
