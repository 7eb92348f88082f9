// SPDX-License-Identifier: Apache-2.0
// The library that ends processes whose polling threads ask for memory, linked into this program: it does,
// and lets all others be.
#include <gtest/gtest.h>
#include <pthread.h>

#include <cstdlib>
#include <new>

namespace {

void be(const char* name) {
  pthread_setname_np(pthread_self(), name);
}

template <typename Ask>
void ask_while_polling(Ask&& ask) {
  be("psp polling");
  ask();
}

TEST(NoAllocation, EndsAProcessWhosePollingThreadAsksForMemory) {
  // A process of its own each, which no other thread is in.
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  constexpr char kText[] = "a polling thread asks for memory";
  EXPECT_DEATH(ask_while_polling([] { std::free(std::malloc(1)); }), kText);
  EXPECT_DEATH(ask_while_polling([] { std::free(std::calloc(1, 1)); }), kText);
  EXPECT_DEATH(ask_while_polling([] { std::free(std::realloc(nullptr, 1)); }), kText);
  EXPECT_DEATH(ask_while_polling([] { std::free(std::aligned_alloc(64, 64)); }), kText);
  EXPECT_DEATH(ask_while_polling([] { ::operator delete(::operator new(1)); }), kText);
  EXPECT_DEATH(ask_while_polling([] {
                 void* memory;
                 if (posix_memalign(&memory, 64, 64) == 0) std::free(memory);
               }),
               kText);
}

TEST(NoAllocation, LetsThreadsOfOtherNamesBe) {
  be("psp polling");
  be("psp ending");
  void* const memory = std::malloc(1);
  EXPECT_NE(memory, nullptr);
  std::free(memory);
}

}  // namespace
