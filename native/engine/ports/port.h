// SPDX-License-Identifier: Apache-2.0
// What the engine asks of a port: open, receive a burst, send a burst, say what to wait on. Behind it stand
// the packet socket of a kernel interface (kernel_port.h) and DPDK's ethdev (dpdk_port.h). One object is one
// queue each way, of one lcore; of several queues of a device each packet comes by one, and those of a flow
// by the same. Packets are DPDK mbufs everywhere: they know head and tail room, and pools that never
// allocate.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>

#include "engine/engine.h"

namespace psp {

class Port {
 public:
  virtual ~Port() = default;
  virtual PortInfo info() const = 0;
  // Up to `count` received packets, owned by the caller.
  virtual uint16_t rx_burst(rte_mbuf** packets, uint16_t count) = 0;
  // Takes ownership of the first n returned; the rest stay the caller's. It may put them into another order,
  // but not those of one flow.
  virtual uint16_t tx_burst(rte_mbuf** packets, uint16_t count) = 0;
  // A descriptor that poll() reports readable when packets wait, or -1: the port must be asked.
  virtual int descriptor() const = 0;

  // Frames that found no room in front of us since this was asked last. May cost a system call.
  virtual uint64_t missed() { return 0; }

  // Ends the device, which gives back what packets it still has, of its own pool and of others. Called before
  // any pool ends whose packets it was given; nothing may be sent or received behind it.
  virtual void stop() {}

  // How the link is, as far as its changes were taken. A port without an interface has one that never
  // changes.
  virtual LinkState link() const { return {true, info().up, info().mtu, info().mac}; }
  // Takes the link's next change. False: none waits. May cost a system call.
  virtual bool link_changed() { return false; }
  // A descriptor that poll() reports readable while changes of the link may wait, or -1: there is none.
  virtual int link_descriptor() const { return -1; }
};

}  // namespace psp
