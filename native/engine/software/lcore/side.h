// SPDX-License-Identifier: Apache-2.0
// One of the two sides of an lcore: its queue of the port, and what belongs to the port.
#pragma once

#include "engine/counters.h"
#include "engine/ports/packet.h"
#include "engine/ports/port.h"
#include "engine/ports/tx_queue.h"

namespace psp {

struct Side {
  Side(Port& port, PortCounters& port_counters)
      : port(port),
        info(port.info()),
        ethernet(info.mac),
        largest_mtu(info.mtu),
        counters(port_counters),
        tx(port, port_counters) {}

  Port& port;
  PortInfo info;  // MAC address and MTU as they are used now
  EthernetAddress ethernet;
  const uint16_t largest_mtu;  // packet memory is sized for it
  PortCounters& counters;
  TxQueue tx;
};

}  // namespace psp
