// SPDX-License-Identifier: Apache-2.0
// The pipes from the wire to hosts, in the order in which a burst passes them; ingress_root (entry.h)
// precedes them. Each pipe keeps in the burst, in order, the packets that go on to the next. All others left
// it by another edge: into another burst, into an lcore's outgoing frames, or they were consumed or dropped.
#pragma once

#include "engine/software/lcore/main_lcore.h"
#include "engine/software/lcore/worker_lcore.h"

namespace psp {

// Reassembles fragments for us; all other packets go on as they are.
void ingress_reassembly(MainLcore& lcore, Burst& burst);
// The same on a worker lcore, which hands fragments for us off.
void ingress_reassembly(WorkerLcore& lcore, Burst& burst);
// Accepts UDP/1000 to us or, in transport mode, to a VIP, and reads the PSP header. ICMP goes to
// lcore.slow_path, packets that a bypass rule names to lcore.clear.
void ingress_decrypt(Lcore& lcore, Burst& burst);
// Receives ICMP errors about PSP packets of ours; other ICMP goes to lcore.clear where a bypass rule names
// it. Empties the burst.
void receive_icmp(MainLcore& lcore, Burst& icmp);
// Delivers packets in the clear to their hosts. Empties the burst.
void ingress_bypass(Lcore& lcore, Burst& clear);
// Finds the record of the SPI, which is noted in the packet.
void find_spis(MainLcore& lcore, Burst& burst);
// The same by copies of records. Packets that have none are handed off, unless there is no such SPI.
void find_spis(WorkerLcore& lcore, Burst& burst);
// Opens the packets. Those that fail go to lcore.unopened.
void open(Lcore& lcore, Burst& burst);
// Counts, captures and drops packets that failed to open. Empties the burst.
void syndrome_stats(Lcore& lcore, Burst& unopened);
// Copies packets that carry S, and drops those that carry S and D.
void ingress_sampling(Lcore& lcore, Burst& burst);
// Admits exactly the flow that the SPI was offered for. Notes SPIs whose first packet passed in
// lcore.first_seen.
void ingress_acl(Lcore& lcore, Burst& burst);
// Strips the outer headers and passes the packets on into lcore.to_hosts. Empties the burst.
void decap(Lcore& lcore, Burst& burst);
// The same for one packet. Takes it; false: it was dropped.
bool decap(Lcore& lcore, Packet& packet);

// Whether a packet is for our secured address or, where VIPs are on the wire, for a VIP; sets packet.to_us.
bool is_for_us(const Lcore& lcore, Packet& packet);
// Whether a packet for us that is no PSP packet passes in the clear; sets packet.bypass_rule.
bool passes_in_the_clear(const Lcore& lcore, Packet& packet);

}  // namespace psp
