// SPDX-License-Identifier: Apache-2.0
// The associated data of a bus seal: what it binds besides the keys (docs/contracts.md, "Seals").
#pragma once

#include <string>
#include <vector>

#include "psp/bus_seal.h"

namespace psp {

// Fields in their fixed order: texts with a length octet in front, integers big-endian, optional numbers with
// a presence octet in front, addresses as 16 octets. `own`: the id of the seal itself, bound where the
// message answers no request.
std::vector<uint8_t> associated_data(const SealContext& context, const std::string& node,
                                     const std::string& sender, const RequestId& own);

}  // namespace psp
