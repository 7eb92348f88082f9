// SPDX-License-Identifier: Apache-2.0
// Frames in a row that go to one host, in order. Empty between two bursts.
#pragma once

#include <rte_mbuf.h>

#include "engine/memory/inplace_vector.h"
#include "engine/ports/packet.h"
#include "psp/address.h"

namespace psp {

struct Delivery {
  Address host;
  InplaceVector<rte_mbuf*, kBurst> mbufs;
};

}  // namespace psp
