// SPDX-License-Identifier: Apache-2.0
// The library that seals and opens in the gateways of the engine's tests: the fastest there is, or the one
// that PSP_TEST_AEAD names: avx2 (libipsec-mb with no more than that) or libcrypto.
#pragma once

#include <cstdlib>
#include <string>

#include "psp/aead.h"

namespace psp {

inline std::unique_ptr<Aead> chosen_aead() {
  const char* const variable = std::getenv("PSP_TEST_AEAD");
  const std::string choice = variable == nullptr ? "" : variable;
  std::unique_ptr<Aead> aead;
  if (choice.empty()) aead = make_aead_ipsec_mb();
  if (choice == "avx2") aead = make_aead_ipsec_mb_avx2();
  return aead ? std::move(aead) : make_aead_libcrypto();
}

}  // namespace psp
