// SPDX-License-Identifier: Apache-2.0
// Each pipe lists its edges, the ways by which a packet leaves it, in an enum at the top of its file. An edge
// that drops the packet has the value of its drop reason, so nothing translates edges into reasons. All other
// edges are numbered from kNextEdge on.
#pragma once

#include "engine/drop_reasons.h"

namespace psp {

inline constexpr uint8_t kNextEdge = kDropReasonCount;

// The value of an edge that drops.
constexpr uint8_t drops(Drop reason) {
  return static_cast<uint8_t>(reason);
}
// The same for a pipe of both directions.
constexpr uint8_t drops(Direction direction, Drop egress, Drop ingress) {
  return static_cast<uint8_t>(direction == Direction::kEgress ? egress : ingress);
}

template <typename Edge>
constexpr bool is_drop(Edge edge) {
  return static_cast<uint8_t>(edge) < kNextEdge;
}
// Only of an edge that drops.
template <typename Edge>
constexpr Drop reason_of(Edge edge) {
  return static_cast<Drop>(edge);
}

}  // namespace psp
