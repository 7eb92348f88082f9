// SPDX-License-Identifier: Apache-2.0
// The list of engines of the addon that tests load: the null engine alone.
#include "addon/engine_kinds.h"

#include "null_engine.h"

namespace psp {

std::span<const EngineKind> engine_kinds() {
  static constexpr EngineKind kKinds[] = {{"null_engine", make_null_engine}};
  return kKinds;
}

}  // namespace psp
