// SPDX-License-Identifier: Apache-2.0
// Bus seals: vectors that the TypeScript tests open too, the fields that a seal binds, and the replay window.
#include "psp/bus_seal.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <sstream>

#include "hex.h"
#include "psp/replay_window.h"
#include "vector_table.h"

namespace psp::test {
namespace {

const Octets kSecret(32, 0x5e);
std::span<const uint8_t, 32> secret() {
  return std::span<const uint8_t, 32>(kSecret);
}

template <size_t N>
std::array<uint8_t, N> array_of(const std::string& digits) {
  const Octets octets = unhex(digits);
  std::array<uint8_t, N> array{};
  std::copy_n(octets.begin(), N, array.begin());
  return array;
}

std::optional<uint64_t> index_of(const std::string& text) {
  if (text == kAbsent) return std::nullopt;
  return std::stoull(text);
}

// A row, with the memory that its context refers to.
struct Vector {
  std::vector<FlowKey> flows;
  std::vector<Offer> offers;
  SealContext context;
  Seal seal;
  Octets secret, keys;
};

Vector vector_of(const Row& row) {
  Vector vector;
  const auto each = [](const std::string& list, const std::function<void(std::istringstream&)>& read) {
    std::istringstream entries(list == kAbsent ? "" : list);
    for (std::string entry; std::getline(entries, entry, ',');) {
      std::istringstream words(entry);
      read(words);
    }
  };
  each(row.at("flows"), [&](std::istringstream& words) {
    std::string source, destination;
    words >> source >> destination;
    vector.flows.push_back({address_of(source), address_of(destination)});
  });
  each(row.at("offers"), [&](std::istringstream& words) {
    std::string version, spi, number, cookie, mode, address, mac;
    words >> version >> spi >> number >> cookie >> mode >> address >> mac;
    vector.offers.push_back({static_cast<uint32_t>(std::stoul(spi, nullptr, 16)),
                             static_cast<uint8_t>(std::stoul(version)), index_of(number),
                             std::stoull(cookie, nullptr, 16), static_cast<Mode>(std::stoul(mode)),
                             address_of(address), array_of<6>(mac)});
  });
  vector.context.contract = row.at("contract");
  vector.context.epoch = std::stoull(row.at("epoch"));
  if (row.at("request_start") != kAbsent) {
    vector.context.request = {array_of<32>(row.at("request_start")), std::stoull(row.at("request_counter"))};
  }
  vector.context.role = row.at("role") == "offer" ? KeyRole::kOffer : KeyRole::kEgress;
  vector.context.peer = row.at("peer");
  vector.context.exchange = std::stoull(row.at("exchange"));
  vector.context.peer_epoch = index_of(row.at("peer_epoch"));
  vector.context.flows = vector.flows;
  vector.context.offers = vector.offers;
  vector.seal = {{array_of<32>(row.at("start")), std::stoull(row.at("counter"))}, unhex(row.at("box"))};
  vector.secret = unhex(row.at("secret"));
  vector.keys = row.at("keys") == kAbsent ? Octets() : unhex(row.at("keys"));
  return vector;
}

class SealVector : public testing::TestWithParam<Row> {};

TEST_P(SealVector, OpensOnce) {
  const Vector vector = vector_of(GetParam());
  BusOpener opener(std::span<const uint8_t, 32>(vector.secret), GetParam().at("node"),
                   GetParam().at("sender"));
  SecretVector<uint8_t> keys;
  ASSERT_EQ(opener.open(vector.context, vector.seal, &keys), SealFault::kNone);
  EXPECT_EQ(hex(keys.data(), keys.size()), hex(vector.keys));
  EXPECT_EQ(opener.open(vector.context, vector.seal, &keys), SealFault::kReplay);
}

INSTANTIATE_TEST_SUITE_P(Table, SealVector, testing::ValuesIn(read_table("test/vectors/seal.txt")),
                         [](const auto& info) { return info.param.at("name"); });

// Sender and receiver of one node, with one flow and one offer.
class BusSeal : public testing::Test {
 protected:
  BusSeal() {
    offers_[0].version = 1;
    offers_[0].spi = 7;
    context_.contract = "evt.flow.missed";
    context_.peer = "b";
    context_.flows = flows_;
    context_.offers = offers_;
  }

  SealFault open(const SealContext& context, const Seal& seal) {
    SecretVector<uint8_t> keys;
    return opener_.open(context, seal, &keys);
  }

  std::vector<FlowKey> flows_ = std::vector<FlowKey>(1);
  std::vector<Offer> offers_ = std::vector<Offer>(1);
  SealContext context_;
  Octets keys_ = Octets(32, 0x77);
  BusSealer sealer_{secret(), "a", "dataplane"};
  BusOpener opener_{secret(), "a", "dataplane"};
};

TEST_F(BusSeal, OpensWhatItSealed) {
  const Seal seal = sealer_.seal(context_, keys_);
  EXPECT_EQ(hex(seal.box).find("7777"), std::string::npos);
  SecretVector<uint8_t> keys;
  ASSERT_EQ(opener_.open(context_, seal, &keys), SealFault::kNone);
  EXPECT_EQ(hex(keys.data(), keys.size()), hex(keys_));
}

TEST_F(BusSeal, IncrementsItsCounterAndNeverReusesANonce) {
  EXPECT_EQ(sealer_.seal(context_, keys_).id.counter, 1u);
  EXPECT_EQ(sealer_.seal(context_, keys_).id.counter, 2u);
  EXPECT_NE(BusSealer(secret(), "a", "dataplane").seal(context_, keys_).id.start,
            sealer_.seal(context_, keys_).id.start);
}

TEST_F(BusSeal, BindsEachFieldOfItsContext) {
  const Seal seal = sealer_.seal(context_, keys_);
  const std::vector<std::function<void(SealContext&)>> changes = {
      [](SealContext& c) { c.contract += "x"; },
      [](SealContext& c) { c.epoch++; },
      [](SealContext& c) { c.request = RequestId{}; },
      [](SealContext& c) { c.role = KeyRole::kEgress; },
      [](SealContext& c) { c.peer += "x"; },
      [](SealContext& c) { c.exchange++; },
      [](SealContext& c) { c.peer_epoch = 0; },
      [](SealContext& c) { c.flows = {}; },
      [&](SealContext&) { flows_[0].source[15] ^= 1; },
      [&](SealContext&) { flows_[0].destination[0] ^= 1; },
      [&](SealContext&) { offers_[0].version = 0; },
      [&](SealContext&) { offers_[0].spi ^= 1; },
      [&](SealContext&) { offers_[0].number = 0; },
      [&](SealContext&) { offers_[0].cookie ^= 1; },
      [&](SealContext&) { offers_[0].mode = Mode::kTransport; },
      [&](SealContext&) { offers_[0].address[3] ^= 1; },
      [&](SealContext&) { offers_[0].mac[5] ^= 1; },
  };
  for (size_t i = 0; i < changes.size(); i++) {
    const auto flows = flows_;
    const auto offers = offers_;
    SealContext changed = context_;
    changes[i](changed);
    EXPECT_EQ(open(changed, seal), SealFault::kInvalid) << "change " << i;
    std::copy(flows.begin(), flows.end(), flows_.begin());
    std::copy(offers.begin(), offers.end(), offers_.begin());
  }
  EXPECT_EQ(open(context_, seal), SealFault::kNone) << "a failed attempt does not consume the seal";
}

TEST_F(BusSeal, OpensOnlyWithItsNodeSenderAndSecret) {
  const Seal seal = sealer_.seal(context_, keys_);
  const Octets other(32, 0x5f);
  SecretVector<uint8_t> keys;
  EXPECT_EQ(BusOpener(secret(), "b", "dataplane").open(context_, seal, &keys), SealFault::kInvalid);
  EXPECT_EQ(BusOpener(secret(), "a", "keyexchange").open(context_, seal, &keys), SealFault::kInvalid);
  EXPECT_EQ(BusOpener(std::span<const uint8_t, 32>(other), "a", "dataplane").open(context_, seal, &keys),
            SealFault::kInvalid);
}

TEST_F(BusSeal, OpensUnderAnAddedSecretAndNeverAgainOnceItIsRetired) {
  const Octets other(32, 0x5f);
  const std::span<const uint8_t, 32> next(other);
  const Seal before = sealer_.seal(context_, keys_), late = sealer_.seal(context_, keys_);
  opener_.add_secret(next);
  sealer_ = BusSealer(next, "a", "dataplane");
  EXPECT_EQ(open(context_, sealer_.seal(context_, keys_)), SealFault::kNone);
  EXPECT_EQ(open(context_, before), SealFault::kNone);
  EXPECT_EQ(open(context_, before), SealFault::kReplay);
  opener_.retire_secret();
  EXPECT_EQ(open(context_, late), SealFault::kInvalid);
  EXPECT_EQ(open(context_, sealer_.seal(context_, keys_)), SealFault::kNone);
  opener_.retire_secret();
  EXPECT_EQ(open(context_, sealer_.seal(context_, keys_)), SealFault::kNone) << "the last secret stays";
  opener_.add_secret(secret());
  EXPECT_EQ(open(context_, before), SealFault::kInvalid) << "although its secret came back";
}

TEST_F(BusSeal, RejectsAFlippedBitAndATruncatedBox) {
  const Seal seal = sealer_.seal(context_, keys_);
  for (size_t bit = 0; bit < seal.box.size() * 8; bit++) {
    Seal flipped = seal;
    flipped.box[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    ASSERT_EQ(open(context_, flipped), SealFault::kInvalid);
  }
  for (size_t length = 0; length < seal.box.size(); length++) {
    Seal cut = seal;
    cut.box.resize(length);
    ASSERT_EQ(open(context_, cut), SealFault::kInvalid);
  }
}

TEST_F(BusSeal, RejectsKeysThatDoNotMatchTheOffers) {
  const Seal seal = sealer_.seal(context_, Octets(31));
  EXPECT_EQ(open(context_, seal), SealFault::kInvalid);
}

TEST_F(BusSeal, KeepsTheWindowsOfTheLast64Starts) {
  const Seal first = sealer_.seal(context_, keys_);
  const Seal second = sealer_.seal(context_, keys_);
  ASSERT_EQ(open(context_, first), SealFault::kNone);
  for (int i = 0; i < 63; i++) {
    ASSERT_EQ(open(context_, BusSealer(secret(), "a", "dataplane").seal(context_, keys_)), SealFault::kNone);
  }
  EXPECT_EQ(open(context_, first), SealFault::kReplay);
  ASSERT_EQ(open(context_, second), SealFault::kNone) << "use moves the start to the front of the list";
  for (int i = 0; i < 63; i++) {
    ASSERT_EQ(open(context_, BusSealer(secret(), "a", "dataplane").seal(context_, keys_)), SealFault::kNone);
  }
  EXPECT_EQ(open(context_, second), SealFault::kReplay);
  ASSERT_EQ(open(context_, BusSealer(secret(), "a", "dataplane").seal(context_, keys_)), SealFault::kNone);
  EXPECT_EQ(open(context_, second), SealFault::kNone) << "the 65th start evicted its window";
}

TEST(ReplayWindow, AdmitsEachCounterOnceInAnyOrder) {
  ReplayWindow window;
  for (const uint64_t counter : {5, 1, 3, 1024, 2}) EXPECT_TRUE(window.admit(counter)) << counter;
  for (const uint64_t counter : {5, 1, 3, 1024, 2}) EXPECT_FALSE(window.admit(counter)) << counter;
}

TEST(ReplayWindow, RejectsCountersOlderThanTheWindow) {
  ReplayWindow window;
  EXPECT_TRUE(window.admit(5000));
  EXPECT_TRUE(window.admit(5000 - 1023));
  EXPECT_FALSE(window.admit(5000 - 1024));
  EXPECT_TRUE(window.admit(UINT64_MAX));
  EXPECT_FALSE(window.admit(5000));
  EXPECT_TRUE(window.admit(UINT64_MAX - 1));
}

}  // namespace
}  // namespace psp::test
