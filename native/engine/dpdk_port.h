// SPDX-License-Identifier: Apache-2.0
// A port that DPDK's ethdev drives, by a DPDK device string or a PCI address. Several queues are filled by
// the device: by a hash of addresses and ports where it has one (RSS).
#pragma once

#include <memory>
#include <string>

#include "engine/pool.h"
#include "engine/port.h"

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
  // With so many queues each way, of which this is the first: LCORES_TOO_MANY where it has fewer.
  explicit DpdkPort(const std::string& device, uint16_t queues = 1);
  ~DpdkPort() override;
  // Another of its queues; the port outlives it.
  std::unique_ptr<Port> queue(uint16_t number) const;

  PortInfo info() const override { return info_; }
  uint16_t rx_burst(rte_mbuf** packets, uint16_t count) override;
  uint16_t tx_burst(rte_mbuf** packets, uint16_t count) override;
  int descriptor() const override { return -1; }
  uint64_t missed() override;
  void stop() override;
  bool raise_mtu(uint16_t mtu) override;

 private:
  void probe(const std::string& arguments);
  void configure(uint16_t queues);

  const std::string device_;
  const DeviceKind kind_;
  std::string name_;  // DPDK's
  uint16_t id_;
  PortInfo info_;
  uint32_t packet_room_ = 0;
  uint64_t missed_ = 0;  // told so far
  std::unique_ptr<Pool> pool_;
};

}  // namespace psp
