// SPDX-License-Identifier: Apache-2.0
// What the engine asks of a port: open, receive a burst, send a burst, say what to wait on. DPDK's ethdev
// stands behind it today; other ways to reach an interface come in here. Packets are DPDK mbufs everywhere:
// they know head and tail room, and pools that never allocate.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>
#include <string>

#include "engine/engine.h"

namespace psp {

class Port {
 public:
  virtual ~Port() = default;
  virtual PortInfo info() const = 0;
  // Up to `count` received packets, owned by the caller.
  virtual uint16_t rx_burst(rte_mbuf** packets, uint16_t count) = 0;
  // Takes ownership of the first n returned; the rest stay the caller's.
  virtual uint16_t tx_burst(rte_mbuf** packets, uint16_t count) = 0;
  // A descriptor that poll() reports readable when packets wait, or -1: the port must be asked.
  virtual int descriptor() const = 0;
};

}  // namespace psp
