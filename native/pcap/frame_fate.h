// SPDX-License-Identifier: Apache-2.0
// The result of sealing or opening a frame.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "psp/mode.h"

namespace psp {

struct FrameFate {
  // The new frame, valid until the next call; absent if the frame is copied unchanged.
  std::optional<std::span<const uint8_t>> frame = {};

  // Of a copied frame: its kind, for reports.
  std::string kind = {};

  // Of all other frames:
  Mode mode = Mode::kTunnel;
  size_t padding = 0;      // octets after the packet that are omitted
  bool completed = false;  // a checksum or length that was left to the interface was filled in
};

}  // namespace psp
