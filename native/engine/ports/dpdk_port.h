// SPDX-License-Identifier: Apache-2.0
// A port driven by DPDK's ethdev, given as a DPDK device string or a PCI address. The device distributes
// packets to several queues by a hash of addresses and ports where it has RSS.
#pragma once

#include <rte_ethdev.h>

#include <memory>
#include <string>

#include "engine/ports/pool.h"
#include "engine/ports/port.h"

namespace psp {

// The kind of device that a configured name refers to.
enum class DeviceKind : uint8_t { kInterface, kPci, kVirtual };
DeviceKind device_kind(const std::string& device);
// Whether the device reads and writes packets by itself, by DMA or as virtio does, so that it must have
// access to their memory.
bool reaches_packets(const std::string& device);

class DpdkPort : public Port {
 public:
  // Opens and starts it, with EAL initialized, with so many queues each way, of which this is the first. Its
  // MTU is raised to the wanted one, or as far as the device supports; info() has the result. Throws
  // EngineError with INTERFACE_MISSING, PORT_TAKEN, DRIVER_MISSING, RIGHTS_MISSING, PORT_FAILED, or
  // LCORES_TOO_MANY where the device has fewer queues.
  explicit DpdkPort(const std::string& device, uint16_t queues = 1, uint16_t wanted_mtu = 0);
  ~DpdkPort() override;
  // Another of its queues; the port outlives it.
  std::unique_ptr<Port> queue(uint16_t index) const;

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
  uint64_t missed_ = 0;  // reported so far
  std::unique_ptr<Pool> pool_;
};

}  // namespace psp
