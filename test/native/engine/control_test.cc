// SPDX-License-Identifier: Apache-2.0
// Control against an engine that does nothing but make offers and hand commands back when the test says so,
// and against the real seals of the other side of the bus.
#include "engine/control/control.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <bitset>
#include <cstdio>
#include <cstring>
#include <deque>
#include <fstream>
#include <unordered_set>

#include "psp/aead.h"

namespace psp {
namespace {

constexpr MacAddress kMac = {2, 0, 0, 0, 0, 9};

struct FakeEngine : Engine {
  std::deque<std::unique_ptr<Command>> down, up;
  uint32_t last_spi = 0x100, generation = 1;
  OfferFailure fails = OfferFailure::kNone;
  size_t room = 16;
  int* stops;
  std::string missing;  // a device

  explicit FakeEngine(int* stops) : stops(stops) {}
  Capabilities capabilities(const EngineConfig&) const override { return {}; }
  EngineInfo start(const EngineConfig&) override {
    if (!missing.empty()) throw EngineError{"INTERFACE_MISSING", missing, ""};
    return {"", {}, {kMac, 1600}};
  }
  void stop() override { ++*stops; }
  bool submit(std::unique_ptr<Command>& command) override {
    if (down.size() >= room) return false;
    down.push_back(std::move(command));
    return true;
  }
  std::unique_ptr<Command> completed() override {
    if (up.empty()) return nullptr;
    auto command = std::move(up.front());
    up.pop_front();
    return command;
  }
  bool next_event(Event*) override { return false; }
  bool next_sample(Sample*) override { return false; }
  bool samples_due() const override { return false; }
  void wait() override {}
  void interrupt() override {}
  EngineCounts counts() const override { return {}; }
  // Carries out the oldest command.
  void carry_out() {
    if (auto* rotate = std::get_if<RotateCommand>(&down.front()->body)) rotate->generation = ++generation;
    if (auto* offer = std::get_if<OfferCommand>(&down.front()->body)) {
      offer->failure = fails;
      offer->generation = generation;
      offer->spis_left = 7;
      for (uint32_t& spi : offer->spis) spi = ++last_spi;
      random_octets(offer->keys);
    }
    up.push_back(std::move(down.front()));
    down.pop_front();
  }
};

Address v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
  const uint8_t octets[] = {a, b, c, d};
  return mapped(octets);
}

FlowKey flow(uint8_t host) {
  return {v4(10, 1, 0, host), v4(10, 2, 0, host)};
}

EngineConfig config() {
  EngineConfig config;
  config.secured_address = {v4(192, 0, 2, 1), 120};
  config.peers = {{}, {.vips = {}, .mode = Mode::kTransport, .cookie = true}};
  return config;
}

SealContext binding() {
  SealContext context;
  context.contract = "evt.flow.missed";
  context.epoch = 77;
  context.peer = "b";
  context.exchange = 5;
  return context;
}

// Keys cut into words of 8 octets, each kept behind a mask and never unmasked.
constexpr uint64_t kMask = 0x5aa5'3cc3'0ff0'6996;
struct HiddenWords {
  std::unordered_set<uint64_t> words;
  std::bitset<65536> ends;  // low 16 bits, to look no further at nearly all memory

  explicit HiddenWords(std::span<const uint8_t> keys) {
    for (size_t i = 0; i + 8 <= keys.size(); i += 8) {
      const uint64_t hidden = word_at(&keys[i]) ^ kMask;
      words.insert(hidden);
      ends.set(hidden & 0xffff);
    }
  }
  static uint64_t word_at(const uint8_t* octets) {
    uint64_t word;
    std::memcpy(&word, octets, sizeof word);
    return word;
  }
  bool contains(const uint8_t* octets) const {
    const uint64_t hidden = word_at(octets) ^ kMask;
    return ends[hidden & 0xffff] && words.contains(hidden);
  }
};

// How often such words stand in writable memory of this process.
size_t occurrences(const HiddenWords& hidden) {
  const int memory = ::open("/proc/self/mem", O_RDONLY);
  std::ifstream maps("/proc/self/maps");
  std::vector<uint8_t> piece(1 << 16);
  size_t found = 0;
  for (std::string line; std::getline(maps, line);) {
    uint64_t from = 0, to = 0;
    char rights[5] = {};
    std::sscanf(line.c_str(), "%lx-%lx %4s", &from, &to, rights);
    // Larger mappings are those of sanitizers and of packet memory.
    if (rights[1] != 'w' || to - from > (uint64_t{1} << 25)) continue;
    for (uint64_t at = from; at < to; at += piece.size()) {
      const size_t length = std::min<uint64_t>(piece.size(), to - at);
      const ssize_t got = pread(memory, piece.data(), length, static_cast<off_t>(at));
      for (ssize_t i = 0; i + 8 <= got; ++i) found += hidden.contains(&piece[static_cast<size_t>(i)]);
    }
  }
  close(memory);
  return found;
}

class ControlTest : public ::testing::Test {
 protected:
  std::array<uint8_t, 32> secret_{1, 2, 3};
  int stops_ = 0;
  FakeEngine* engine_ = new FakeEngine(&stops_);
  Control control_{std::unique_ptr<Engine>(engine_), config(), "a", secret_};
  BusOpener keyexchange_opener_{secret_, "a", "dataplane"};
  BusSealer keyexchange_{secret_, "a", "keyexchange"};

  void SetUp() override { control_.start(); }
  template <typename T>
  T& oldest() {
    return std::get<T>(engine_->down.front()->body);
  }

  template <typename T>
  struct Outcome {
    std::optional<T> value;
    std::string code;
    std::string detail;
    Done<T> done() {
      return [this](std::variant<T, EngineError> outcome) {
        if (auto* error = std::get_if<EngineError>(&outcome)) {
          code = error->code;
          detail = error->detail;
        } else {
          value = std::move(std::get<T>(outcome));
        }
      };
    }
  };

  Outcome<SealedOffers> offer(const std::vector<FlowKey>& flows, uint8_t version = 1) {
    Outcome<SealedOffers> outcome;
    control_.offer(flows, 0, version, binding(), outcome.done());
    carry_out_all();
    return outcome;
  }
  void carry_out_all() {
    while (!engine_->down.empty()) engine_->carry_out();
    control_.complete();
  }
  SealFault open_offers(const std::vector<FlowKey>& flows, const SealedOffers& sealed,
                        SecretVector<uint8_t>* keys) {
    SealContext context = binding();
    context.role = KeyRole::kOffer;
    context.flows = flows;
    context.offers = sealed.offers;
    return keyexchange_opener_.open(context, sealed.seal, keys);
  }
  // What keyexchange would send for a peer's offers of these flows.
  Seal seal_egress(const std::vector<FlowKey>& flows, const std::vector<Offer>& offers,
                   const std::vector<uint8_t>& keys) {
    SealContext context = binding();
    context.role = KeyRole::kEgress;
    context.flows = flows;
    context.offers = offers;
    return keyexchange_.seal(context, keys);
  }
  static Offer peers_offer(uint32_t spi, uint8_t version) {
    return {
        .spi = spi, .version = version, .number = 3, .cookie = 0, .address = v4(192, 0, 2, 2), .mac = {2, 1}};
  }
};

TEST_F(ControlTest, OffersAreMadeForTheReverseFlowOnThePeersTermsBeforeTheyAreSealed) {
  Outcome<SealedOffers> outcome;
  control_.offer({flow(1), flow(2)}, 1, 1, binding(), outcome.done());
  ASSERT_EQ(engine_->down.size(), 1u);
  const OfferCommand& command = oldest<OfferCommand>();
  EXPECT_EQ(command.inbound, (std::vector<FlowKey>{flow(1).reversed(), flow(2).reversed()}));
  EXPECT_EQ(command.peer, 1u);
  EXPECT_EQ(command.version, 1u);
  EXPECT_EQ(command.mode, Mode::kTransport);
  ASSERT_EQ(command.cookies.size(), 2u);
  EXPECT_NE(command.cookies[0], 0u);
  EXPECT_NE(command.cookies[0], command.cookies[1]);
  EXPECT_EQ(command.spis.size(), 2u);
  EXPECT_EQ(command.keys.size(), 64u);
  const std::vector<uint64_t> cookies = command.cookies;
  control_.complete();
  EXPECT_FALSE(outcome.value);

  carry_out_all();
  ASSERT_TRUE(outcome.value);
  ASSERT_EQ(outcome.value->offers.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(outcome.value->offers[i].spi, 0x101 + i);
    EXPECT_EQ(outcome.value->offers[i].number, i + 1);
    EXPECT_EQ(outcome.value->offers[i].cookie, cookies[i]);
    EXPECT_EQ(outcome.value->offers[i].mode, Mode::kTransport);
    EXPECT_EQ(outcome.value->offers[i].address, v4(192, 0, 2, 1));
    EXPECT_EQ(outcome.value->offers[i].mac, kMac);
  }
  EXPECT_EQ(outcome.value->generation, 1u);
  EXPECT_EQ(outcome.value->spis_left, 7u);
}

TEST_F(ControlTest, TheSealOpensToTheKeysThatTheEngineMade) {
  for (const uint8_t version : {0, 1}) {
    const std::vector<FlowKey> flows = {flow(1), flow(2)};
    Outcome<SealedOffers> outcome;
    control_.offer(flows, 0, version, binding(), outcome.done());
    engine_->carry_out();
    const SecretVector<uint8_t> made = std::get<OfferCommand>(engine_->up.front()->body).keys;
    control_.complete();
    SecretVector<uint8_t> keys;
    ASSERT_EQ(open_offers(flows, *outcome.value, &keys), SealFault::kNone);
    EXPECT_EQ(keys.size(), 2 * key_length(version));
    EXPECT_EQ(keys, made);
  }
}

TEST_F(ControlTest, AFailedOfferIsReportedWithItsCodeAndNothingIsNumberedOrSealed) {
  for (const auto& [failure, code] :
       {std::pair{OfferFailure::kTableFull, "TABLE_FULL"}, {OfferFailure::kSpisExhausted, "SPI_EXHAUSTED"}}) {
    engine_->fails = failure;
    const Outcome<SealedOffers> refused = offer({flow(1), flow(2)});
    EXPECT_FALSE(refused.value);
    EXPECT_EQ(refused.code, code);
  }
  engine_->fails = OfferFailure::kNone;
  const Outcome<SealedOffers> made = offer({flow(1)});
  EXPECT_EQ(made.value->seal.id.counter, 1u);
  EXPECT_EQ(made.value->offers[0].number, 1u);
}

TEST_F(ControlTest, AFullCommandRingIsEngineBusyForEveryCommandThatMayFail) {
  engine_->room = 0;
  Outcome<SealedOffers> offered;
  control_.offer({flow(1)}, 0, 1, binding(), offered.done());
  EXPECT_EQ(offered.code, "ENGINE_BUSY");
  Outcome<std::monostate> withdrawn;
  control_.withdraw({{{flow(1), 7}}}, withdrawn.done());
  EXPECT_EQ(withdrawn.code, "ENGINE_BUSY");
  Outcome<uint32_t> rotated;
  control_.rotate(rotated.done());
  EXPECT_EQ(rotated.code, "ENGINE_BUSY");

  engine_->room = 16;
  Outcome<uint32_t> again;
  control_.rotate(again.done());
  carry_out_all();
  EXPECT_EQ(again.value, 2u);
}

TEST_F(ControlTest, NumbersRiseAcrossBatchesAndRotations) {
  EXPECT_EQ(offer({flow(1), flow(2)}).value->offers[1].number, 2u);
  Outcome<uint32_t> rotated;
  control_.rotate(rotated.done());
  carry_out_all();
  EXPECT_EQ(offer({flow(1)}).value->offers[0].number, 3u);
}

TEST_F(ControlTest, AnOfferHasTheGenerationOfTheKeyThatTheEngineMadeItUnder) {
  Outcome<uint32_t> rotated;
  Outcome<SealedOffers> before, after;
  control_.offer({flow(1)}, 0, 1, binding(), before.done());
  control_.rotate(rotated.done());
  control_.offer({flow(1)}, 0, 1, binding(), after.done());
  EXPECT_FALSE(rotated.value);
  carry_out_all();
  EXPECT_EQ(rotated.value, 2u);
  EXPECT_EQ(before.value->generation, 1u);
  EXPECT_EQ(after.value->generation, 2u);
}

TEST_F(ControlTest, ASecondRotationWhileOneIsUnderWayIsRefused) {
  Outcome<uint32_t> first, second;
  control_.rotate(first.done());
  control_.rotate(second.done());
  EXPECT_EQ(second.code, "ENGINE_BUSY");
  EXPECT_EQ(engine_->down.size(), 1u);
  carry_out_all();
  EXPECT_EQ(first.value, 2u);
}

TEST_F(ControlTest, EgressKeysAreInstalledByRowsWithTheirIvsFromTheTimeGiven) {
  const std::vector<FlowKey> flows = {flow(1), flow(2), flow(3)};
  const std::vector<Offer> offers = {peers_offer(0x11, 1), peers_offer(0x22, 0), peers_offer(0x33, 1)};
  std::vector<uint8_t> keys(32 + 16 + 32);
  for (size_t i = 0; i < keys.size(); ++i) keys[i] = static_cast<uint8_t>(i);
  const OpenedKeys opened = control_.open(flows, offers, binding(), seal_egress(flows, offers, keys));

  Outcome<std::vector<InstallResult>> outcome;
  control_.install(opened, {2, 1}, 0, 1'700'000'000'000, outcome.done());
  InstallCommand& command = oldest<InstallCommand>();
  EXPECT_EQ(command.flows, (std::vector<FlowKey>{flow(3), flow(2)}));
  ASSERT_EQ(command.keys.size(), 2u);
  EXPECT_EQ(command.keys[0].spi, 0x33u);
  EXPECT_EQ(command.keys[0].first_iv, uint64_t{1'700'000'000'000} << 22);
  EXPECT_EQ(command.keys[0].outer_destination, v4(192, 0, 2, 2));
  EXPECT_EQ(command.keys[0].key[0], 48);
  EXPECT_EQ(command.keys[0].key[31], 79);
  EXPECT_EQ(command.keys[1].version, 0);
  EXPECT_EQ(command.keys[1].key[0], 32);
  EXPECT_EQ(command.keys[1].key[15], 47);
  EXPECT_EQ(command.keys[1].key[16], 0);
  ASSERT_EQ(command.results.size(), 2u);
  command.results = {InstallResult::kInstalled, InstallResult::kSuperseded};
  carry_out_all();
  EXPECT_EQ(*outcome.value,
            (std::vector<InstallResult>{InstallResult::kInstalled, InstallResult::kSuperseded}));
}

TEST_F(ControlTest, TheIvsOfEachMillisecondBeginAboveThoseOfTheLastAndLeave2To60Ahead) {
  const auto first_iv = [&](uint64_t unix_ms) {
    const std::vector<FlowKey> flows = {flow(1)};
    const std::vector<Offer> offers = {peers_offer(0x11, 1)};
    const Seal seal = seal_egress(flows, offers, std::vector<uint8_t>(32, 7));
    Outcome<std::vector<InstallResult>> outcome;
    control_.install(control_.open(flows, offers, binding(), seal), {0}, 0, unix_ms, outcome.done());
    const uint64_t first = oldest<InstallCommand>().keys[0].first_iv;
    carry_out_all();
    return first;
  };
  // 64-octet frames at 400 Gbit/s, and from each of 128 lcores a block of 1024 IVs that it leaves for the new
  // key.
  constexpr uint64_t kMostInAMs = 400'000'000'000 / ((64 + 20) * 8) / 1000 + 128 * 1024;
  const uint64_t now = 1'764'547'200'000;
  EXPECT_GT(first_iv(now + 1) - first_iv(now), kMostInAMs);
  // 2100-01-01, 2105-01-01, and a clock that is far out.
  for (const uint64_t late : {uint64_t{4'102'444'800'000}, uint64_t{4'260'211'200'000}, ~uint64_t{0}}) {
    EXPECT_GT(first_iv(late), first_iv(now));
    EXPECT_GE(~first_iv(late), (uint64_t{1} << 60) - 1);
  }
}

std::string fault_of(const std::function<void()>& act) {
  try {
    act();
    return "none";
  } catch (const EngineError& error) {
    return error.code;
  }
}

TEST_F(ControlTest, ASealOpensOnce) {
  const std::vector<FlowKey> flows = {flow(1)};
  const std::vector<Offer> offers = {peers_offer(0x11, 1)};
  const Seal seal = seal_egress(flows, offers, std::vector<uint8_t>(32, 7));
  EXPECT_EQ(fault_of([&] { control_.open(flows, offers, binding(), seal); }), "none");
  EXPECT_EQ(fault_of([&] { control_.open(flows, offers, binding(), seal); }), "REPLAY");
}

TEST_F(ControlTest, ASealThatWasTouchedOrBelongsToAnotherMessageDoesNotOpen) {
  const std::vector<FlowKey> flows = {flow(1)};
  const std::vector<Offer> offers = {peers_offer(0x11, 1)};
  const Seal seal = seal_egress(flows, offers, std::vector<uint8_t>(32, 7));
  Seal touched = seal;
  touched.box[0] ^= 1;
  EXPECT_EQ(fault_of([&] { control_.open(flows, offers, binding(), touched); }), "SEAL_INVALID");
  EXPECT_EQ(fault_of([&] { control_.open({flow(2)}, offers, binding(), seal); }), "SEAL_INVALID");
  EXPECT_EQ(fault_of([&] { control_.open(flows, {peers_offer(0x12, 1)}, binding(), seal); }), "SEAL_INVALID");
  SealContext other_exchange = binding();
  other_exchange.exchange = 6;
  EXPECT_EQ(fault_of([&] { control_.open(flows, offers, other_exchange, seal); }), "SEAL_INVALID");
  EXPECT_EQ(fault_of([&] { control_.open(flows, offers, binding(), seal); }), "none");
}

TEST_F(ControlTest, OurOwnSealOfOffersDoesNotOpenAsOneOfEgressKeys) {
  const std::vector<FlowKey> flows = {flow(1)};
  const SealedOffers sealed = *offer(flows).value;
  EXPECT_EQ(fault_of([&] { control_.open(flows, sealed.offers, binding(), sealed.seal); }), "SEAL_INVALID");
}

TEST_F(ControlTest, NoKeyOfAnOfferStaysInMemoryOnceItIsSealed) {
  const std::vector<FlowKey> flows(8, flow(1));
  const SealedOffers sealed = *offer(flows).value;
  std::optional<HiddenWords> hidden;
  {
    SecretVector<uint8_t> keys;
    ASSERT_EQ(open_offers(flows, sealed, &keys), SealFault::kNone);
    hidden.emplace(keys);
    ASSERT_GE(occurrences(*hidden), 32u);
  }
  EXPECT_EQ(occurrences(*hidden), 0u);
}

TEST_F(ControlTest, NoEgressKeyStaysInMemoryOnceItIsInstalled) {
  const std::vector<FlowKey> flows(8, flow(1));
  const std::vector<Offer> offers(8, peers_offer(0x11, 1));
  std::vector<uint8_t> keys(8 * 32);
  random_octets(keys);
  const HiddenWords hidden(keys);
  const Seal seal = seal_egress(flows, offers, keys);
  wipe(keys.data(), keys.size());
  Outcome<std::vector<InstallResult>> outcome;
  {
    const OpenedKeys opened = control_.open(flows, offers, binding(), seal);
    control_.install(opened, {0, 1, 2, 3, 4, 5, 6, 7}, 0, 1, outcome.done());
  }
  EXPECT_GE(occurrences(hidden), 32u);
  carry_out_all();
  EXPECT_TRUE(outcome.value);
  EXPECT_EQ(occurrences(hidden), 0u);
}

TEST_F(ControlTest, ARemovalWaitsForSpaceInTheRingBeforeEveryLaterCommand) {
  engine_->room = 0;
  Outcome<std::monostate> first, second;
  control_.remove({{flow(1)}}, first.done());
  control_.remove({{flow(2)}}, second.done());
  engine_->room = 1;
  // There is space now, but an offer that overtook the removals would be removed by them.
  Outcome<SealedOffers> offered;
  control_.offer({flow(1)}, 0, 1, binding(), offered.done());
  EXPECT_EQ(offered.code, "ENGINE_BUSY");

  control_.complete();
  EXPECT_EQ(oldest<RemoveCommand>().flows.front(), flow(1));
  engine_->carry_out();
  control_.complete();
  EXPECT_TRUE(first.value);
  EXPECT_FALSE(second.value);
  EXPECT_EQ(oldest<RemoveCommand>().flows.front(), flow(2));
  engine_->carry_out();
  control_.complete();
  EXPECT_TRUE(second.value);
  EXPECT_TRUE(offer({flow(1)}).value);
}

TEST_F(ControlTest, StoppingFailsARemovalThatWaits) {
  engine_->room = 0;
  Outcome<std::monostate> waiting;
  control_.remove({{flow(1)}}, waiting.done());
  control_.stop();
  engine_->room = 1;
  control_.abandon();
  EXPECT_EQ(waiting.code, "ENGINE_FAILED");
  EXPECT_TRUE(engine_->down.empty());
}

TEST_F(ControlTest, StoppingTakesWhatWasDoneAndFailsTheRest) {
  Outcome<std::monostate> done, lost;
  control_.remove({{flow(1)}}, done.done());
  control_.remove({{flow(2)}}, lost.done());
  engine_->carry_out();
  control_.stop();
  EXPECT_EQ(stops_, 1);
  control_.abandon();
  EXPECT_TRUE(done.value);
  EXPECT_EQ(lost.code, "ENGINE_FAILED");
  EXPECT_EQ(lost.detail, "it was stopped");
}

TEST_F(ControlTest, ADeviceThatIsNotThereIsReportedWithItsKeyInTheNodeFile) {
  for (const auto& [device, key] : {std::pair{"hosts", "unsecured.port"}, {"wire", "secured.port"}}) {
    auto* engine = new FakeEngine(&stops_);
    engine->missing = device;
    EngineConfig config;
    config.unsecured.device = "hosts";
    config.secured.device = "wire";
    Control control(std::unique_ptr<Engine>(engine), config, "a", secret_);
    try {
      control.start();
      FAIL();
    } catch (const EngineError& error) {
      EXPECT_EQ(error.detail, key);
    }
  }
}

TEST_F(ControlTest, FlowsComeAsOnePageWithItsCursor) {
  Outcome<FlowsCommand> outcome;
  control_.flows(7, 3, outcome.done());
  FlowsCommand& command = oldest<FlowsCommand>();
  EXPECT_EQ(command.cursor, 7u);
  ASSERT_EQ(command.rows.size(), 3u);
  command.count = 2;
  command.next_cursor = 9;
  carry_out_all();
  EXPECT_EQ(outcome.value->count, 2u);
  EXPECT_EQ(outcome.value->next_cursor, 9u);
}

}  // namespace
}  // namespace psp
