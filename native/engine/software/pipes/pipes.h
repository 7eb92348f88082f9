// SPDX-License-Identifier: Apache-2.0
// The pipes as functions over a worker. Each takes a burst, decides for every packet which edge it leaves by,
// and keeps in the burst, in order, those that go on. What is not kept was sent, held, consumed or dropped.
#pragma once

#include <span>

#include "engine/drop_reasons.h"
#include "engine/ports/packet.h"
#include "engine/software/tables/flow_table.h"

namespace psp {

struct EngineConfig;
struct Outer;
struct Worker;
enum class OpenFault : uint8_t;

// Entry of both directions: Ethernet, ARP and neighbour discovery, the first IP header.
void ingress_root(Worker& worker, Direction direction, Burst& burst);

// Whose source, whose destination: finds the peer.
void egress_root(Worker& worker, Burst& burst);
// A host pings a gateway address of ours: answers, as often as the rate limit lets. Takes the packet; false:
// it is something else, and stays the caller's.
bool answer_echo(Worker& worker, Packet& packet);
// Sends a packet in the clear by a rule of the bypass. Takes the packet.
void egress_bypass(Worker& worker, uint32_t rule, Packet& packet);
// Flows with a key are sealed and sent; those without are held. Empties the burst.
void egress_acl(Worker& worker, Burst& burst);
// The same on an lcore that is not the first.
void egress_copied(Worker& worker, Burst& burst);
// Where packets of keyed flows begin, drained ones too, one or more of one flow: in transport mode fragments
// wait for one another, all else goes on to egress_sampling at once. Takes the packets.
void egress_keyed(Worker& worker, uint32_t flow, std::span<Packet> packets);
// Draws which packets of a keyed flow are sampled, then seals them. Takes the packets.
void egress_sampling(Worker& worker, uint32_t flow, std::span<Packet> packets);
// Notes the ports of a packet that was drawn and will be sealed next, and copies it as it lies at `inner`.
void copy_plain(Worker& worker, uint32_t flow, const uint8_t* inner, Packet& packet);
// Copies a packet that was drawn and sealed, on its way to the hop.
void copy_sealed(Worker& worker, uint32_t flow, const Address& hop, Packet& packet);
// Captures a packet of a keyed flow that cannot be sealed and will be dropped for this reason.
void capture_unsealed(Worker& worker, uint32_t flow, const Packet& packet, Drop reason);
// Notes in a flow's record what sealing would ask of its key, the configuration and the path for each packet.
// To be called when one of them changed.
void prepare(Worker& worker, uint32_t flow);
// Makes packets of a keyed flow ready to be sealed and gathers them, or counts why not. Takes the packets.
void seal(Worker& worker, uint32_t flow, std::span<Packet> packets);
// Seals what was gathered and sends it to its next hops, in order.
void seal_gathered(Worker& worker);
// Re-enters held packets whose key has come, oldest first, as far as the secured port takes them.
void drain(Worker& worker);

// What outer headers of tunnel mode say; all but destination and source port.
Outer outer_of(const EngineConfig& config);
// Where packets for an outer destination go first: itself on the connected prefix, the configured gateway
// beyond; false when there is no way.
bool next_hop(const Worker& worker, const Address& destination, Address* hop);
// MTU of the path that packets of a keyed flow take, headers of PSP included.
uint16_t path_mtu(const Worker& worker, uint32_t flow);
// Forgets what a router told of the flow's path more than ten minutes ago.
void forget_old_path_mtu(Worker& worker, uint32_t flow);
// A router told of a packet with these outer addresses and this SPI that it is longer than `mtu`. Lowers the
// path MTU of the live flow that sent such packets, not below 1280 (IPv6) or 576 (IPv4), for ten minutes.
// False: there is no such flow, or its path MTU is not above that.
bool learn_path_mtu(Worker& worker, const Address& source, const Address& destination, uint32_t spi,
                    uint16_t mtu);

// UDP/1000 to us or, in transport mode, to a VIP, a known SPI, a good ICV: opens. Fragments wait for one
// another in front of it.
void ingress_decrypt(Worker& worker, Burst& burst);
// Sends a packet that came in the clear to its host by a rule of the bypass. Takes the packet.
void ingress_bypass(Worker& worker, uint32_t rule, Packet& packet);
// Keeps the front of a frame with a known SPI that is opened next, in case it does not open. Only while
// worker.capture.ingress().
void keep_frame(Worker& worker, const Packet& packet);
// Captures a frame that did not open, as it came.
void capture_unopened(Worker& worker, const Packet& packet, Drop reason);
// Counts a packet that did not open, and drops it.
void syndrome_stats(Worker& worker, const Packet& packet, OpenFault fault);
// Copies what carries S; ends what carries S and D.
void ingress_sampling(Worker& worker, Burst& burst);
// Exactly the flow that the SPI was made for is delivered. Empties the burst.
void ingress_acl(Worker& worker, Burst& burst);
// Cuts off what lies in front of `inner` and gathers the packet for its host. Takes the packet; false: it was
// dropped.
bool deliver(Worker& worker, Packet& packet);
// Sends to the host what was gathered for it.
void deliver_gathered(Worker& worker);

}  // namespace psp
