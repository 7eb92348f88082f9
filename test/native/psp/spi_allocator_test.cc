// SPDX-License-Identifier: Apache-2.0
// SPIs of one master key: the low 31 bits are never zero, no SPI repeats, and allocation ends.
#include "psp/spi_allocator.h"

#include <gtest/gtest.h>

#include <set>

#include "psp/master_key.h"

namespace psp {
namespace {

TEST(SpiAllocator, AllocatesSpisOfItsSlotInSequence) {
  SpiAllocator zero(0, 0x12345678), one(1, 0x92345678);
  EXPECT_EQ(zero.next(), 0x12345678u);
  EXPECT_EQ(zero.next(), 0x12345679u);
  EXPECT_EQ(one.next(), 0x92345678u);
  EXPECT_EQ(one.next(), 0x92345679u);
}

TEST(SpiAllocator, NeverAllocatesZeroInTheLow31Bits) {
  for (const uint8_t slot : {0, 1}) {
    SpiAllocator allocator(slot, 0x7fffffff);
    const uint32_t slot_bit = slot ? 0x80000000u : 0;
    EXPECT_EQ(allocator.next(), slot_bit | 0x7fffffff);
    EXPECT_EQ(allocator.next(), slot_bit | 1);
    EXPECT_EQ(SpiAllocator(slot, 0).next(), slot_bit | 1);
    EXPECT_EQ(SpiAllocator(slot, 0x80000000).next(), slot_bit | 1);
  }
}

TEST(SpiAllocator, EndsBeforeAnySpiRepeats) {
  SpiAllocator all(1, 77);
  EXPECT_EQ(all.remaining(), 0x7fffffffu);
  SpiAllocator few(1, 0x7ffffffe, 5);
  std::set<uint32_t> allocated;
  while (const auto spi = few.next()) {
    EXPECT_TRUE(allocated.insert(*spi).second);
    EXPECT_EQ(slot_of(*spi), 1);
  }
  EXPECT_EQ(allocated.size(), 5u);
  EXPECT_EQ(few.remaining(), 0u);
  EXPECT_EQ(few.next(), std::nullopt);
  EXPECT_EQ(SpiAllocator(0, 1, UINT32_MAX).remaining(), 0x7fffffffu);
}

}  // namespace
}  // namespace psp
