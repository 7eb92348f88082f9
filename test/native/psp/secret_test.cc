// SPDX-License-Identifier: Apache-2.0
// Secrets in locked memory: they are wiped when they are freed, and counted when they could not be locked.
#include "psp/secret.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <random>
#include <set>
#include <string>

namespace psp {
namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

size_t locked_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmLck:", 0) == 0) return std::stoul(line.substr(6));
  }
  return 0;
}

TEST(Secret, ManySmallSecretsShareLockedPages) {
  if (kSanitized) GTEST_SKIP() << "the sanitizer disables mlock";
  const size_t before = locked_kib();
  std::vector<void*> secrets;
  for (int i = 0; i < 1000; i++) secrets.push_back(allocate_secret(32));
  EXPECT_LE(locked_kib() - before, 80u);
  if (unlocked_bytes() == 0) {
    EXPECT_GE(locked_kib() - before, 60u);
  }
  for (void* secret : secrets) free_secret(secret, 32);
  EXPECT_EQ(locked_kib(), before) << "empty pages are unmapped";
}

TEST(Secret, NeverOverlapsAndIsAligned) {
  std::mt19937 random(11);
  struct Held {
    uint8_t* memory;
    size_t length;
    uint8_t mark;
  };
  std::vector<Held> held;
  for (int round = 0; round < 20000; round++) {
    if (held.size() < 200 && random() % 2) {
      const size_t length = 1 + random() % (random() % 8 ? 300 : 9000);
      Held one{static_cast<uint8_t*>(allocate_secret(length)), length, static_cast<uint8_t>(random())};
      ASSERT_EQ(reinterpret_cast<uintptr_t>(one.memory) % 64, 0u);
      std::fill_n(one.memory, length, one.mark);
      held.push_back(one);
    } else if (!held.empty()) {
      std::swap(held[random() % held.size()], held.back());
      const Held one = held.back();
      held.pop_back();
      ASSERT_EQ(std::count(one.memory, one.memory + one.length, one.mark),
                static_cast<ptrdiff_t>(one.length));
      free_secret(one.memory, one.length);
    }
  }
  for (const Held& one : held) free_secret(one.memory, one.length);
}

TEST(Secret, IsWipedWhenFreed) {
  uint8_t* neighbour = static_cast<uint8_t*>(allocate_secret(256));  // keeps the page mapped
  uint8_t* secret = static_cast<uint8_t*>(allocate_secret(256));
  std::fill_n(secret, 256, 0xaa);
  free_secret(secret, 256);
  EXPECT_EQ(std::count(secret, secret + 256, 0xaa), 0);
  free_secret(neighbour, 256);
}

TEST(Secret, IsLeftOutOfCoreDumps) {
  void* secret = allocate_secret(5000);
  std::ifstream maps("/proc/self/smaps");
  bool inside = false, left_out = false;
  for (std::string line; std::getline(maps, line);) {
    unsigned long from = 0, to = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &from, &to) == 2) {
      const auto address = reinterpret_cast<unsigned long>(secret);
      inside = from <= address && address < to;
    }
    if (inside && line.rfind("VmFlags:", 0) == 0) left_out = line.find(" dd") != std::string::npos;
  }
  EXPECT_TRUE(left_out);
  free_secret(secret, 5000);
}

TEST(Secret, IsUsedUnlockedAndCountedWhenTheLimitIsReached) {
  if (kSanitized) GTEST_SKIP() << "the sanitizer disables mlock";
  const auto with_a_low_memlock_limit = [] {
    const rlimit limit{16384, 16384};
    if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0 || (geteuid() == 0 && setuid(65534) != 0)) std::exit(2);
    void* small = allocate_secret(32);
    if (unlocked_bytes() != 0) std::exit(3);
    void* large = allocate_secret(100000);
    if (unlocked_bytes() < 100000) std::exit(4);
    free_secret(large, 100000);
    free_secret(small, 32);
    std::exit(unlocked_bytes() == 0 ? 0 : 5);
  };
  EXPECT_EXIT(with_a_low_memlock_limit(), testing::ExitedWithCode(0), "");
}

TEST(Secret, WipeOverwrites) {
  std::vector<uint8_t> memory(77, 0xaa);
  wipe(memory.data(), memory.size());
  EXPECT_EQ(memory, std::vector<uint8_t>(77));
}

TEST(Secret, RandomOctetsFillTheBuffer) {
  std::vector<uint8_t> first(4096), second(4096);
  random_octets(first);
  random_octets(second);
  EXPECT_NE(first, second);
  EXPECT_GT(std::set<uint8_t>(first.end() - 512, first.end()).size(), 100u);
}

}  // namespace
}  // namespace psp
