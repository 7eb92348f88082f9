// SPDX-License-Identifier: Apache-2.0
// The master keys of a software engine. The control thread prepares the next one and then submits the
// rotation; the main lcore swaps it for the older one when it carries the rotation out; once the rotation has
// completed, the control thread wipes the key that came back. The rings of commands order these steps, so
// there is no lock.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <utility>

#include "psp/master_key.h"

namespace psp {

struct MasterKeys {
  std::array<std::unique_ptr<MasterKey>, 2> by_slot;  // written by the main lcore only, once it runs
  uint8_t next_slot = 0;
  std::unique_ptr<MasterKey> next;

  // Main lcore: swaps the prepared key for the one in its slot. Returns the slot.
  uint8_t rotate() {
    std::swap(by_slot[next_slot & 1], next);
    return next_slot & 1;
  }
};

}  // namespace psp
