// SPDX-License-Identifier: Apache-2.0
// Files by plain system calls: reader and writer do the buffering.
#include "pcap/source.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "pcap/fault.h"

namespace psp {

namespace {

[[noreturn]] void fail(CaptureFaultKind kind) {
  const char* const name = strerrorname_np(errno);
  throw CaptureFault(kind, 0, name ? name : std::to_string(errno));
}

}  // namespace

size_t FileSource::read(uint8_t* into, size_t capacity) {
  while (true) {
    const ssize_t got = ::read(descriptor_, into, capacity);
    if (got >= 0) return static_cast<size_t>(got);
    if (errno != EINTR) fail(CaptureFaultKind::kRead);
  }
}

void FileSink::write(std::span<const uint8_t> octets) {
  while (!octets.empty()) {
    const ssize_t put = ::write(descriptor_, octets.data(), octets.size());
    if (put < 0 && errno != EINTR) fail(CaptureFaultKind::kWrite);
    if (put > 0) octets = octets.subspan(static_cast<size_t>(put));
  }
}

size_t MemorySource::read(uint8_t* into, size_t capacity) {
  const size_t count = std::min(capacity, rest_.size());
  std::copy_n(rest_.begin(), count, into);
  rest_ = rest_.subspan(count);
  return count;
}

void MemorySink::write(std::span<const uint8_t> more) {
  octets.insert(octets.end(), more.begin(), more.end());
}

}  // namespace psp
