// SPDX-License-Identifier: Apache-2.0
// The one place that maps the name of an engine (engine.kind of the node file) to its maker. Another build of
// the addon may link another list.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "engine/engine.h"

namespace psp {

struct EngineKind {
  std::string_view name;
  std::unique_ptr<Engine> (*make)();
};

// Those that were built in.
std::span<const EngineKind> engine_kinds();
// Null when no engine of that name was built in.
inline std::unique_ptr<Engine> make_engine(std::string_view kind) {
  for (const EngineKind& one : engine_kinds()) {
    if (one.name == kind) return one.make();
  }
  return nullptr;
}

}  // namespace psp
