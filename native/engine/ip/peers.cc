// SPDX-License-Identifier: Apache-2.0
// IPv4 prefixes go into rte_lpm, one load for a look-up; IPv6 ones into rte_lpm6.
#include "engine/ip/peers.h"

#include <rte_memory.h>

#include <algorithm>
#include <atomic>
#include <string>

#include "engine/engine.h"

namespace psp {

namespace {

constexpr uint8_t kMappedBits = 96;

bool covers_ipv4_only(const Prefix& prefix) {
  return prefix.length >= kMappedBits && is_ipv4(prefix.address);
}

[[noreturn]] void fail(const char* what) {
  throw EngineError{"ENGINE_FAILED", "peers", what};
}

}  // namespace

Peers::Peers(const std::vector<Prefix>& vips, const std::vector<PeerConfig>& peers) {
  static std::atomic<unsigned> number{0};
  const std::string name = "psp-peers-" + std::to_string(number++);
  size_t count = vips.size();
  for (const PeerConfig& peer : peers) count += peer.vips.size();
  const auto rules = static_cast<uint32_t>(count + 1);

  // A long prefix takes one second-level table of IPv4, at most thirteen of IPv6.
  rte_lpm_config config{};
  config.max_rules = rules;
  config.number_tbl8s = std::max<uint32_t>(rules, 16);
  ipv4_ = rte_lpm_create(name.c_str(), SOCKET_ID_ANY, &config);
  rte_lpm6_config config6{};
  config6.max_rules = rules;
  config6.number_tbl8s = rules * 13 + 1;
  ipv6_ = rte_lpm6_create(name.c_str(), SOCKET_ID_ANY, &config6);
  try {
    if (ipv4_ == nullptr || ipv6_ == nullptr) fail("no memory for the tables of prefixes");
    for (const Prefix& prefix : vips) add(prefix, kLocal);
    for (size_t peer = 0; peer < peers.size(); ++peer) {
      for (const Prefix& prefix : peers[peer].vips) add(prefix, static_cast<uint16_t>(peer));
    }
  } catch (...) {
    rte_lpm_free(ipv4_);
    rte_lpm6_free(ipv6_);
    throw;
  }
}

Peers::~Peers() {
  rte_lpm_free(ipv4_);
  rte_lpm6_free(ipv6_);
}

void Peers::add(const Prefix& prefix, uint16_t owner) {
  if (covers_ipv4_only(prefix)) {
    const auto depth = static_cast<uint8_t>(prefix.length - kMappedBits);
    if (depth == 0) {
      ipv4_default_ = owner;
    } else if (rte_lpm_add(ipv4_, load_u32(prefix.address.data() + 12), depth, owner) != 0) {
      fail("a prefix does not go into the table");
    }
    return;
  }
  if (prefix.length == 0) {
    ipv6_default_ = owner;
  } else if (rte_lpm6_add(ipv6_, prefix.address.data(), prefix.length, owner) != 0) {
    fail("a prefix does not go into the table");
  }
}

uint16_t Peers::owner_ipv6(const Address& address) const {
  uint32_t found;
  return rte_lpm6_lookup(ipv6_, address.data(), &found) == 0 ? static_cast<uint16_t>(found) : ipv6_default_;
}

}  // namespace psp
