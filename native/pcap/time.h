// SPDX-License-Identifier: Apache-2.0
// Capture times of frames in both formats, in any time unit of the file. Computed only on demand.
#pragma once

#include <optional>

#include "pcap/record.h"

namespace psp {

// Nanoseconds since 1970. Returns nothing if the record has no time, or a time before 1970 or beyond 64 bits.
std::optional<uint64_t> captured_at_ns(const CaptureRecord& frame);

}  // namespace psp
