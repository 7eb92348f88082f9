// SPDX-License-Identifier: Apache-2.0
// When frames were captured, read where somebody asks: the times of both formats, in whatever unit the file
// counts them.
#pragma once

#include <optional>

#include "pcap/record.h"

namespace psp {

// Nanoseconds since 1970; nothing where the record has no time, or one before 1970 or beyond 64 bits.
std::optional<uint64_t> captured_at_ns(const CaptureRecord& frame);

}  // namespace psp
