// SPDX-License-Identifier: Apache-2.0
// A port that DPDK's ethdev drives, by a DPDK device string or a PCI address. Several queues are filled by
// the device: by a hash of addresses and ports where it has one (RSS).
#pragma once

#include <rte_ethdev.h>

#include <memory>
#include <string>

#include "engine/ports/pool.h"
#include "engine/ports/port.h"

namespace psp {

// What `device` names.
enum class DeviceKind : uint8_t { kInterface, kPci, kVirtual };
DeviceKind device_kind(const std::string& device);
// Whether it reads and writes packets by itself, by DMA or as virtio does, and so must know their memory.
bool reaches_packets(const std::string& device);

class DpdkPort : public Port {
 public:
  // Opens and starts it. EAL is up. Throws EngineError with INTERFACE_MISSING, PORT_TAKEN, DRIVER_MISSING,
  // RIGHTS_MISSING or PORT_FAILED.
  // With so many queues each way, of which this is the first: LCORES_TOO_MANY where it has fewer. Its MTU is
  // raised to the wanted one, or as far as the device goes; info() has what the device took.
  explicit DpdkPort(const std::string& device, uint16_t queues = 1, uint16_t wanted_mtu = 0);
  ~DpdkPort() override;
  // Another of its queues; the port outlives it.
  std::unique_ptr<Port> queue(uint16_t number) const;

  PortInfo info() const override { return info_; }
  uint16_t rx_burst(rte_mbuf** packets, uint16_t count) override;
  uint16_t tx_burst(rte_mbuf** packets, uint16_t count) override;
  int descriptor() const override { return -1; }
  uint64_t missed() override;
  void stop() override;

 private:
  void probe(const std::string& arguments);
  void configure(uint16_t queues, uint16_t wanted_mtu);
  int set_up(rte_eth_conf& conf, uint16_t queues, uint16_t mtu);

  const std::string device_;
  const DeviceKind kind_;
  std::string name_;  // DPDK's
  uint16_t id_;
  PortInfo info_;
  uint64_t missed_ = 0;  // told so far
  std::unique_ptr<Pool> pool_;
};

}  // namespace psp
