// SPDX-License-Identifier: Apache-2.0
// The library that aborts processes whose polling threads allocate, linked into this program: it aborts for
// polling threads and no others.
#include <gtest/gtest.h>
#include <pthread.h>

#include <cstdlib>
#include <new>

namespace {

void set_thread_name(const char* name) {
  pthread_setname_np(pthread_self(), name);
}

template <typename Allocate>
void allocate_while_polling(Allocate&& allocate) {
  set_thread_name("psp polling");
  allocate();
}

TEST(NoAllocation, AbortsAProcessWhosePollingThreadAllocates) {
  // Each death test runs in its own process without other threads.
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  constexpr char kText[] = "a polling thread allocates memory";
  EXPECT_DEATH(allocate_while_polling([] { std::free(std::malloc(1)); }), kText);
  EXPECT_DEATH(allocate_while_polling([] { std::free(std::calloc(1, 1)); }), kText);
  EXPECT_DEATH(allocate_while_polling([] { std::free(std::realloc(nullptr, 1)); }), kText);
  EXPECT_DEATH(allocate_while_polling([] { std::free(std::aligned_alloc(64, 64)); }), kText);
  EXPECT_DEATH(allocate_while_polling([] { ::operator delete(::operator new(1)); }), kText);
  EXPECT_DEATH(allocate_while_polling([] {
                 void* memory;
                 if (posix_memalign(&memory, 64, 64) == 0) std::free(memory);
               }),
               kText);
}

TEST(NoAllocation, IgnoresThreadsWithOtherNames) {
  set_thread_name("psp polling");
  set_thread_name("psp ending");
  void* const memory = std::malloc(1);
  EXPECT_NE(memory, nullptr);
  std::free(memory);
}

}  // namespace
