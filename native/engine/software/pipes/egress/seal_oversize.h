// SPDX-License-Identifier: Apache-2.0
// Seals a packet that does not take the common path: transport mode, samples, packets of unusual make, and
// those that do not fit their path, which are fragmented or dropped (oversize.h has the rules).
#pragma once

#include "engine/software/lcore/lcore.h"

namespace psp {

// Seals a packet of any kind, whole or in fragments, or counts why not. Takes the packet.
void seal_oversize(Lcore& lcore, Packet& packet);

}  // namespace psp
