// SPDX-License-Identifier: Apache-2.0
// The one exception of native/pcap: it ends the work on a capture file and names the frame at fault.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <utility>

namespace psp {

enum class CaptureFaultKind : uint8_t {
  kMalformed,  // not a capture, truncated, or with impossible lengths
  kNotSealed,  // a frame cannot be encrypted with the given options
  kNotOpened,  // a PSP frame cannot be decrypted
  kNoIv,       // no IV is left for this frame and all later ones
  kRead,       // the system call failed; detail is the name of its errno
  kWrite,
};

class CaptureFault : public std::exception {
 public:
  CaptureFault(CaptureFaultKind kind, uint64_t frame, std::string detail)
      : kind(kind), frame(frame), detail(std::move(detail)) {}
  const char* what() const noexcept override { return detail.c_str(); }

  CaptureFaultKind kind;
  uint64_t frame;      // counted from 1 over the file; 0 if the fault concerns no frame
  std::string detail;  // completes a sentence about the file or frame; never contains key octets
};

}  // namespace psp
