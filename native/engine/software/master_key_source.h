// SPDX-License-Identifier: Apache-2.0
// Where the octets of master keys come from. A module of its own, so that an addon for tests can be linked
// with another source (test/native/known_keys) and the shipped one needs no option that chooses it.
#pragma once

#include <cstdint>
#include <span>

namespace psp {

// Writes the octets of a new master key. The caller wipes them. Throws std::system_error.
void draw_master_key(std::span<uint8_t, 32> octets);

}  // namespace psp
