// SPDX-License-Identifier: Apache-2.0
// The rules of address resolution that differ between the two sides of a gateway. Unsecured: we answer for
// the gateway addresses, and as a proxy for everything behind the peers. Only local VIPs get a proxy answer,
// because only their packets are carried: for other hosts on the segment an address of a peer's prefix may be
// a neighbour of theirs. There is no proxy answer for a host's own address or a link-local one, however wide
// a peer's prefix is; hosts are local VIPs. Secured: we answer for our own address only, and for the
// link-local address of the port where the gateway is solicited from it; neighbours are those of the
// connected prefix, and the gateway, whatever its address is.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <vector>

#include "engine/config.h"
#include "engine/ip/peers.h"
#include "engine/neighbours/neighbour_frames.h"

namespace psp {

class NeighbourRules {
 public:
  enum class Answer : uint8_t { kNo, kAsProxy, kAsOurselves };

  virtual ~NeighbourRules() = default;
  // Whether a request is ours to answer.
  virtual Answer answers(const NeighbourMessage& request) const = 0;
  // Whether `address` may be a neighbour on this side.
  virtual bool is_neighbour(const Address& address) const = 0;
  // The source address of solicitations; zero for IPv4 where there is none.
  virtual Address sender_for(const Address& target) const = 0;
  // All addresses that are answered as our own.
  virtual std::span<const Address> own() const = 0;
  // The port has another MAC address, and so another link-local one.
  virtual void change_mac(const MacAddress& mac) = 0;
};

class UnsecuredRules : public NeighbourRules {
 public:
  UnsecuredRules(const Peers& peers, const std::vector<Prefix>& gateways, const MacAddress& mac)
      : peers_(&peers) {
    for (const Prefix& gateway : gateways) own_.push_back(gateway.address);
    own_.push_back(link_local(mac));
  }

  // These peers take the place of the others.
  void use_peers(const Peers& peers) { peers_ = &peers; }
  // A gateway address, or the link-local one of the port.
  bool is_own(const Address& address) const { return std::ranges::find(own_, address) != own_.end(); }
  Answer answers(const NeighbourMessage& request) const override {
    const Address& target = request.target;
    if (is_own(target)) return Answer::kAsOurselves;
    if (is_link_local(target)) return Answer::kNo;
    const uint16_t owner = peers_->owner(target);
    if (owner == Peers::kNobody || owner == Peers::kLocal) return Answer::kNo;
    return is_neighbour(request.sender) || probes_us(request) ? Answer::kAsProxy : Answer::kNo;
  }
  bool is_neighbour(const Address& address) const override { return peers_->owner(address) == Peers::kLocal; }
  Address sender_for(const Address& target) const override {
    for (const Address& own : own_) {
      if (is_ipv4(own) == is_ipv4(target)) return own;
    }
    return {};
  }
  std::span<const Address> own() const override { return own_; }
  void change_mac(const MacAddress& mac) override { own_.back() = link_local(mac); }

 private:
  // Hosts verify a known neighbour from their link-local address (RFC 4861 section 7.3.3): a host that sends
  // such a probe to us alone has had our answer before, so no address of another host is claimed.
  static bool probes_us(const NeighbourMessage& request) {
    return request.unicast && !is_ipv4(request.sender) && is_link_local(request.sender);
  }

  const Peers* peers_;
  std::vector<Address> own_;  // the gateways, then the link-local one
};

class SecuredRules : public NeighbourRules {
 public:
  // `gateway`: the next hop of what leaves the connected prefix.
  SecuredRules(const Prefix& address, const std::optional<Address>& gateway, const MacAddress& mac)
      : address_(address), gateway_(gateway), own_{address.address, link_local(mac)} {}

  Answer answers(const NeighbourMessage& request) const override {
    return std::ranges::find(own(), request.target) != own().end() ? Answer::kAsOurselves : Answer::kNo;
  }
  bool is_neighbour(const Address& address) const override {
    return address_.contains(address) || address == gateway_;
  }
  // An IPv6 next hop of IPv4 packets (RFC 8950) cannot answer to an IPv4 address. A link-local one need not
  // know that our address is on the link.
  Address sender_for(const Address& target) const override {
    if (is_ipv4(target)) return address_.address;
    return is_ipv4(address_.address) || is_link_local(target) ? own_[1] : address_.address;
  }
  std::span<const Address> own() const override {
    const bool both = gateway_ && sender_for(*gateway_) == own_[1];
    return {own_.data(), both ? size_t{2} : size_t{1}};
  }
  void change_mac(const MacAddress& mac) override { own_[1] = link_local(mac); }

 private:
  Prefix address_;
  std::optional<Address> gateway_;
  std::array<Address, 2> own_;  // on the wire, and the link-local one
};

}  // namespace psp
