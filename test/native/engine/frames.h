// SPDX-License-Identifier: Apache-2.0
// Frames for tests, written out octet by octet, and the addresses that the tests share.
#pragma once

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "fake_port.h"
#include "psp/address.h"
#include "psp/ip_packet.h"

namespace psp {

inline constexpr MacAddress kHostMac = {2, 0, 0, 0, 1, 5};
inline constexpr MacAddress kUnsecuredMac = {2, 0, 0, 0, 1, 1};
inline constexpr MacAddress kSecuredMac = {2, 0, 0, 0, 9, 1};
inline constexpr MacAddress kPeerMac = {2, 0, 0, 0, 9, 2};

inline Address address(const std::string& text) {
  Address result{};
  if (text.find(':') != std::string::npos) {
    inet_pton(AF_INET6, text.c_str(), result.data());
    return result;
  }
  uint8_t octets[4];
  inet_pton(AF_INET, text.c_str(), octets);
  return mapped(octets);
}

// "10.1.0.0/24"; the length counts in the mapped form.
inline Prefix prefix(const std::string& text) {
  const size_t slash = text.find('/');
  const Address base = address(text.substr(0, slash));
  const int length = std::stoi(text.substr(slash + 1));
  return {base, static_cast<uint8_t>(length + (is_ipv4(base) ? 96 : 0))};
}

inline void put16(Frame& frame, size_t at, uint32_t value) {
  frame[at] = static_cast<uint8_t>(value >> 8);
  frame[at + 1] = static_cast<uint8_t>(value);
}
inline uint16_t get16(const Frame& frame, size_t at) {
  return static_cast<uint16_t>(frame[at] << 8 | frame[at + 1]);
}

inline Frame ethernet(const MacAddress& destination, const MacAddress& source, uint16_t type,
                      const Frame& rest) {
  Frame frame(14 + rest.size());
  std::memcpy(frame.data(), destination.data(), 6);
  std::memcpy(frame.data() + 6, source.data(), 6);
  put16(frame, 12, type);
  std::copy(rest.begin(), rest.end(), frame.begin() + 14);
  return frame;
}

// An IP packet of either family with this protocol and payload.
inline Frame ip_packet(const Address& source, const Address& destination, uint8_t protocol,
                       const Frame& payload, uint8_t traffic_class = 0, uint8_t hop_limit = 64) {
  if (is_ipv4(source)) {
    Frame ip(20 + payload.size());
    ip[0] = 0x45;
    ip[1] = traffic_class;
    put16(ip, 2, static_cast<uint32_t>(20 + payload.size()));
    ip[8] = hop_limit;
    ip[9] = protocol;
    std::memcpy(&ip[12], source.data() + 12, 4);
    std::memcpy(&ip[16], destination.data() + 12, 4);
    put16(ip, 10, checksum_fold(checksum_add(ip.data(), 20, 0)));
    std::copy(payload.begin(), payload.end(), ip.begin() + 20);
    return ip;
  }
  Frame ip(40 + payload.size());
  ip[0] = static_cast<uint8_t>(0x60 | traffic_class >> 4);
  ip[1] = static_cast<uint8_t>(traffic_class << 4);
  put16(ip, 4, static_cast<uint32_t>(payload.size()));
  ip[6] = protocol;
  ip[7] = hop_limit;
  std::memcpy(&ip[8], source.data(), 16);
  std::memcpy(&ip[24], destination.data(), 16);
  std::copy(payload.begin(), payload.end(), ip.begin() + 40);
  return ip;
}

// UDP with checksum 0 and the text as payload.
inline Frame udp(uint16_t source, uint16_t destination, const Frame& payload) {
  Frame result(8 + payload.size());
  put16(result, 0, source);
  put16(result, 2, destination);
  put16(result, 4, static_cast<uint32_t>(8 + payload.size()));
  std::copy(payload.begin(), payload.end(), result.begin() + 8);
  return result;
}

inline Frame text(const std::string& words) {
  return Frame(words.begin(), words.end());
}

inline Frame udp_packet(const std::string& source, const std::string& destination, const std::string& words) {
  return ip_packet(address(source), address(destination), kProtocolUdp, udp(4000, 5000, text(words)));
}

inline uint16_t ether_type(const Address& address) {
  return is_ipv4(address) ? 0x0800 : 0x86dd;
}

// From the host to the gateway.
inline Frame from_host(const std::string& source, const std::string& destination, const std::string& words) {
  return ethernet(kUnsecuredMac, kHostMac, ether_type(address(source)),
                  udp_packet(source, destination, words));
}

// A request goes to all, a reply to our port on the side of whoever answers.
inline Frame arp(bool request, const MacAddress& mac, const std::string& sender, const std::string& target) {
  Frame body = {0, 1, 8, 0, 6, 4, 0, static_cast<uint8_t>(request ? 1 : 2)};
  body.resize(28);
  std::memcpy(&body[8], mac.data(), 6);
  std::memcpy(&body[14], address(sender).data() + 12, 4);
  std::memcpy(&body[24], address(target).data() + 12, 4);
  const MacAddress& port = mac[4] == kSecuredMac[4] ? kSecuredMac : kUnsecuredMac;
  return ethernet(request ? MacAddress{0xff, 0xff, 0xff, 0xff, 0xff, 0xff} : port, mac, 0x0806, body);
}

// A neighbour solicitation (135) or advertisement (136) with its link-layer option.
inline Frame neighbour_message(uint8_t type, const MacAddress& mac, const MacAddress& to,
                               const std::string& source, const std::string& destination,
                               const std::string& target, uint8_t hop_limit = 255, bool option = true,
                               uint8_t flags = 0) {
  Frame body(option ? 32 : 24);
  body[0] = type;
  body[4] = flags;
  std::memcpy(&body[8], address(target).data(), 16);
  if (option) {
    body[24] = type == 135 ? 1 : 2;
    body[25] = 1;
    std::memcpy(&body[26], mac.data(), 6);
  }
  IpPacket packet;
  packet.version = 6;
  packet.protocol = kProtocolIcmpv6;
  packet.source = address(source);
  packet.destination = address(destination);
  const auto length = static_cast<uint32_t>(body.size());
  put16(body, 2, checksum_fold(checksum_add(body.data(), length, pseudo_header_sum(packet, length))));
  return ethernet(to, mac, 0x86dd,
                  ip_packet(packet.source, packet.destination, kProtocolIcmpv6, body, 0, hop_limit));
}

inline Frame solicitation(const MacAddress& mac, const std::string& source, const std::string& target) {
  return neighbour_message(135, mac, {0x33, 0x33, 0xff, 0, 0, 1}, source, "ff02::1:ff00:1", target);
}

}  // namespace psp
