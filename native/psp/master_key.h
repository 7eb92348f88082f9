// SPDX-License-Identifier: Apache-2.0
// A master key, from which the key of every SPI of its slot is derived (PSP specification, "Key Derivation":
// NIST SP 800-108 in counter mode with AES-256-CMAC). Its octets are in locked memory and are wiped by the
// destructor.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

namespace psp {

// The top bit of an SPI selects the master key slot.
inline constexpr uint8_t slot_of(uint32_t spi) {
  return static_cast<uint8_t>(spi >> 31);
}

class MasterKey {
 public:
  // Copies 32 octets.
  explicit MasterKey(std::span<const uint8_t, 32> octets);
  ~MasterKey();
  MasterKey(const MasterKey&) = delete;
  MasterKey& operator=(const MasterKey&) = delete;

  // Writes the key of the SPI, key_length(version) octets. Does not allocate. May be called from any thread.
  void derive(uint32_t spi, uint8_t version, uint8_t* key) const;

 private:
  struct State;
  State* state_;
};

}  // namespace psp
