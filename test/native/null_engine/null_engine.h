// SPDX-License-Identifier: Apache-2.0
// An engine that carries no packet and honours every command.
#pragma once

#include <memory>

#include "engine/engine.h"

namespace psp {

std::unique_ptr<Engine> make_null_engine();

}  // namespace psp
