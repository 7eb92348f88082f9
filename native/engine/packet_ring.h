// SPDX-License-Identifier: Apache-2.0
// The packet socket of a port that DPDK's af_packet driver opened. The driver joins it to a fanout group that
// puts IPv4 fragments together in the kernel (PACKET_FANOUT_FLAG_DEFRAG) and offers no choice. A gateway must
// see packets as their host sent them, and bounds fragments by itself: so a socket outside any group takes
// the place of the driver's. Control path, before the first burst.
#pragma once

#include <cstdint>

namespace psp {

// Of the receive ring, and of the send ring behind it, as the driver was told.
struct PacketRing {
  uint32_t frame = 0;  // octets
  uint32_t block = 0;  // octets, whole frames
  uint32_t frames = 0;
};

// Afterwards the descriptor and the memory of the rings, which the driver knows, belong to a new socket with
// the same options on the same interface. Throws std::system_error; then the driver's socket may be unusable.
void leave_fanout(int descriptor, unsigned interface, const PacketRing& ring);

}  // namespace psp
