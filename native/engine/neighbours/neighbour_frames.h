// SPDX-License-Identifier: Apache-2.0
// ARP (RFC 826) and neighbour discovery (RFC 4861) as frames: reading received ones, and writing our own.
// Knows no tables and no policy.
#pragma once

#include <rte_mbuf.h>

#include <optional>

#include "psp/ip_packet.h"

namespace psp {

inline constexpr MacAddress kBroadcastMac = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

// Whether a MAC address can be that of one interface.
inline bool is_unicast(const MacAddress& mac) {
  return (mac[0] & 1) == 0 && mac != MacAddress{};
}

// The content of an ARP packet or a neighbour discovery message, in one form for both families.
struct NeighbourMessage {
  bool request = false;    // ARP request, neighbour solicitation
  bool solicited = false;  // an answer to a request: ARP reply, advertisement with the Solicited flag
  bool unicast = true;     // the frame was for one MAC address; set by the reader of the frame
  Address sender{};        // all zero: none given (ARP probe, solicitation from ::)
  MacAddress mac{};        // the sender's; in advertisements the target's; zero where none was given
  Address target{};        // the address that is resolved; in advertisements that of the sender
  bool overrides = true;   // may replace a MAC address that is known already; advertisements say so or not
};

// Reads an ARP packet of `length` octets. Nothing: it is no ARP for IPv4 over Ethernet.
std::optional<NeighbourMessage> read_arp(const uint8_t* octets, size_t length);

// Whether an IPv6 packet is a neighbour solicitation or advertisement by its type.
bool is_neighbour_discovery(const IpPacket& packet, const uint8_t* octets);
// Reads one. Nothing: it fails the checks of RFC 4861, 7.1 (hop limit 255, checksum, code, lengths), or its
// source is multicast.
std::optional<NeighbourMessage> read_neighbour_discovery(const IpPacket& packet, const uint8_t* octets);

// Solicits `target`'s MAC address: from all neighbours, or only from the one with the MAC address `at` (RFC
// 4861 section 7.3.3; RFC 1122 section 2.3.2.1, "unicast poll"). `sender` may be zero for IPv4. False: no
// space in the mbuf.
bool write_request(rte_mbuf* mbuf, const MacAddress& mac, const Address& sender, const Address& target,
                   const std::optional<MacAddress>& at = {});
// Answers `asker`: `answered` is at `mac`. `as_router` for an address of our own, otherwise as a proxy
// without override (RFC 4861, 7.2.8).
bool write_answer(rte_mbuf* mbuf, const MacAddress& mac, const Address& answered, const Address& asker,
                  const MacAddress& asker_mac, bool as_router);

// Announces on the link that an address of our own is at `mac`: an ARP announcement (RFC 5227, 2.3) or an
// unsolicited advertisement (RFC 4861, 7.2.6). False: no space in the mbuf.
bool write_announcement(rte_mbuf* mbuf, const MacAddress& mac, const Address& own);

// fe80::/64 address made of a MAC address (RFC 4291, appendix A).
Address link_local(const MacAddress& mac);
// Whether an address is valid on its own link only: fe80::/10, 169.254.0.0/16.
inline bool is_link_local(const Address& address) {
  if (is_ipv4(address)) return address[12] == 169 && address[13] == 254;
  return address[0] == 0xfe && (address[1] & 0xc0) == 0x80;
}

}  // namespace psp
