// SPDX-License-Identifier: Apache-2.0
// How many packets one key may seal.
#pragma once

#include <cstdint>

namespace psp {

// The most packets that are sealed under one key. NIST SP 800-38D, section 8.3, allows 2^32 invocations of
// GCM under one key, unless every IV is made by the deterministic construction of section 8.2.1. Ours is: SPI
// and a 64-bit counter. The limit holds anyway, because it also bounds what ciphertexts reveal: with packets
// of 64 KiB an attacker's advantage from colliding blocks stays below 2^-40. The space of IVs is no limit, as
// a counter that starts at Unix milliseconds << 22 has at least 2^60 values ahead (Control::install).
inline constexpr uint64_t kMostSealedPerKey = uint64_t{1} << 32;

}  // namespace psp
