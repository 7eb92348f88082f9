// SPDX-License-Identifier: Apache-2.0
// Copies of sampled packets for the control side.
#pragma once

#include "engine/software/lcore/lcore.h"

namespace psp {

// Notes the ports of a packet that is sealed next, and copies it, if so configured; it lies at `inner`.
void copy_plain(Lcore& lcore, const uint8_t* inner, Packet& packet);
// Copies a sealed frame on its way to the hop.
void copy_sealed(Lcore& lcore, const Address& hop, Packet& packet);
// Copies an opened packet, from the inner IP header on.
void copy_opened(Lcore& lcore, Packet& packet);

}  // namespace psp
