// SPDX-License-Identifier: Apache-2.0
// What the main lcore publishes of its neighbours for the worker lcores: the MAC address of each resolved
// one, and until when it may be used. After that time frames go by the main lcore, which so sees that the
// neighbour is used, and verifies it. Without worker lcores nothing is published.
#pragma once

#include <cstdint>

#include "engine/memory/seqlock.h"
#include "engine/memory/slab.h"
#include "psp/ip_packet.h"

namespace psp {

struct KnownNeighbour {
  Address address;
  uint64_t until_ms;
  MacAddress mac;
  uint8_t unused[2];
};

class PublishedNeighbours {
 public:
  PublishedNeighbours(bool shared, uint32_t capacity)
      : shared_(shared), records_(shared ? size_t{capacity} + 1 : 1) {}

  bool is_shared() const { return shared_; }
  void publish(uint32_t index, const KnownNeighbour& neighbour) { records_[index].publish(neighbour); }
  void withdraw(uint32_t index) {
    if (shared_) records_[index].withdraw();
  }
  const Seqlock<KnownNeighbour>& operator[](uint32_t index) const { return records_[index]; }

 private:
  const bool shared_;
  ZeroedArray<Seqlock<KnownNeighbour>> records_;
};

}  // namespace psp
