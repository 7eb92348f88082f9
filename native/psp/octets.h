// SPDX-License-Identifier: Apache-2.0
// Loads and stores of integers in network byte order at any alignment.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace psp {

inline uint16_t swap_to_network(uint16_t value) {
  return std::endian::native == std::endian::little ? __builtin_bswap16(value) : value;
}
inline uint32_t swap_to_network(uint32_t value) {
  return std::endian::native == std::endian::little ? __builtin_bswap32(value) : value;
}
inline uint64_t swap_to_network(uint64_t value) {
  return std::endian::native == std::endian::little ? __builtin_bswap64(value) : value;
}

template <typename T>
inline T load(const uint8_t* octets) {
  T value;
  std::memcpy(&value, octets, sizeof value);
  return swap_to_network(value);
}
template <typename T>
inline void store(uint8_t* octets, T value) {
  value = swap_to_network(value);
  std::memcpy(octets, &value, sizeof value);
}

inline uint16_t load_u16(const uint8_t* octets) {
  return load<uint16_t>(octets);
}
inline uint32_t load_u32(const uint8_t* octets) {
  return load<uint32_t>(octets);
}
inline uint64_t load_u64(const uint8_t* octets) {
  return load<uint64_t>(octets);
}
inline void store_u16(uint8_t* octets, uint16_t value) {
  store(octets, value);
}
inline void store_u32(uint8_t* octets, uint32_t value) {
  store(octets, value);
}
inline void store_u64(uint8_t* octets, uint64_t value) {
  store(octets, value);
}

}  // namespace psp
