// SPDX-License-Identifier: Apache-2.0
// Longest prefix match, compared with a search through all prefixes.
#include "engine/ip/prefix_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>

#include "engine/ip/peers.h"
#include "frames.h"

namespace psp {
namespace {

template <size_t Octets>
struct Entry {
  std::array<uint8_t, Octets> address;
  unsigned length;
  uint16_t value;

  bool contains(const std::array<uint8_t, Octets>& other) const {
    for (unsigned bit = 0; bit < length; ++bit) {
      if ((address[bit / 8] ^ other[bit / 8]) >> (7 - bit % 8) & 1) return false;
    }
    return true;
  }
};

// Octets of few values, so that prefixes overlap.
template <size_t Octets>
std::array<uint8_t, Octets> random_address(std::mt19937& random) {
  std::array<uint8_t, Octets> address{};
  for (uint8_t& octet : address) octet = static_cast<uint8_t>(random() % 3 * 0x55);
  return address;
}

template <size_t Octets>
void agrees_with_search(bool has_default, unsigned shortest) {
  std::mt19937 random(11);
  std::vector<Entry<Octets>> entries;
  if (has_default) entries.push_back({{}, 0, 7});
  for (uint16_t n = 0; n < 300; ++n) {
    const unsigned length = shortest + random() % (Octets * 8 - shortest + 1);
    Entry<Octets> entry{random_address<Octets>(random), length, n};
    for (unsigned bit = length; bit < Octets * 8; ++bit) {
      entry.address[bit / 8] &= static_cast<uint8_t>(~(0x80 >> bit % 8));
    }
    const auto is_same = [&](const Entry<Octets>& other) {
      return other.length == length && other.address == entry.address;
    };
    if (std::ranges::none_of(entries, is_same)) entries.push_back(entry);
  }
  std::ranges::stable_sort(entries, {}, &Entry<Octets>::length);
  PrefixTable table;
  for (const auto& entry : entries) table.add(entry.address, entry.length, entry.value);
  for (int i = 0; i < 20000; ++i) {
    auto address = random_address<Octets>(random);
    if (i % 2 == 0) address[random() % Octets] = static_cast<uint8_t>(random());
    uint16_t expected = PrefixTable::kNoMatch;
    for (const auto& entry : entries) {
      if (entry.contains(address)) expected = entry.value;
    }
    ASSERT_EQ(table.find(address.data()), expected) << i;
  }
}

TEST(PrefixTable, FindsTheLongestPrefixOfIpv4) {
  agrees_with_search<4>(false, 8);
  agrees_with_search<4>(true, 8);
}

TEST(PrefixTable, FindsTheLongestPrefixOfIpv6) {
  agrees_with_search<16>(false, 8);
  agrees_with_search<16>(true, 8);
}

TEST(PrefixTable, WithoutPrefixesMatchesNothing) {
  const PrefixTable table;
  const uint8_t address[16] = {};
  EXPECT_EQ(table.find(address), PrefixTable::kNoMatch);
}

TEST(Peers, KeepTheFamiliesApart) {
  const Peers peers({prefix("0.0.0.0/0")}, {{.vips = {prefix("::/0")}}, {.vips = {prefix("10.2.0.0/16")}}});
  EXPECT_EQ(peers.owner(address("192.0.2.1")), Peers::kLocal);
  EXPECT_EQ(peers.owner(address("10.2.0.1")), 1);
  EXPECT_EQ(peers.owner(address("2001:db8::1")), 0);
}

}  // namespace
}  // namespace psp
