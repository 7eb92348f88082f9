// SPDX-License-Identifier: Apache-2.0
// An engine reports these events without a command: misses, the first use of an offered SPI, SPIs that it
// does not know, egress keys that are worn, and changes of its links. Samples have a ring of their own
// (sample.h), so many samples never cost an event.
#pragma once

#include <cstdint>
#include <variant>

#include "engine/sample.h"
#include "psp/address.h"

namespace psp {

// What may change about a port while the engine runs.
struct LinkState {
  bool present = true;  // the interface exists under its name
  bool up = true;       // frames leave: the port is administratively up and has a carrier
  uint16_t mtu = 0;
  MacAddress mac{};
  bool operator==(const LinkState&) const = default;
};

// A packet of a flow without an egress key was held. It is reported once until the flow is installed, refused
// or removed.
struct MissedEvent {
  FlowKey flow;
  uint16_t peer;
};

// The first packet that opened under this SPI has passed the ACL.
struct SeenEvent {
  FlowKey inbound;
  uint32_t spi;
};

// Packets from this outer source address have an SPI that is not valid here. A random choice of such SPIs is
// reported: at most 64 of one address in a second, and of a bounded number of addresses.
struct UnknownSpiEvent {
  Address source;
  uint32_t spi;
};

// The link of a port has changed. Without `state.present` the interface is gone, and the engine has stopped.
struct LinkEvent {
  bool secured;
  LinkState state;
  uint16_t used_mtu;  // never more than the MTU at start, which packet memory is sized for
};

// An egress key has sealed half of the packets that one key may seal: it must be replaced. Reported once for
// a key, and once more when the key is `stopped`: from then on packets of the flow are dropped as key_worn.
struct WornEvent {
  FlowKey flow;
  uint16_t peer;
  bool stopped;
};

using Event = std::variant<MissedEvent, SeenEvent, UnknownSpiEvent, WornEvent, LinkEvent>;

}  // namespace psp
