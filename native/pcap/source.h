// SPDX-License-Identifier: Apache-2.0
// Input and output of captures: open files, or memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace psp {

inline constexpr size_t kChunk = 256 * 1024;  // octets that are read or written at once

class Source {
 public:
  virtual ~Source() = default;
  // Reads up to `capacity` octets, at least one; returns 0 at the end. Throws CaptureFault.
  virtual size_t read(uint8_t* into, size_t capacity) = 0;
};

class Sink {
 public:
  virtual ~Sink() = default;
  // Writes all octets. Throws CaptureFault.
  virtual void write(std::span<const uint8_t> octets) = 0;
};

// Reads an open descriptor from its current position; the caller closes it.
class FileSource : public Source {
 public:
  explicit FileSource(int descriptor) : descriptor_(descriptor) {}
  size_t read(uint8_t* into, size_t capacity) override;

 private:
  int descriptor_;
};

class FileSink : public Sink {
 public:
  explicit FileSink(int descriptor) : descriptor_(descriptor) {}
  void write(std::span<const uint8_t> octets) override;

 private:
  int descriptor_;
};

// Borrows the octets.
class MemorySource : public Source {
 public:
  explicit MemorySource(std::span<const uint8_t> octets) : rest_(octets) {}
  size_t read(uint8_t* into, size_t capacity) override;

 private:
  std::span<const uint8_t> rest_;
};

class MemorySink : public Sink {
 public:
  void write(std::span<const uint8_t> octets) override;

  std::vector<uint8_t> octets;
};

}  // namespace psp
