// SPDX-License-Identifier: Apache-2.0
// Longest prefix match over addresses of one family: DIR-24-8. The first table has an entry for each value of
// the first 24 bits, so a look-up of an IPv4 prefix of at most 24 bits reads one entry. A longer prefix takes
// groups of 256 entries, one for each octet. Only pages that hold prefixes take memory. Filled by one thread,
// then read by any.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/memory/slab.h"

namespace psp {

class PrefixTable {
 public:
  static constexpr uint16_t kNoMatch = 0xffff;

  // Throws std::bad_alloc.
  PrefixTable() : first_(size_t{1} << 24) { first_.map_for_reading(); }

  // Adds a prefix of an address. Prefixes are added in the order of their lengths, the shortest first: one
  // that is added later replaces those that contain it. `value` is less than kNoMatch. Throws std::bad_alloc.
  void add(std::span<const uint8_t> address, unsigned length, uint16_t value);

  // The value of the longest prefix that contains the address, or kNoMatch. The address has as many octets as
  // those that were added.
  uint16_t find(const uint8_t* address) const {
    uint32_t entry = first_[static_cast<uint32_t>(address[0]) << 16 | address[1] << 8 | address[2]];
    for (const uint8_t* next = address + 3; (entry & kIsGroup) != 0; ++next) {
      entry = groups_[(entry & ~kIsGroup) << 8 | *next];
    }
    return entry == 0 ? default_ : static_cast<uint16_t>(entry - 1);
  }

 private:
  // Of an entry that names a group. Otherwise an entry is a value + 1, or 0: no prefix beyond the default.
  static constexpr uint32_t kIsGroup = 0x8000'0000;

  // The group that an entry names, made if there is none, with the entry's value in all of its entries.
  uint32_t group_of(uint32_t& entry);

  ZeroedArray<uint32_t> first_;
  std::vector<uint32_t> groups_;
  uint16_t default_ = kNoMatch;  // of the prefix of length 0
};

}  // namespace psp
