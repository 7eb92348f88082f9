// SPDX-License-Identifier: Apache-2.0
// Steps for packets that do not fit their path (oversize.h has the rules), in either direction: fragments,
// ICMP errors to their sources, and memory for reassembled packets. Besides, checksums that hosts left to
// their interface.
#pragma once

#include "engine/ip/fragment.h"
#include "engine/ip/oversize.h"
#include "engine/software/lcore/lcore.h"

namespace psp {

// Completes a checksum that looks partial, where the host's port does not know which are.
void complete_checksum(Lcore& lcore, Packet& packet);

// What the rules need to know of a packet from a host.
PacketLength length_of(const Lcore& lcore, const Packet& packet);

// Sends the host that sent a packet this MTU in an ICMP error, unless it is 0 or rules and limits of ICMP
// forbid. The packet stays as it is.
void report_too_big(Lcore& lcore, const Packet& packet, uint16_t mtu);

// Sends the source of an opened packet, a host behind a peer, the MTU of our hosts' port in an ICMP error,
// unless rules and limits of ICMP forbid. The packet stays as it is. The error comes from the destination of
// the packet: so it belongs to the reverse flow, which has a key already, and which the peer admits. Our
// gateway address would need a tunnel of its own, or have none where it is no VIP. The error takes the path
// of a packet from that host, later in this turn: sealed, held, or in the clear where the bypass names it.
void report_too_big_to_peer(Lcore& lcore, const Packet& packet, uint16_t mtu);

// Moves a reassembled packet to memory where it may wait: the buffers for whole datagrams are few. False:
// there is none; the packet stays as it is.
[[nodiscard]] bool leave_reassembly(Lcore& lcore, Packet& packet);

// The reason for which a packet is dropped that could not be fragmented. `outgoing`: where its fragments
// would leave. If that holds more frames already than the transmit queue takes, those frames have the memory,
// and the queue is what lacks space.
Drop reason_of(FragmentFault fault, const Outgoing& outgoing, const TxQueue& tx, Drop too_big, Drop no_memory,
               Drop tx_full);

// Fragments an IPv4 packet at `mtu` octets. Takes the packet; false: it was dropped.
bool fragment(Lcore& lcore, Packet& packet, uint16_t mtu, Fragments* fragments);
// The same for an IPv6 packet, whose headers in front stay whole.
bool fragment(Lcore& lcore, Packet& packet, uint16_t mtu, const Unfragmentable& part, Fragments* fragments);

}  // namespace psp
