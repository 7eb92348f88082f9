// SPDX-License-Identifier: Apache-2.0
// The owner of an address: this gateway (a local VIP), a peer, or nobody, by longest prefix over both. Filled
// at start, read by the polling threads.
#pragma once

#include <rte_lpm.h>
#include <rte_lpm6.h>

#include <cstdint>
#include <vector>

#include "engine/config.h"

namespace psp {

class Peers {
 public:
  static constexpr uint16_t kNobody = 0xffff;
  static constexpr uint16_t kLocal = 0xfffe;

  // Throws EngineError when memory does not suffice.
  Peers(const std::vector<Prefix>& vips, const std::vector<PeerConfig>& peers);
  ~Peers();
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;

  // A peer's index, kLocal or kNobody.
  uint16_t owner(const Address& address) const {
    if (!is_ipv4(address)) return owner_ipv6(address);
    uint32_t found;
    return rte_lpm_lookup(ipv4_, load_u32(address.data() + 12), &found) == 0 ? static_cast<uint16_t>(found)
                                                                             : ipv4_default_;
  }

 private:
  uint16_t owner_ipv6(const Address& address) const;
  void add(const Prefix& prefix, uint16_t owner);

  rte_lpm* ipv4_ = nullptr;
  rte_lpm6* ipv6_ = nullptr;
  // The tables know no prefix of length 0.
  uint16_t ipv4_default_ = kNobody;
  uint16_t ipv6_default_ = kNobody;
};

}  // namespace psp
