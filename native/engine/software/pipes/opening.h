// SPDX-License-Identifier: Apache-2.0
// PSP packets of a burst whose headers are read, in order, and those of them that wait for the AEAD. Empty
// between two bursts.
#pragma once

#include <array>
#include <cstdint>

#include "engine/ports/packet.h"
#include "psp/aead.h"
#include "psp/header.h"

namespace psp {

struct Reading {
  Packet* packet;
  Header header;
  uint8_t* psp;
  size_t length;    // of it
  uint32_t hash;    // of the SPI, unless as_before
  uint32_t number;  // record of the SPI, likely at first, and certain once it was looked up; 0: none of ours
  void* key;        // expanded, when it was at hand
  bool to_us;
  bool as_before;  // SPI, version and to_us are those of the reading in front of this one
};

struct Opening {
  std::array<Reading, kBurst> readings;
  uint16_t read = 0;
  std::array<Reading*, kBurst> fresh;  // those that are not as before
  uint16_t fresh_count = 0;
  std::array<AeadJob, kBurst> jobs;
  std::array<Reading*, kBurst> waiting;  // whose they are
  uint16_t count = 0;
  Packet* kept = nullptr;  // where the next one is that goes on
  uint64_t octets = 0;     // sealed, of those
  uint16_t sampled = 0;    // how many of them carry S
};

}  // namespace psp
