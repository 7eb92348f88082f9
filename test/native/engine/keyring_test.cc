// SPDX-License-Identifier: Apache-2.0
// The keyring hands out SPIs of the active master key only, each once, with the keys that the main lcore
// derives.
#include "engine/software/keyring.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <set>

namespace psp {
namespace {

using Key = std::array<uint8_t, 32>;

Key derived(const MasterKey& master, uint32_t spi) {
  Key key{};
  master.derive(spi, 1, key.data());
  return key;
}

class KeyringTest : public testing::Test {
 protected:
  // A rotation as the rings carry it: prepared, taken by the main lcore, completed.
  static void rotate(MasterKeys& keys, Keyring& keyring) {
    keyring.prepare();
    keys.rotate();
    keyring.activate();
  }
  MasterKeys keys_;
};

TEST_F(KeyringTest, OffersOfTheFirstKeyLieInSlotZeroAndTheMainLcoreDerivesTheSameKeys) {
  Keyring keyring(keys_);
  EXPECT_EQ(keyring.active_slot(), 0);
  EXPECT_EQ(keyring.generation(), 1u);
  EXPECT_EQ(keys_.by_slot[1], nullptr);
  for (int i = 0; i < 10; ++i) {
    Key key{};
    const std::optional<uint32_t> spi = keyring.next_spi(1, key.data());
    ASSERT_TRUE(spi);
    EXPECT_EQ(slot_of(*spi), 0);
    EXPECT_EQ(key, derived(*keys_.by_slot[0], *spi));
  }
}

TEST_F(KeyringTest, AVersionZeroKeyIsSixteenOctetsLong) {
  Keyring keyring(keys_);
  Key key;
  key.fill(0xee);
  ASSERT_TRUE(keyring.next_spi(0, key.data()));
  EXPECT_NE(std::count(key.begin(), key.begin() + 16, 0xee), 16);
  for (size_t i = 16; i < key.size(); ++i) EXPECT_EQ(key[i], 0xee);
}

TEST_F(KeyringTest, APreparedKeyOffersNothingUntilTheMainLcoreHasIt) {
  Keyring keyring(keys_);
  Key key{};
  keyring.prepare();
  EXPECT_EQ(keys_.next_slot, 1);
  EXPECT_EQ(slot_of(*keyring.next_spi(1, key.data())), 0);
  EXPECT_EQ(keyring.generation(), 1u);
  EXPECT_EQ(keys_.rotate(), 1);
  EXPECT_EQ(slot_of(*keyring.next_spi(1, key.data())), 0);

  keyring.activate();
  EXPECT_EQ(keyring.generation(), 2u);
  const uint32_t spi = *keyring.next_spi(1, key.data());
  EXPECT_EQ(slot_of(spi), 1);
  EXPECT_EQ(key, derived(*keys_.by_slot[1], spi));
}

TEST_F(KeyringTest, TheKeyThatARotationReplacesIsGoneOnceItHasCompleted) {
  Keyring keyring(keys_);
  rotate(keys_, keyring);
  EXPECT_NE(keys_.by_slot[0], nullptr);
  keyring.prepare();
  keys_.rotate();
  EXPECT_NE(keys_.next, nullptr);
  keyring.activate();
  EXPECT_EQ(keys_.next, nullptr);
  EXPECT_EQ(keyring.active_slot(), 0);
}

TEST_F(KeyringTest, AnSpiNeverComesTwiceUnderOneMasterKey) {
  Keyring keyring(keys_, 1000);
  for (int rotation = 0; rotation < 4; ++rotation) {
    std::set<uint32_t> given;
    Key key{};
    while (const std::optional<uint32_t> spi = keyring.next_spi(1, key.data())) {
      EXPECT_TRUE(given.insert(*spi).second);
      EXPECT_NE(*spi & 0x7fffffff, 0u);
      EXPECT_EQ(slot_of(*spi), keyring.active_slot());
    }
    EXPECT_EQ(given.size(), 1000u);
    rotate(keys_, keyring);
  }
}

TEST_F(KeyringTest, ASlotFilledAgainHoldsAnotherKey) {
  Keyring keyring(keys_);
  const Key first = derived(*keys_.by_slot[0], 1);
  rotate(keys_, keyring);
  rotate(keys_, keyring);
  EXPECT_EQ(keyring.active_slot(), 0);
  EXPECT_NE(derived(*keys_.by_slot[0], 1), first);
}

TEST_F(KeyringTest, RotationEndsExhaustion) {
  Keyring keyring(keys_, 2);
  Key key{};
  EXPECT_TRUE(keyring.next_spi(1, key.data()));
  EXPECT_TRUE(keyring.next_spi(1, key.data()));
  EXPECT_FALSE(keyring.next_spi(1, key.data()));
  keyring.prepare();
  keys_.rotate();
  EXPECT_FALSE(keyring.next_spi(1, key.data()));
  keyring.activate();
  EXPECT_TRUE(keyring.next_spi(1, key.data()));
}

TEST_F(KeyringTest, SpisOfEachKeyBeginAtARandomNumber) {
  Key key{};
  std::set<uint32_t> first;
  for (int i = 0; i < 8; ++i) first.insert(*Keyring(keys_).next_spi(1, key.data()));
  EXPECT_EQ(first.size(), 8u);
}

}  // namespace
}  // namespace psp
