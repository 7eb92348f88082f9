// SPDX-License-Identifier: Apache-2.0
// Captures of packets that failed (lcore/capture.h). They leave by the ring of samples, in slots of their
// own. From the wire: frames with an SPI of ours that failed their ICV or whose trailer is wrong, as they
// came, with their outer addresses and ports; SPI and peer are what the frame claims. From hosts: packets
// that could not be sealed (no next hop, too long, no form in transport mode), from the inner IP header on;
// not those lost to a full port, a neighbour that does not answer or a missing fragment, and not those whose
// flow never had a key.
#pragma once

#include "engine/software/lcore/lcore.h"

namespace psp {

// Keeps the front of a frame with a known SPI before it is opened. Only while lcore.capture.ingress().
void keep_frame(Lcore& lcore, const Packet& packet);
// Captures a frame that did not open, as it came.
void capture_unopened(Lcore& lcore, const Packet& packet, Drop reason);
// Captures a packet of a flow with a key that cannot be sealed and will be dropped for this reason.
void capture_unsealed(Lcore& lcore, const Packet& packet, Drop reason);

}  // namespace psp
