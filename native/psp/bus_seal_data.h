// SPDX-License-Identifier: Apache-2.0
// The associated data of a bus seal: the fields that it binds besides the keys (docs/contracts.md, "Seals").
#pragma once

#include <string>
#include <vector>

#include "psp/bus_seal.h"

namespace psp {

// Serializes the fields in their fixed order: strings with a length octet before them, integers big-endian,
// optional integers with a presence octet before them, addresses as 16 octets. `own`: the id of the seal
// itself, which is bound if the message replies to no request.
std::vector<uint8_t> associated_data(const SealContext& context, const std::string& node,
                                     const std::string& sender, const RequestId& own);

}  // namespace psp
