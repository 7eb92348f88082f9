// SPDX-License-Identifier: Apache-2.0
// A prefix of mapped addresses goes into the table of IPv4.
#include "engine/ip/peers.h"

#include <algorithm>
#include <span>

namespace psp {

namespace {

constexpr uint8_t kMappedBits = 96;

bool covers_ipv4_only(const Prefix& prefix) {
  return prefix.length >= kMappedBits && is_ipv4(prefix.address);
}

struct Owned {
  Prefix prefix;
  uint16_t owner;
};

}  // namespace

Peers::Peers(const std::vector<Prefix>& vips, const std::vector<PeerConfig>& peers) : peers_(peers) {
  std::vector<Owned> all;
  for (const Prefix& prefix : vips) all.push_back({prefix, kLocal});
  for (size_t peer = 0; peer < peers.size(); ++peer) {
    for (const Prefix& prefix : peers[peer].vips) all.push_back({prefix, static_cast<uint16_t>(peer)});
  }
  std::ranges::stable_sort(all, {}, [](const Owned& owned) { return owned.prefix.length; });
  for (const auto& [prefix, owner] : all) {
    const std::span<const uint8_t> octets(prefix.address);
    if (covers_ipv4_only(prefix)) {
      ipv4_.add(octets.subspan(12), prefix.length - kMappedBits, owner);
    } else {
      ipv6_.add(octets, prefix.length, owner);
    }
  }
}

}  // namespace psp
