// SPDX-License-Identifier: Apache-2.0
// Commands from the control side. The main lcore carries them out between two bursts, entry by entry, over as
// many turns as the budget needs.
#pragma once

#include "engine/software/lcore/main_lcore.h"

namespace psp {

// Carries out a command, or goes on with it, at the time of the last turn and as far as the budget allows.
// False: there is more to do, in the next turn; no other command may come between.
bool carry_out(MainLcore& lcore, Command& command, Budget& budget);

}  // namespace psp
