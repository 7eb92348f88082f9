// SPDX-License-Identifier: Apache-2.0
// A master key and what it derives: the key of every SPI it rules (PSP specification, "Key Derivation":
// NIST SP 800-108 in counter mode with AES-256-CMAC). Its octets lie in locked memory and are wiped at the
// end.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

namespace psp {

// The top bit of an SPI names the master key slot that rules it.
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

  // Writes the key_length(version) octets of the SPI's key. Allocates nothing. Any thread.
  void derive(uint32_t spi, uint8_t version, uint8_t* key) const;

 private:
  struct State;
  State* state_;
};

}  // namespace psp
