// SPDX-License-Identifier: Apache-2.0
// A port that DPDK's ethdev drives. A name of a kernel interface becomes a net_af_packet device on it;
// anything else is a DPDK device string or a PCI address and is passed on. One queue each way.
#pragma once

#include <memory>
#include <string>

#include "engine/packet_ring.h"
#include "engine/pool.h"
#include "engine/port.h"

namespace psp {

// What `device` names.
enum class DeviceKind : uint8_t { kInterface, kPci, kVirtual };
DeviceKind device_kind(const std::string& device);

class DpdkPort : public Port {
 public:
  // Opens and starts it. EAL is up. `role` ends up in names. Throws EngineError with INTERFACE_MISSING,
  // PORT_TAKEN, DRIVER_MISSING, RIGHTS_MISSING or PORT_FAILED.
  DpdkPort(const std::string& device, const std::string& role);
  ~DpdkPort() override;

  PortInfo info() const override { return info_; }
  uint16_t rx_burst(rte_mbuf** packets, uint16_t count) override;
  uint16_t tx_burst(rte_mbuf** packets, uint16_t count) override;
  int descriptor() const override { return descriptor_; }

  // Ends the device, which gives back what packets it still has, of its own pool and of others. Called before
  // any pool ends whose packets it was given; nothing may be sent or received behind it.
  void stop();
  // Raises the MTU of a device that DPDK alone owns. False: it cannot, or the kernel owns the interface.
  bool raise_mtu(uint16_t mtu);
  // Whether the interface behind the port still exists; true for ports without one. Costs a system call.
  bool is_there() const;
  // Whether what is sent leaves: the interface is up and has a carrier; true for ports without one. Costs
  // system calls.
  bool is_up() const;

 private:
  void probe(const std::string& arguments);
  void configure();
  void find_descriptor();
  void release();

  const std::string device_;
  const DeviceKind kind_;
  std::string name_;  // DPDK's, for vdevs
  uint16_t id_;
  int lock_ = -1;  // held for as long as we use the interface
  int descriptor_ = -1;
  unsigned interface_index_ = 0;
  PacketRing ring_;  // of kernel interfaces
  PortInfo info_;
  uint32_t packet_room_ = 0;
  std::unique_ptr<Pool> pool_;
};

}  // namespace psp
