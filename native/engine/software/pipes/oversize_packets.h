// SPDX-License-Identifier: Apache-2.0
// Steps in front of the seal, or of leaving in the clear: checksums that hosts left to their interface, and
// packets that do not fit the path (fit.h has the rules), on either side of the gateway.
#pragma once

#include "engine/ip/fragment.h"
#include "engine/ip/oversize.h"
#include "engine/ports/packet.h"

namespace psp {

struct Worker;

// Completes a checksum that looks partial, where the host's port does not know which are.
void complete_checksum(Worker& worker, Packet& packet);

// What the rules ask of a packet that came from a host.
ToFit to_fit(const Worker& worker, const Packet& packet);

// Drops a packet that is too long for the path and tells its sender this MTU, unless it is 0 or rules and
// limits of ICMP forbid.
void drop_too_big(Worker& worker, Packet& packet, uint16_t mtu);

// Sends the source of an opened packet, a host behind a peer, the MTU of our hosts' port, unless rules and
// limits of ICMP forbid. The packet stays as it is. The error comes from the address that the packet is for:
// it so belongs to the reverse flow, which is keyed already, and which the peer admits. Our gateway address
// would need a tunnel of its own, or have none where it is no VIP. The error takes the way of a packet from
// that host, at the end of this turn: sealed, held, or in the clear where the bypass names it.
void send_too_big_to_peer(Worker& worker, const Packet& packet, uint16_t mtu);

// Moves a packet that was put together to memory where it may wait: the buffers of whole datagrams are few.
// False: there is none; the packet stays as it is.
[[nodiscard]] bool leave_reassembly(Worker& worker, Packet& packet);

// Cuts an IPv4 packet into fragments of at most `mtu` octets. Takes the packet; false: it was dropped.
bool cut(Worker& worker, Packet& packet, uint16_t mtu, Fragments* fragments);
// The same for an IPv6 packet, whose headers in front stay whole.
bool cut(Worker& worker, Packet& packet, uint16_t mtu, const Unfragmentable& part, Fragments* fragments);

}  // namespace psp
