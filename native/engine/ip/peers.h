// SPDX-License-Identifier: Apache-2.0
// The peers, and the owner of an address: this gateway (a local VIP), a peer, or nobody, by longest prefix
// over both. It never changes, so any thread may read it.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/config.h"
#include "engine/ip/prefix_table.h"

namespace psp {

class Peers {
 public:
  static constexpr uint16_t kNobody = PrefixTable::kNoMatch;
  static constexpr uint16_t kLocal = 0xfffe;

  // Throws std::bad_alloc.
  Peers(const std::vector<Prefix>& vips, const std::vector<PeerConfig>& peers);

  // A peer's index, kLocal or kNobody.
  uint16_t owner(const Address& address) const {
    return is_ipv4(address) ? ipv4_.find(address.data() + 12) : ipv6_.find(address.data());
  }
  size_t size() const { return peers_.size(); }
  const PeerConfig& operator[](uint16_t peer) const { return peers_[peer]; }
  const std::vector<PeerConfig>& all() const { return peers_; }

 private:
  const std::vector<PeerConfig> peers_;
  PrefixTable ipv4_, ipv6_;
};

}  // namespace psp
