// SPDX-License-Identifier: Apache-2.0
// The entry of both directions.
#pragma once

#include "engine/software/lcore/main_lcore.h"

namespace psp {

// Reads Ethernet and the first IP header of the packets that a side received. ARP and neighbour discovery go
// to lcore.slow_path.
void ingress_root(Lcore& lcore, const Side& from, Burst& burst);
// Receives ARP and neighbour discovery of a side. Empties the burst.
void receive_neighbours(MainLcore& lcore, const Side& from, Burst& messages);

}  // namespace psp
