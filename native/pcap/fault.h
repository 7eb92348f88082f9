// SPDX-License-Identifier: Apache-2.0
// What ends work on a capture file: the one exception of this room, told by the frame that it is about.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <utility>

namespace psp {

enum class CaptureFaultKind : uint8_t {
  kMalformed,  // not a capture, cut in the middle, or with lengths that cannot be
  kNotSealed,  // a frame that cannot be encrypted as asked
  kNotOpened,  // a frame with PSP that does not open
  kNoIv,       // no IV is left for a frame, and so for none behind it
  kRead,       // the system call failed; detail is the name of its errno
  kWrite,
};

class CaptureFault : public std::exception {
 public:
  CaptureFault(CaptureFaultKind kind, uint64_t frame, std::string detail)
      : kind(kind), frame(frame), detail(std::move(detail)) {}
  const char* what() const noexcept override { return detail.c_str(); }

  CaptureFaultKind kind;
  uint64_t frame;      // counted from 1 over the whole file; 0: about no frame
  std::string detail;  // the second half of a sentence; holds no key octet
};

}  // namespace psp
