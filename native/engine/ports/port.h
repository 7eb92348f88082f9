// SPDX-License-Identifier: Apache-2.0
// The interface of ports: open, receive a burst, send a burst, and the descriptor to wait on. It is
// implemented by the packet socket of a kernel interface (kernel_port.h) and by DPDK's ethdev (dpdk_port.h).
// One object is one queue each way, of one lcore; where a device has several queues, all packets of a flow
// arrive by the same one. Packets are DPDK mbufs everywhere, which have headroom, tailroom, and pools that
// never allocate.
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
  // A descriptor that poll() reports readable when packets wait, or -1: the port must be polled.
  virtual int descriptor() const = 0;

  // Frames that were dropped for lack of space before we received them, since the last call. May cost a
  // system call.
  virtual uint64_t missed() { return 0; }

  // Stops the device, which frees the packets that it still has, of its own pool and of others. Called before
  // any pool is destroyed whose packets it was given; nothing may be sent or received afterwards.
  virtual void stop() {}

  // The state of the link, as far as its changes were taken. It never changes on a port without an interface.
  virtual LinkState link() const { return {true, info().up, info().mtu, info().mac}; }
  // Takes the link's next change. False: none waits. May cost a system call.
  virtual bool link_changed() { return false; }
  // A descriptor that poll() reports readable while changes of the link may wait, or -1: there is none.
  virtual int link_descriptor() const { return -1; }
};

}  // namespace psp
