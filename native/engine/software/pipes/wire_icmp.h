// SPDX-License-Identifier: Apache-2.0
// ICMP from the wire: listened to only where it tells that a packet of ours was too long, and proves it.
#pragma once

#include "engine/ports/packet.h"

namespace psp {

struct Worker;

enum class IcmpFate : uint8_t {
  kLearned,    // a path MTU was lowered
  kUnproven,   // too big, but no packet of a live flow of ours is quoted, or the MTU is not below what is
               // known
  kOther,      // any other message
  kMalformed,  // too short, or the checksum is wrong
};

bool is_icmp(const IpPacket& ip);

// Reads an ICMP packet to an address of ours, no fragment. The packet stays the caller's.
IcmpFate hear_icmp(Worker& worker, const Packet& packet);

}  // namespace psp
