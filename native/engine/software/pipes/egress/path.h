// SPDX-License-Identifier: Apache-2.0
// The path of a flow's packets: its next hop, its MTU, and the state that is prepared for the common path of
// the seal.
#pragma once

#include "engine/software/lcore/main_lcore.h"

namespace psp {

// The next hop of an outer destination: itself on the connected prefix, the configured gateway beyond it.
// False: there is none.
bool next_hop(const Lcore& lcore, const Address& destination, Address* hop);
// Writes to a flow's record what the seal would otherwise derive for each packet from key, configuration and
// path. To be called when one of them changed.
void prepare(Lcore& lcore, uint32_t flow);

// MTU of the path that packets of a flow with a key take, headers of PSP included.
uint16_t path_mtu(const Lcore& lcore, uint32_t flow);
// Forgets a path MTU that was learned more than ten minutes ago.
void forget_old_path_mtu(Lcore& lcore, uint32_t flow);
// A router reported that a packet with these outer addresses and this SPI is longer than `mtu`. Lowers the
// path MTU of the live flow that sent such packets, not below 1280 (IPv6) or 576 (IPv4), for ten minutes.
// False: there is no such flow, or its path MTU is not above that.
bool learn_path_mtu(MainLcore& lcore, const Address& source, const Address& destination, uint32_t spi,
                    uint16_t mtu);

}  // namespace psp
