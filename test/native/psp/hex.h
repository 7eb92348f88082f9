// SPDX-License-Identifier: Apache-2.0
// Conversion between octets and hex digits, and memory for expanded keys, for the tests of psp.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "psp/aead.h"

namespace psp::test {

using Octets = std::vector<uint8_t>;

inline Octets unhex(std::string_view text) {
  if (text.size() % 2 != 0) throw std::invalid_argument("odd number of hex digits");
  Octets octets;
  for (size_t i = 0; i < text.size(); i += 2) {
    octets.push_back(static_cast<uint8_t>(std::stoul(std::string(text.substr(i, 2)), nullptr, 16)));
  }
  return octets;
}

inline std::string hex(const uint8_t* octets, size_t length) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (size_t i = 0; i < length; i++) {
    text += kDigits[octets[i] >> 4];
    text += kDigits[octets[i] & 15];
  }
  return text;
}
inline std::string hex(const Octets& octets) {
  return hex(octets.data(), octets.size());
}

// An expanded key, constructed and destroyed as in the engine.
class ExpandedKey {
 public:
  ExpandedKey(const Aead& aead, const Octets& key, uint8_t version) : aead_(aead) {
    memory_ = std::aligned_alloc(kAeadKeyAlignment, aead.expanded_stride());
    aead.construct(memory_);
    aead.expand(memory_, key.data(), version);
  }
  ~ExpandedKey() {
    aead_.destroy(memory_);
    std::free(memory_);
  }
  ExpandedKey(const ExpandedKey&) = delete;
  ExpandedKey& operator=(const ExpandedKey&) = delete;
  void* get() const { return memory_; }

 private:
  const Aead& aead_;
  void* memory_;
};

// All AEAD libraries that this machine supports.
inline std::vector<std::unique_ptr<Aead>> all_aeads() {
  std::vector<std::unique_ptr<Aead>> aeads;
  aeads.push_back(make_aead_libcrypto());
  if (auto fast = make_aead_ipsec_mb()) aeads.push_back(std::move(fast));
  return aeads;
}

}  // namespace psp::test
