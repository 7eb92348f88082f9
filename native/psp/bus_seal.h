// SPDX-License-Identifier: Apache-2.0
// The dataplane's implementation of bus seals, byte for byte compatible with services/shared/bus/seal.ts
// (docs/contracts.md, "Seals"). Single-threaded.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "psp/address.h"
#include "psp/mode.h"
#include "psp/secret.h"

namespace psp {

// A receive SPI as its receiver offered it, without its key.
struct Offer {
  uint32_t spi = 0;
  uint8_t version = 0;
  std::optional<uint64_t> number;
  uint64_t cookie = 0;
  Mode mode = Mode::kTunnel;
  Address address{};
  MacAddress mac{};
};

struct RequestId {
  std::array<uint8_t, 32> start{};
  uint64_t counter = 0;
};

enum class KeyRole : uint8_t { kOffer = 1, kEgress = 2 };

// The fields of a message that a seal binds, apart from node and sender.
struct SealContext {
  std::string contract;
  uint64_t epoch = 0;
  std::optional<RequestId> request;  // in replies: the id of the request
  KeyRole role = KeyRole::kOffer;
  std::string peer;
  uint64_t exchange = 0;
  std::optional<uint64_t> peer_epoch;
  std::span<const FlowKey> flows;
  std::span<const Offer> offers;
};

struct Seal {
  RequestId id;
  std::vector<uint8_t> box;  // ciphertext, then the 16-octet tag
};

class BusSealer {
 public:
  BusSealer(std::span<const uint8_t, 32> secret, const std::string& node, const std::string& sender);
  ~BusSealer();
  BusSealer& operator=(BusSealer&&) noexcept;
  // `keys`: the concatenated keys of context.offers.
  Seal seal(const SealContext& context, std::span<const uint8_t> keys);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

enum class SealFault : uint8_t { kNone, kInvalid, kReplay };

class BusOpener {
 public:
  BusOpener(std::span<const uint8_t, 32> secret, const std::string& node, const std::string& sender);
  ~BusOpener();
  // Also opens seals that are made with this secret from now on.
  void add_secret(std::span<const uint8_t, 32> secret);
  // Wipes the oldest of several secrets and the keys that were derived from it. Their seals stay invalid even
  // if the secret is added again, so that no seal is ever opened twice.
  void retire_secret();
  // On success *keys holds the concatenated keys of context.offers.
  SealFault open(const SealContext& context, const Seal& seal, SecretVector<uint8_t>* keys);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace psp
