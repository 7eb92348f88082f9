// SPDX-License-Identifier: Apache-2.0
// The keyring hands out SPIs of the active master key only, each once, and the engine's copies derive the
// same keys.
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

TEST(Keyring, OffersOfTheFirstKeyLieInSlotZeroAndTheEngineDerivesTheSameKeys) {
  Keyring keyring;
  const std::unique_ptr<MasterKey> engine_key = keyring.take_engine_key();
  EXPECT_EQ(keyring.active_slot(), 0);
  EXPECT_EQ(keyring.generation(), 1u);
  for (int i = 0; i < 10; ++i) {
    Key key{};
    const std::optional<uint32_t> spi = keyring.next_spi(1, key.data());
    ASSERT_TRUE(spi);
    EXPECT_EQ(slot_of(*spi), 0);
    EXPECT_EQ(key, derived(*engine_key, *spi));
  }
}

TEST(Keyring, AVersionZeroKeyIsSixteenOctetsLong) {
  Keyring keyring;
  Key key;
  key.fill(0xee);
  ASSERT_TRUE(keyring.next_spi(0, key.data()));
  EXPECT_NE(std::count(key.begin(), key.begin() + 16, 0xee), 16);
  for (size_t i = 16; i < key.size(); ++i) EXPECT_EQ(key[i], 0xee);
}

TEST(Keyring, NumbersRiseFromOneAndGoOnAcrossRotations) {
  Keyring keyring;
  EXPECT_EQ(keyring.next_number(), 1u);
  EXPECT_EQ(keyring.next_number(), 2u);
  keyring.prepare();
  keyring.activate();
  EXPECT_EQ(keyring.next_number(), 3u);
}

TEST(Keyring, APreparedKeyOffersNothingUntilTheEngineHasIt) {
  Keyring keyring;
  Key key{};
  const Keyring::Prepared prepared = keyring.prepare();
  EXPECT_EQ(prepared.slot, 1);
  EXPECT_EQ(slot_of(*keyring.next_spi(1, key.data())), 0);
  EXPECT_EQ(keyring.generation(), 1u);

  keyring.activate();
  EXPECT_EQ(keyring.generation(), 2u);
  const uint32_t spi = *keyring.next_spi(1, key.data());
  EXPECT_EQ(slot_of(spi), 1);
  EXPECT_EQ(key, derived(*prepared.engine_key, spi));
}

TEST(Keyring, PreparingAgainBeforeActivationReplacesThePreparedKeyAlone) {
  Keyring keyring;
  const std::unique_ptr<MasterKey> engine_key = keyring.take_engine_key();
  const Keyring::Prepared first = keyring.prepare();
  const Keyring::Prepared second = keyring.prepare();
  EXPECT_EQ(second.slot, 1);
  EXPECT_NE(derived(*first.engine_key, 0x80000001), derived(*second.engine_key, 0x80000001));
  Key key{};
  const uint32_t spi = *keyring.next_spi(1, key.data());
  EXPECT_EQ(key, derived(*engine_key, spi));
}

TEST(Keyring, AnSpiNeverComesTwiceUnderOneMasterKey) {
  Keyring keyring(1000);
  for (int rotation = 0; rotation < 4; ++rotation) {
    std::set<uint32_t> given;
    Key key{};
    while (const std::optional<uint32_t> spi = keyring.next_spi(1, key.data())) {
      EXPECT_TRUE(given.insert(*spi).second);
      EXPECT_NE(*spi & 0x7fffffff, 0u);
      EXPECT_EQ(slot_of(*spi), keyring.active_slot());
    }
    EXPECT_EQ(given.size(), 1000u);
    keyring.prepare();
    keyring.activate();
  }
}

TEST(Keyring, ASlotFilledAgainHoldsAnotherKey) {
  Keyring keyring;
  const std::unique_ptr<MasterKey> first = keyring.take_engine_key();
  keyring.prepare();
  keyring.activate();
  const Keyring::Prepared third = keyring.prepare();
  EXPECT_EQ(third.slot, 0);
  EXPECT_NE(derived(*first, 1), derived(*third.engine_key, 1));
}

TEST(Keyring, RotationEndsExhaustion) {
  Keyring keyring(2);
  Key key{};
  EXPECT_TRUE(keyring.next_spi(1, key.data()));
  EXPECT_TRUE(keyring.next_spi(1, key.data()));
  EXPECT_FALSE(keyring.next_spi(1, key.data()));
  keyring.prepare();
  EXPECT_FALSE(keyring.next_spi(1, key.data()));
  keyring.activate();
  EXPECT_TRUE(keyring.next_spi(1, key.data()));
}

TEST(Keyring, SpisOfEachKeyBeginAtARandomPlace) {
  Key key{};
  std::set<uint32_t> first;
  for (int i = 0; i < 8; ++i) first.insert(*Keyring().next_spi(1, key.data()));
  EXPECT_EQ(first.size(), 8u);
}

}  // namespace
}  // namespace psp
