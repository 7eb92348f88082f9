// SPDX-License-Identifier: Apache-2.0
// What becomes of a frame that is sealed or opened.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "psp/mode.h"

namespace psp {

struct FrameFate {
  // What takes its place, lent until the next call; nothing: it is copied.
  std::optional<std::span<const uint8_t>> frame = {};

  // Of a frame that is copied: what it is, as reports name it.
  std::string kind = {};

  // Of all others.
  Mode mode = Mode::kTunnel;
  size_t padding = 0;      // octets behind the packet that are left out
  bool completed = false;  // its IPv4 header checksum or its length had been left to the interface
};

}  // namespace psp
