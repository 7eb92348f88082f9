// SPDX-License-Identifier: Apache-2.0
// Master keys are drawn from the kernel's random source.
#include "engine/software/master_key_source.h"

#include "psp/secret.h"

namespace psp {

void draw_master_key(std::span<uint8_t, 32> octets) {
  random_octets(octets);
}

}  // namespace psp
