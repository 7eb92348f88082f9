// SPDX-License-Identifier: Apache-2.0
// Frames in a row that go to one host, in order. Empty between two bursts.
#pragma once

#include <rte_mbuf.h>

#include <array>
#include <cstdint>

#include "engine/packet.h"
#include "psp/address.h"

namespace psp {

struct Delivery {
  Address host;
  std::array<rte_mbuf*, kBurst> mbufs;
  uint16_t count = 0;
};

}  // namespace psp
