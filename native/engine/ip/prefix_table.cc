// SPDX-License-Identifier: Apache-2.0
// A prefix fills the entries that it covers in the table where it ends.
#include "engine/ip/prefix_table.h"

#include <algorithm>

namespace psp {

namespace {
constexpr unsigned kFirstBits = 24;
constexpr uint32_t kGroupSize = 256;
}  // namespace

uint32_t PrefixTable::group_of(uint32_t& entry) {
  if ((entry & kIsGroup) != 0) return entry & ~kIsGroup;
  const auto group = static_cast<uint32_t>(groups_.size() / kGroupSize);
  groups_.resize(groups_.size() + kGroupSize, entry);
  entry = group | kIsGroup;
  return group;
}

void PrefixTable::add(std::span<const uint8_t> address, unsigned length, uint16_t value) {
  if (length == 0) {
    default_ = value;
    return;
  }
  const uint32_t entry = value + 1u;
  const uint32_t first = static_cast<uint32_t>(address[0]) << 16 | address[1] << 8 | address[2];
  if (length <= kFirstBits) {
    std::fill_n(&first_[first], 1u << (kFirstBits - length), entry);
    return;
  }
  uint32_t group = group_of(first_[first]);
  size_t octet = 3;
  unsigned left = length - kFirstBits;
  for (; left > 8; left -= 8, ++octet) {
    const size_t at = size_t{group} * kGroupSize + address[octet];
    uint32_t named = groups_[at];
    group = group_of(named);  // moves the groups
    groups_[at] = named;
  }
  std::fill_n(&groups_[size_t{group} * kGroupSize + address[octet]], 1u << (8 - left), entry);
}

}  // namespace psp
