// SPDX-License-Identifier: Apache-2.0
// The engine with its thread and real DPDK ports: in memory (net_ring), and on veth pairs in a network
// namespace of the test's own, where the rights for one are there.
#include "engine/software/software_engine.h"

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <thread>
#include <vector>

#include "engine/ports/dpdk_port.h"
#include "engine/ports/interface.h"
#include "gateway.h"

namespace psp {
namespace {

std::string code_of(Engine& engine, const EngineConfig& config, EngineError* why = nullptr) {
  try {
    engine.start(config);
  } catch (const EngineError& error) {
    if (why != nullptr) *why = error;
    return error.code;
  }
  return "started";
}

uint64_t drop_count(const EngineCounts& counts, std::string_view reason, std::string_view direction) {
  for (const DropCount& drop : counts.drops) {
    if (drop.reason == reason && drop.direction == direction) return drop.packets;
  }
  return 0;
}

template <typename Holds>
bool within(int ms, Holds holds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

// Lets setsockopt fail for one option of packet sockets, in this thread and those it starts from now on.
void refuse_packet_option(uint32_t option) {
  constexpr auto argument = [](size_t n) {
    return static_cast<uint32_t>(offsetof(seccomp_data, args) + n * sizeof(uint64_t));
  };
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_setsockopt, 0, 5),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument(1)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SOL_PACKET, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument(2)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, option, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOPROTOOPT),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog program{static_cast<uint16_t>(std::size(code)), code};
  ASSERT_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
  ASSERT_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

// A raw socket on one end of a pair whose other end is a gateway's port.
class Wire {
 public:
  explicit Wire(const std::string& name) : fd_(socket(AF_PACKET, SOCK_RAW, htons(0x0003))) {
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(0x0003);
    address.sll_ifindex = static_cast<int>(interface_index(name));
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  ~Wire() { close(fd_); }
  void send(const Frame& frame) {
    EXPECT_EQ(write(fd_, frame.data(), frame.size()), static_cast<ssize_t>(frame.size()));
  }
  // The next frame of this type that was not sent by ourselves; empty after two seconds.
  Frame receive(uint16_t type) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
    while (std::chrono::steady_clock::now() < end) {
      pollfd waiting{fd_, POLLIN, 0};
      if (poll(&waiting, 1, 100) <= 0) continue;
      Frame frame(65536);
      sockaddr_ll from{};
      socklen_t length = sizeof from;
      const ssize_t n =
          recvfrom(fd_, frame.data(), frame.size(), 0, reinterpret_cast<sockaddr*>(&from), &length);
      if (n < 14 || from.sll_pkttype == PACKET_OUTGOING) continue;
      frame.resize(static_cast<size_t>(n));
      if (get16(frame, 12) == type) return frame;
    }
    return {};
  }

 private:
  int fd_;
};

class SoftwareEngineTest : public testing::Test {
 protected:
  void SetUp() override { enter_eal(kTestEal); }

  // Two veth pairs: unsecured <-> host, secured <-> wire. False: no rights to make them.
  bool make_links(int wire_mtu, int host_mtu = 1500) {
    if (unshare(CLONE_NEWNET) != 0) return false;
    const std::string mtu = " mtu " + std::to_string(wire_mtu), inner = " mtu " + std::to_string(host_mtu);
    return run("ip link add unsecured" + inner + " type veth peer name host" + inner) &&
           run("ip link add secured" + mtu + " type veth peer name wire" + mtu) &&
           run("for i in unsecured host secured wire; do sysctl -qw net.ipv6.conf.$i.disable_ipv6=1 || exit "
               "1; "
               "ip link set $i up || exit 1; done");
  }
  static bool run(const std::string& command) { return std::system(command.c_str()) == 0; }

  // With the AEAD that the tests of the engine run with (chosen_aead.h).
  static EngineConfig engine_config() {
    EngineConfig config = gateway_config();
    const char* const variable = std::getenv("PSP_TEST_AEAD");
    if (variable != nullptr && std::string(variable) == "libcrypto") config.crypto = CryptoChoice::kLibcrypto;
    return config;
  }
  EngineConfig on_links() {
    EngineConfig config = engine_config();
    config.unsecured.device = "unsecured";
    config.secured.device = "secured";
    return config;
  }

  // A key for each flow, with its next hop.
  void install_flows(const std::vector<FlowKey>& flows) {
    auto command = std::make_unique<Command>();
    InstallCommand install;
    install.flows = flows;
    install.keys.assign(flows.size(), egress_key(5));
    for (EgressKey& key : install.keys) key.mac = kPeerMac;
    install.results.resize(flows.size());
    command->body = std::move(install);
    ASSERT_TRUE(engine->submit(command));
    while (!(command = engine->completed())) engine->wait();
  }
  void install_flow() { install_flows({flow("10.1.0.5", "10.2.0.7")}); }
  uint64_t value(Value value) const { return engine->counts().values[static_cast<size_t>(value)].value; }

  std::unique_ptr<Engine> engine = make_software_engine();
};

TEST_F(SoftwareEngineTest, RunsOnPortsInMemoryTakesCommandsAndStopsTwice) {
  EngineConfig config = engine_config();
  config.unsecured.device = "net_ring_plain";
  config.secured.device = "net_ring_wire";
  const EngineInfo info = engine->start(config);
  EXPECT_EQ(info.unsecured.mtu, 1500);
  EXPECT_EQ(info.secured.mtu, 1568);

  int back = 0;
  for (uintptr_t i = 1; i <= 5000; ++i) {
    auto command = std::make_unique<Command>();
    command->body = FlowsCommand{};
    command->context = reinterpret_cast<void*>(i);
    while (!engine->submit(command)) {
      engine->wait();
      while (auto done = engine->completed())
        ASSERT_EQ(done->context, reinterpret_cast<void*>(uintptr_t(++back)));
    }
  }
  while (back < 5000) {
    engine->wait();
    while (auto done = engine->completed())
      ASSERT_EQ(done->context, reinterpret_cast<void*>(uintptr_t(++back)));
  }

  std::thread waiter([this] { engine->wait(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  engine->interrupt();
  waiter.join();
  engine->stop();
  engine->stop();
  EXPECT_FALSE(std::filesystem::exists("/var/run/dpdk/psp-" + std::to_string(getpid())));
  // The same engine object once more.
  config.unsecured.device = "net_ring_plain2";
  config.secured.device = "net_ring_wire2";
  EXPECT_EQ(code_of(*engine, config), "started");
}

TEST_F(SoftwareEngineTest, CommandsOfManyTurnsAreDoneInOrderAndAnsweredOnceAndWhole) {
  EngineConfig config = engine_config();
  config.unsecured.device = "net_ring_plain3";
  config.secured.device = "net_ring_wire3";
  engine->start(config);
  constexpr uint32_t kFlows = 4000;
  InstallCommand install;
  RemoveCommand remove;
  for (uint32_t n = 0; n < kFlows; ++n) {
    install.flows.push_back(
        flow("10.1.0.5", "10.2." + std::to_string(n / 250) + "." + std::to_string(1 + n % 250)));
    install.keys.push_back(egress_key(1000 + n));
  }
  install.results.resize(kFlows);
  remove.flows = install.flows;
  FlowsCommand page;
  page.rows.resize(kFlows + 1);
  std::vector<CommandBody> bodies;
  bodies.emplace_back(std::move(install));
  bodies.emplace_back(page);
  bodies.emplace_back(std::move(remove));
  bodies.emplace_back(page);
  for (CommandBody& body : bodies) {
    auto command = std::make_unique<Command>();
    command->body = std::move(body);
    ASSERT_TRUE(engine->submit(command));
  }
  std::vector<std::unique_ptr<Command>> done;
  while (done.size() < bodies.size()) {
    engine->wait();
    while (auto command = engine->completed()) done.push_back(std::move(command));
  }
  for (const InstallResult result : std::get<InstallCommand>(done[0]->body).results) {
    ASSERT_EQ(result, InstallResult::kInstalled);
  }
  EXPECT_EQ(std::get<FlowsCommand>(done[1]->body).count, kFlows);
  EXPECT_EQ(std::get<RemoveCommand>(done[2]->body).flows.size(), kFlows);
  EXPECT_EQ(std::get<FlowsCommand>(done[3]->body).count, 0u);
  engine->stop();
  EXPECT_EQ(engine->completed(), nullptr);
}

std::unique_ptr<Command> command_of(CommandBody body) {
  auto command = std::make_unique<Command>();
  command->body = std::move(body);
  return command;
}

// An offer of these inbound flows as the control side asks for it.
OfferCommand asked_offer(uint32_t count, uint8_t version) {
  OfferCommand offer;
  for (uint32_t n = 0; n < count; ++n) {
    offer.inbound.push_back(
        flow("10.2." + std::to_string(n / 250) + "." + std::to_string(1 + n % 250), "10.1.0.5"));
  }
  offer.cookies.resize(count);
  offer.version = version;
  offer.spis.resize(count);
  offer.keys.resize(count * key_length(version));
  return offer;
}

class OffersOfTheSoftwareEngine : public SoftwareEngineTest {
 protected:
  void start(const std::string& name, uint32_t spis_per_key) {
    engine = make_software_engine(spis_per_key);
    EngineConfig config = engine_config();
    config.unsecured.device = "net_ring_" + name + "_h";
    config.secured.device = "net_ring_" + name + "_w";
    engine->start(config);
  }
  template <typename T>
  T carried_out(T body) {
    auto command = command_of(std::move(body));
    EXPECT_TRUE(engine->submit(command));
    while (!(command = engine->completed())) engine->wait();
    return std::move(std::get<T>(command->body));
  }
  FlowsCommand page() {
    FlowsCommand page;
    page.rows.resize(1000);
    return carried_out(std::move(page));
  }
};

TEST_F(OffersOfTheSoftwareEngine, HaveFreshSpisWithTheirKeysAndAreAdmittedWhenTheyComplete) {
  start("a", SpiAllocator::kSpisPerKey);
  std::set<uint32_t> spis;
  std::set<std::vector<uint8_t>> keys;
  for (const uint8_t version : {0, 1}) {
    const OfferCommand offer = carried_out(asked_offer(20, version));
    EXPECT_EQ(offer.failure, OfferFailure::kNone);
    EXPECT_EQ(offer.generation, 1u);
    for (size_t n = 0; n < 20; ++n) {
      EXPECT_EQ(slot_of(offer.spis[n]), 0);
      spis.insert(offer.spis[n]);
      const auto key = offer.keys.begin() + static_cast<long>(n * key_length(version));
      keys.emplace(key, key + static_cast<long>(key_length(version)));
    }
    const FlowsCommand flows = page();
    ASSERT_EQ(flows.count, 20u);
    for (uint32_t n = 0; n < flows.count; ++n) EXPECT_TRUE(spis.contains(flows.rows[n].spi));
  }
  EXPECT_EQ(spis.size(), 40u);
  EXPECT_EQ(keys.size(), 40u);
  engine->stop();
}

TEST_F(OffersOfTheSoftwareEngine, AreAllOrNoneWhenSpisRunOutAndARotationBringsNewOnes) {
  start("b", 30);
  const OfferCommand first = carried_out(asked_offer(20, 1));
  EXPECT_EQ(first.failure, OfferFailure::kNone);
  EXPECT_EQ(first.spis_left, 10u);
  EXPECT_EQ(carried_out(asked_offer(11, 1)).failure, OfferFailure::kSpisExhausted);
  EXPECT_EQ(page().count, 20u);
  EXPECT_EQ(carried_out(RotateCommand{}).generation, 2u);
  const OfferCommand offer = carried_out(asked_offer(11, 1));
  EXPECT_EQ(offer.failure, OfferFailure::kNone);
  EXPECT_EQ(offer.generation, 2u);
  EXPECT_EQ(offer.spis_left, 19u);
  EXPECT_EQ(slot_of(offer.spis[0]), 1);
  engine->stop();
}

TEST_F(OffersOfTheSoftwareEngine, OfTheGenerationBeforeAreMadeUntilARotationHasCompleted) {
  start("c", SpiAllocator::kSpisPerKey);
  auto rotate = command_of(RotateCommand{}), offer = command_of(asked_offer(1, 1));
  ASSERT_TRUE(engine->submit(rotate));
  ASSERT_TRUE(engine->submit(offer));
  std::vector<std::unique_ptr<Command>> done;
  while (done.size() < 2) {
    engine->wait();
    while (auto command = engine->completed()) done.push_back(std::move(command));
  }
  EXPECT_EQ(std::get<RotateCommand>(done[0]->body).generation, 2u);
  const auto& between = std::get<OfferCommand>(done[1]->body);
  EXPECT_EQ(between.generation, 1u);
  EXPECT_EQ(slot_of(between.spis[0]), 0);
  engine->stop();
}

TEST_F(OffersOfTheSoftwareEngine, ThatAFullRingRefusesUseNoSpi) {
  constexpr uint32_t kSpis = 3000, kRings = 2 * 1024, kRefused = 2000;
  start("d", kSpis);
  const auto offer = [this] {
    auto command = command_of(asked_offer(1, 1));
    return engine->submit(command);
  };
  // Completions that nobody takes fill their ring, and commands then wait in theirs.
  uint32_t waiting = 0;
  ASSERT_TRUE(within(10'000, [&] {
    while (offer()) ++waiting;
    return waiting == kRings;
  }));
  for (uint32_t n = 0; n < kRefused; ++n) ASSERT_FALSE(offer());

  std::set<uint32_t> spis;
  const auto take = [&] {
    for (; waiting > 0; engine->wait()) {
      while (const auto command = engine->completed()) {
        --waiting;
        const auto& made = std::get<OfferCommand>(command->body);
        if (made.failure == OfferFailure::kNone) {
          EXPECT_TRUE(spis.insert(made.spis[0]).second);
        }
      }
      if (waiting == 0) return;
    }
  };
  take();
  EXPECT_EQ(spis.size(), kRings);
  for (uint32_t n = kRings; n < kSpis + 10; ++n) {
    ASSERT_TRUE(offer());
    ++waiting;
    take();
  }
  EXPECT_EQ(spis.size(), kSpis);
  engine->stop();
}

TEST_F(SoftwareEngineTest, WhatIsMissingHasItsOwnCode) {
  EngineConfig config = gateway_config();
  EngineError why;
  config.unsecured.device = "nosuchif";
  config.secured.device = "net_ring_w";
  EXPECT_EQ(code_of(*engine, config, &why), "INTERFACE_MISSING");
  EXPECT_EQ(why.name, "nosuchif");
  config.unsecured.device = "net_nosuchdriver0";
  EXPECT_EQ(code_of(*engine, config, &why), "DRIVER_MISSING");
  EXPECT_EQ(why.name, "net_nosuchdriver0");
  config.unsecured.device = "0000:7f:1f.7";
  EXPECT_EQ(code_of(*engine, config), "INTERFACE_MISSING");
}

TEST_F(SoftwareEngineTest, MoreLcoresThanCoresOrQueuesAreRefused) {
  EngineConfig config = gateway_config();
  EngineError why;
  config.unsecured.device = "net_ring_host";
  config.secured.device = "net_ring_wire3";
  config.lcores = 1000;
  EXPECT_EQ(code_of(*engine, config, &why), "LCORES_TOO_MANY");
  EXPECT_EQ(why.name, "this machine");
  try {
    DpdkPort port("net_ring_queues", 100);
    ADD_FAILURE() << "it has so many";
  } catch (const EngineError& error) {
    EXPECT_EQ(error.code, "LCORES_TOO_MANY");
    EXPECT_EQ(error.name, "net_ring_queues");
    EXPECT_EQ(error.detail, "queues: 16");
  }
}

TEST_F(SoftwareEngineTest, SeveralLcoresReceiveOnQueuesOfOneDevice) {
  if (std::thread::hardware_concurrency() < 2) GTEST_SKIP() << "one core";
  EngineConfig config = engine_config();
  config.unsecured.device = "net_null0";  // has a burst for whoever asks
  config.secured.device = "net_ring_wire4";
  config.lcores = 2;
  engine->start(config);
  EXPECT_TRUE(within(5000, [&] {
    const auto lcores = engine->counts().lcores;
    return std::ranges::all_of(lcores, [](const LcoreCount& lcore) { return lcore.rx_packets > 1000; });
  }));
  EXPECT_EQ(engine->counts().lcores.size(), 2u);
  engine->stop();
}

TEST_F(SoftwareEngineTest, AWireThatIsTooSmallAndAPortThatIsTakenAreRefused) {
  std::thread([this] {
    if (!make_links(1600)) {
      GTEST_SKIP() << "no rights to make a network namespace with veth pairs";
    }
    run("ip link set secured mtu 575");
    EngineConfig config = on_links();
    EngineError why;
    EXPECT_EQ(code_of(*engine, config, &why), "MTU_TOO_SMALL");
    EXPECT_EQ(why.name, "secured");
    EXPECT_EQ(why.detail, "mtu=575 need=576");
    // Below what hosts send: they are told by ICMP.
    run("ip link set secured mtu 576");
    EXPECT_EQ(code_of(*engine, config), "started");
    const auto second = make_software_engine();
    EXPECT_EQ(code_of(*second, config, &why), "PORT_TAKEN");
    EXPECT_EQ(why.name, "unsecured");
    engine->stop();
    EXPECT_EQ(code_of(*second, config), "started");
    second->stop();
  }).join();
}

TEST_F(SoftwareEngineTest, CarriesPacketsBetweenInterfacesAndSleepsWhenThereAreNone) {
  std::thread([this] {
    if (!make_links(1600)) {
      GTEST_SKIP() << "no rights to make a network namespace with veth pairs";
    }
    const EngineInfo info = engine->start(on_links());
    Wire host("host"), wire("wire");
    host.send(arp(true, kHostMac, "10.1.0.5", "10.2.0.7"));
    EXPECT_FALSE(host.receive(0x0806).empty());

    Frame packet = from_host("10.1.0.5", "10.2.0.7", std::string(1472, 'x'));
    std::copy(info.unsecured.mac.begin(), info.unsecured.mac.end(), packet.begin());
    host.send(packet);
    Event event;
    while (!engine->next_event(&event)) engine->wait();
    ASSERT_TRUE(std::holds_alternative<MissedEvent>(event));

    auto command = std::make_unique<Command>();
    InstallCommand install;
    install.flows = {flow("10.1.0.5", "10.2.0.7")};
    install.keys.push_back(egress_key(5));
    install.keys[0].mac = kPeerMac;
    install.results.resize(1);
    command->body = std::move(install);
    ASSERT_TRUE(engine->submit(command));
    while (!(command = engine->completed())) engine->wait();
    EXPECT_EQ(std::get<InstallCommand>(command->body).results[0], InstallResult::kInstalled);
    const Frame out = wire.receive(0x0800);
    ASSERT_EQ(out.size(), 14u + 1560u);
    EXPECT_EQ(words_of(opened(out, egress_key(5))), std::string(1472, 'x'));

    // What it sent is not received again, and an idle engine sleeps.
    const EngineCounts before = engine->counts();
    EXPECT_EQ(before.secured.rx_packets, 0u);
    EXPECT_EQ(before.unsecured.rx_packets, 2u);
    const auto value = [](const EngineCounts& counts, std::string_view name) {
      for (const NamedValue& one : counts.values) {
        if (one.name == name) return one.value;
      }
      return uint64_t{0};
    };
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    EXPECT_LT(value(engine->counts(), "polls") - value(before, "polls"), 1000u);

    // The interfaces bear no mark of ours, and one that goes away ends the engine, which is told, also when
    // it went down before.
    EXPECT_NE(std::system("ip link show secured | grep -q PROMISC"), 0);
    run("ip link set secured down");
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    run("ip link del secured");
    bool failed = false;
    for (const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(3);
         !failed && std::chrono::steady_clock::now() < end;) {
      if (engine->next_event(&event)) {
        const auto* const link = std::get_if<LinkEvent>(&event);
        failed = link != nullptr && link->secured && !link->state.present;
      } else {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
    }
    EXPECT_TRUE(failed);
    engine->stop();
  }).join();
}

// The next change of a link, whatever else is told before; nothing when none comes in time.
std::optional<LinkEvent> next_link(Engine& engine) {
  Event event;
  for (const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
       std::chrono::steady_clock::now() < end;) {
    if (!engine.next_event(&event)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    } else if (const auto* const link = std::get_if<LinkEvent>(&event)) {
      return *link;
    }
  }
  return {};
}

TEST_F(SoftwareEngineTest, FollowsTheLinksOfItsInterfacesOnEachLcore) {
  for (const uint32_t lcores : {1u, 2u}) {
    if (lcores > std::thread::hardware_concurrency()) continue;
    std::thread([this, lcores] {
      if (!make_links(1600)) {
        GTEST_SKIP() << "no rights to make a network namespace with veth pairs";
      }
      EngineConfig config = on_links();
      config.lcores = lcores;
      const auto followed = make_software_engine();
      const EngineInfo info = followed->start(config);
      EXPECT_TRUE(info.secured.up);
      EXPECT_EQ(info.wanted_mtu, 1568);
      const auto changes = [&](const std::string& command, bool secured, auto&& is_expected) {
        SCOPED_TRACE(command);
        run(command);
        const std::optional<LinkEvent> link = next_link(*followed);
        ASSERT_TRUE(link.has_value());
        EXPECT_EQ(link->secured, secured);
        EXPECT_TRUE(link->state.present);
        EXPECT_TRUE(is_expected(*link));
      };
      const auto is_up = [](const LinkEvent& link) { return link.state.up; };
      const auto is_down = [](const LinkEvent& link) { return !link.state.up; };
      const auto has_mtu = [](uint16_t mtu, uint16_t used) {
        return [=](const LinkEvent& link) {
          return link.state.up && link.state.mtu == mtu && link.used_mtu == used;
        };
      };
      changes("ip link set secured mtu 1400", true, has_mtu(1400, 1400));
      changes("ip link set secured mtu 9000", true, has_mtu(9000, 1600));
      changes("ip link set unsecured mtu 1300", false, has_mtu(1300, 1300));
      Wire wire("wire");
      constexpr MacAddress kNewMac = {2, 0, 0, 0, 7, 7};
      changes("ip link set secured address 02:00:00:00:07:07", true,
              [&](const LinkEvent& link) { return link.state.mac == kNewMac; });
      const Frame announced = wire.receive(0x0806);
      ASSERT_FALSE(announced.empty());
      EXPECT_EQ(std::memcmp(&announced[6], kNewMac.data(), 6), 0);
      // Administratively, and for want of a carrier.
      for (const std::string end : {"unsecured", "host"}) {
        changes("ip link set " + end + " down", false, is_down);
        changes("ip link set " + end + " up", false, is_up);
      }
      // Both are told, however fast.
      changes("ip link set unsecured down; ip link set unsecured up", false, is_down);
      changes("true", false, is_up);
      // Leaving a bridge is no removal, and other interfaces are of no concern.
      run("ip link add other type bridge && ip link set unsecured master other && "
          "ip link set unsecured nomaster && ip link del other");
      changes("ip link set unsecured mtu 1200", false, has_mtu(1200, 1200));
      // Under another name it is gone.
      changes("ip link set unsecured down", false, is_down);
      run("ip link set unsecured name elsewhere");
      const std::optional<LinkEvent> link = next_link(*followed);
      ASSERT_TRUE(link.has_value());
      EXPECT_FALSE(link->secured);
      EXPECT_FALSE(link->state.present);
      followed->stop();
    }).join();
  }
}

TEST_F(SoftwareEngineTest, SeveralLcoresCarryPacketsOfSeveralQueues) {
  std::thread([this] {
    if (std::thread::hardware_concurrency() < 2) GTEST_SKIP() << "one core";
    if (!make_links(1600)) {
      GTEST_SKIP() << "no rights to make a network namespace with veth pairs";
    }
    EngineConfig config = on_links();
    config.lcores = 2;
    const EngineInfo info = engine->start(config);
    Wire host("host"), wire("wire");
    install_flow();
    constexpr uint16_t kPackets = 40;
    std::set<std::string> came;
    for (uint16_t n = 0; n < kPackets; ++n) {
      const std::string words = "packet " + std::to_string(n);
      host.send(ethernet(info.unsecured.mac, kHostMac, 0x0800,
                         ip_packet(address("10.1.0.5"), address("10.2.0.7"), kProtocolUdp,
                                   udp(static_cast<uint16_t>(1000 + n), 9, text(words)))));
      came.insert(words_of(opened(wire.receive(0x0800), egress_key(5))));
    }
    EXPECT_EQ(came.size(), kPackets);
    EXPECT_FALSE(came.contains(""));
    const EngineCounts counts = engine->counts();
    ASSERT_EQ(counts.lcores.size(), 2u);
    for (const LcoreCount& lcore : counts.lcores) {
      EXPECT_GT(lcore.rx_packets, 0u);
      EXPECT_GT(lcore.tx_packets, 0u);
    }
    EXPECT_EQ(counts.secured.rx_packets, 0u);
    EXPECT_EQ(counts.peers[0].egress_packets, kPackets);

    // Both asleep by then: a rotation wakes who must take it over.
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    auto command = std::make_unique<Command>();
    command->body = RotateCommand{};
    ASSERT_TRUE(engine->submit(command));
    while (!(command = engine->completed())) engine->wait();
    engine->stop();
  }).join();
}

TEST_F(SoftwareEngineTest, KeysOfAllLcoresGetTheMemoryThatTheyWant) {
  std::thread([this] {
    if (std::thread::hardware_concurrency() < 2) GTEST_SKIP() << "one core";
    if (!chosen_aead()->is_plain_memory()) GTEST_SKIP() << "of this library only a few keys are kept";
    if (!make_links(1600)) {
      GTEST_SKIP() << "no rights to make a network namespace with veth pairs";
    }
    // Some thousands for either lcore: more than the few that take each other's place.
    constexpr uint32_t kFlows = 4 * KeyCache::kFirstTier, kAtOnce = 128;
    EngineConfig config = on_links();
    config.max_flows = kFlows;
    config.lcores = 2;
    const EngineInfo info = engine->start(config);
    const auto far_host = [](uint32_t n) {
      return "10.2." + std::to_string(n / 256) + "." + std::to_string(n % 256);
    };
    std::vector<FlowKey> flows;
    std::vector<Frame> frames;
    for (uint32_t n = 0; n < kFlows; ++n) {
      flows.push_back(flow("10.1.0.5", far_host(n)));
      frames.push_back(
          ethernet(info.unsecured.mac, kHostMac, 0x0800, udp_packet("10.1.0.5", far_host(n), "sealed")));
    }
    install_flows(flows);
    Wire host("host");
    uint64_t sent = 0;
    const auto round_misses = [&] {
      const uint64_t before = value(Value::kKeyCacheMisses);
      for (uint32_t n = 0; n < kFlows; ++n) {
        host.send(frames[n]);
        if (++sent % kAtOnce == 0) {
          EXPECT_TRUE(within(2000, [&] { return engine->counts().peers[0].egress_packets == sent; }));
        }
      }
      return value(Value::kKeyCacheMisses) - before;
    };
    uint64_t misses = kFlows;
    for (int round = 0; misses != 0 && round < 40; ++round) misses = round_misses();
    EXPECT_EQ(misses, 0u);
    for (const LcoreCount& lcore : engine->counts().lcores) {
      EXPECT_GT(lcore.rx_packets, sent / kFlows * KeyCache::kFirstTier);
    }
    engine->stop();
  }).join();
}

TEST_F(SoftwareEngineTest, CountsWhatALinkThatIsDownDoesNotTakeAndCarriesOnOnceItIsUp) {
  std::thread([this] {
    if (!make_links(1600)) {
      GTEST_SKIP() << "no rights to make a network namespace with veth pairs";
    }
    const EngineInfo info = engine->start(on_links());
    install_flow();
    const auto send = [&](const std::string& words) {
      Frame packet = from_host("10.1.0.5", "10.2.0.7", words);
      std::copy(info.unsecured.mac.begin(), info.unsecured.mac.end(), packet.begin());
      Wire("host").send(packet);
    };
    const auto down = [this] { return drop_count(engine->counts(), "port_down", "egress"); };
    // The link of our own end, then that of the other, which takes the carrier from us.
    for (const std::string end : {"secured", "wire"}) {
      const uint64_t before = down();
      run("ip link set " + end + " down");
      // The kernel tells of a lost carrier within a second.
      ASSERT_TRUE(within(3000, [] { return !interface_runs("secured"); }));
      std::this_thread::sleep_for(std::chrono::milliseconds(150));
      const uint64_t sent = engine->counts().secured.tx_packets;
      send("lost");
      EXPECT_TRUE(within(2000, [&] { return down() == before + 1; })) << end;
      EXPECT_EQ(engine->counts().secured.tx_packets, sent);
      run("ip link set " + end + " up");
      ASSERT_TRUE(within(3000, [] { return interface_runs("secured"); }));
      std::this_thread::sleep_for(std::chrono::milliseconds(150));
      Wire wire("wire");
      send("found");
      const Frame out = wire.receive(0x0800);
      ASSERT_FALSE(out.empty()) << end;
      EXPECT_EQ(words_of(opened(out, egress_key(5))), "found");
      EXPECT_EQ(down(), before + 1);
    }
    engine->stop();
  }).join();
}

TEST_F(SoftwareEngineTest, DoesNotStartOnAnInterfaceWhosePacketSocketRefusesAnOption) {
  std::thread([this] {
    if (!make_links(1600)) {
      GTEST_SKIP() << "no rights to make a network namespace with veth pairs";
    }
    // For this thread and those it starts; it ends with the test.
    refuse_packet_option(PACKET_IGNORE_OUTGOING);
    EngineError why;
    EXPECT_EQ(code_of(*engine, on_links(), &why), "PORT_FAILED");
    EXPECT_EQ(why.name, "unsecured");
    EXPECT_NE(why.detail.find("hiding our own frames"), std::string::npos) << why.detail;
  }).join();
  std::thread([this] {
    if (!make_links(1600)) return;
    refuse_packet_option(PACKET_ADD_MEMBERSHIP);
    EngineError why;
    EXPECT_EQ(code_of(*engine, on_links(), &why), "PORT_FAILED");
    EXPECT_NE(why.detail.find("every address"), std::string::npos) << why.detail;
  }).join();
}

TEST_F(SoftwareEngineTest, WakesForALoneSampleAfterSomeMillisecondsThoughItSleepsItself) {
  std::thread([this] {
    if (!make_links(1600)) {
      GTEST_SKIP() << "no rights to make a network namespace with veth pairs";
    }
    EngineConfig config = on_links();
    config.sampling = {0, 64};
    const EngineInfo info = engine->start(config);
    install_flow();
    Wire host("host");
    Frame packet = from_host("10.1.0.5", "10.2.0.7", "words");
    std::copy(info.unsecured.mac.begin(), info.unsecured.mac.end(), packet.begin());
    std::vector<double> waited_ms;
    for (int i = 0; i < 11; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      const auto before = std::chrono::steady_clock::now();
      host.send(packet);
      while (!engine->samples_due()) engine->wait();
      waited_ms.push_back(
          std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - before).count());
      Sample sample;
      ASSERT_TRUE(engine->next_sample(&sample));
      EXPECT_EQ(sample.copied, 64);
      EXPECT_FALSE(engine->next_sample(&sample));
    }
    // The median, because the machine may be busy. An idle engine sleeps for a second otherwise.
    std::ranges::nth_element(waited_ms, waited_ms.begin() + 5);
    EXPECT_LT(waited_ms[5], 500);
    EXPECT_GE(waited_ms[5], kSampleWaitMs - 1);
    engine->stop();
  }).join();
}

// A kernel interface says which checksums are partial: what only looks like one is the host's own.
TEST_F(SoftwareEngineTest, LeavesAChecksumAloneThatOnlyLooksPartial) {
  std::thread([this] {
    if (!make_links(1600)) {
      GTEST_SKIP() << "no rights to make a network namespace with veth pairs";
    }
    const EngineInfo info = engine->start(on_links());
    Wire host("host"), wire("wire");
    install_flow();
    Frame packet = from_host("10.1.0.5", "10.2.0.7", "words");
    std::copy(info.unsecured.mac.begin(), info.unsecured.mac.end(), packet.begin());
    IpPacket ip;
    ASSERT_EQ(read_ip(&packet[14], packet.size() - 14, &ip), IpFault::kNone);
    put16(packet, 40, static_cast<uint16_t>(~checksum_fold(pseudo_header_sum(ip, 8 + 5))));
    host.send(packet);
    const Frame out = wire.receive(0x0800);
    ASSERT_FALSE(out.empty());
    EXPECT_EQ(opened(out, egress_key(5)), Frame(packet.begin() + 14, packet.end()));
    engine->stop();
  }).join();
}

TEST_F(SoftwareEngineTest, CarriesJumboFrames) {
  std::thread([this] {
    if (!make_links(9060, 9000)) {
      GTEST_SKIP() << "no rights to make a network namespace with veth pairs";
    }
    const EngineInfo info = engine->start(on_links());
    EXPECT_EQ(info.unsecured.mtu, 9000);
    Wire host("host"), wire("wire");
    install_flow();
    Frame packet = from_host("10.1.0.5", "10.2.0.7", std::string(8972, 'x'));
    std::copy(info.unsecured.mac.begin(), info.unsecured.mac.end(), packet.begin());
    host.send(packet);
    const Frame out = wire.receive(0x0800);
    ASSERT_EQ(out.size(), 14u + 9060u);
    EXPECT_EQ(words_of(opened(out, egress_key(5))), std::string(8972, 'x'));
    engine->stop();
  }).join();
}

}  // namespace
}  // namespace psp
