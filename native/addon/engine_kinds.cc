// SPDX-License-Identifier: Apache-2.0
// The shipped addon has the software engine.
#include "addon/engine_kinds.h"

#include "engine/software/software_engine.h"

namespace psp {

std::span<const EngineKind> engine_kinds() {
  static constexpr EngineKind kKinds[] = {{"software", [] { return make_software_engine(); }}};
  return kKinds;
}

}  // namespace psp
