// SPDX-License-Identifier: Apache-2.0
// One gateway without threads: a worker between two ports in memory, with time passed by hand. VIPs
// 10.1.0.0/24 and fd00:1::/64 are ours, 10.2.0.0/16 and fd00:2::/64 those of peer 0.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "chosen_aead.h"
#include "engine/ports/eal.h"
#include "engine/software/commands.h"
#include "engine/software/turn.h"
#include "frames.h"
#include "psp/tunnel.h"

namespace psp {

inline EngineConfig gateway_config() {
  EngineConfig config;
  config.gateways = {prefix("10.1.0.1/24"), prefix("fd00:1::1/64")};
  config.secured_address = prefix("192.0.2.1/24");
  config.vips = {prefix("10.1.0.0/24"), prefix("fd00:1::/64")};
  config.peers = {{.vips = {prefix("10.2.0.0/16"), prefix("fd00:2::/64")}}};
  config.max_flows = 4096;
  config.retire_ms = 1000;
  config.held_per_flow = 64;
  config.held_per_source = 1024;
  config.held_total = 2048;
  config.wants_per_peer = 1024;
  config.spis_per_flow = 8;
  return config;
}

// One environment serves all tests of the process; each gateway's tables reserve 128 MiB of it.
inline const EalOptions kTestEal{1024, {}, false};

inline constexpr uint64_t kSeed = 20;
inline constexpr uint8_t kMasterOctets[32] = {1, 2, 3, 4, 5, 6, 7, 8};

inline MasterKeys test_master_keys() {
  return {.by_slot = {std::make_unique<MasterKey>(std::span<const uint8_t, 32>(kMasterOctets)), nullptr},
          .next_slot = 0,
          .next = nullptr};
}

// An offer as the control thread leaves it for the main lcore, under SPIs that the test picks.
inline OfferCommand offer_of(std::vector<FlowKey> inbound, uint32_t first_spi, uint8_t version = 0,
                             uint64_t cookie = 0, Mode mode = Mode::kTunnel, uint16_t peer = 0) {
  OfferCommand command;
  command.cookies.resize(inbound.size(), cookie);
  command.peer = peer;
  command.version = version;
  command.mode = mode;
  for (uint32_t n = 0; n < inbound.size(); ++n) command.spis.push_back(first_spi + n);
  command.inbound = std::move(inbound);
  return command;
}

struct Gateway {
  explicit Gateway(EngineConfig engine_config = gateway_config(), uint16_t unsecured_mtu = 1500,
                   uint16_t secured_mtu = 1600, size_t event_room = 4096, size_t sample_room = 4096)
      : eal((enter_eal(kTestEal), true)),
        config(std::move(engine_config)),
        unsecured({kUnsecuredMac, unsecured_mtu}),
        secured({kSecuredMac, secured_mtu}),
        events(event_room),
        samples(sample_room, config.sampling.snap_bytes),
        main(std::make_unique<MainLcore>(config, *aead, unsecured, secured, master_keys, counters, events,
                                         samples, kSeed)) {
    turn(1000);
  }

  // One turn, `ms` later.
  void turn(uint64_t ms = 0) { run_once(*main, (now += ms) * 1'000'000); }
  // Turns, `ms` later, until neither packets nor timers have more to do.
  void pass(uint64_t ms) {
    now += ms;
    while (run_once(*main, now * 1'000'000)) {
    }
  }
  // Turns until nothing is left to receive.
  void settle() {
    do turn();
    while (!unsecured.received.empty() || !secured.received.empty());
  }
  void host_sends(Frame frame) {
    unsecured.received.push_back(std::move(frame));
    settle();
  }
  void wire_sends(Frame frame) {
    secured.received.push_back(std::move(frame));
    settle();
  }
  // The next hop 192.0.2.2 asks for us and is confirmed, before it is asked.
  void know_next_hop() {
    wire_sends(arp(true, kPeerMac, "192.0.2.2", "192.0.2.1"));
    wire_sends(arp(false, kPeerMac, "192.0.2.2", "192.0.2.1"));
    secured.sent.clear();
  }
  void know_host(const std::string& host) {
    if (host.find(':') == std::string::npos) {
      host_sends(arp(true, kHostMac, host, "10.1.0.1"));
      host_sends(arp(false, kHostMac, host, "10.1.0.1"));
    } else {
      host_sends(solicitation(kHostMac, host, "fd00:1::1"));
      host_sends(neighbour_message(136, kHostMac, kUnsecuredMac, host, "fd00:1::1", host, 255, true, 0x60));
    }
    unsecured.sent.clear();
  }

  template <typename T>
  T obey(T body) {
    Command command;
    command.body = std::move(body);
    Budget all = Budget::unlimited();
    carry_out(*main, command, all);
    return std::get<T>(std::move(command.body));
  }
  InstallResult install(const FlowKey& flow, const EgressKey& key, uint16_t peer = 0) {
    InstallCommand command;
    command.peer = peer;
    command.flows = {flow};
    command.keys.push_back(key);
    command.results.resize(1);
    return obey(std::move(command)).results[0];
  }
  bool admit(const FlowKey& inbound, uint32_t spi, uint8_t version = 0, uint64_t cookie = 0,
             Mode mode = Mode::kTunnel, uint16_t peer = 0) {
    return admits(offer_of({inbound}, spi, version, cookie, mode, peer));
  }
  bool admits(OfferCommand command) { return obey(std::move(command)).failure == OfferFailure::kNone; }
  // Puts a master key of these octets into a slot. Afterwards `master_keys.next` is the one that was there.
  void rotate(uint8_t slot, std::span<const uint8_t, 32> octets = kMasterOctets) {
    master_keys.next_slot = slot;
    master_keys.next = std::make_unique<MasterKey>(octets);
    obey(RotateCommand{});
  }
  void refuse(const FlowKey& flow, Refusal refusal, uint32_t hold_down_ms) {
    RefuseCommand command;
    command.flows = {flow};
    command.refusal = refusal;
    command.hold_down_ms = hold_down_ms;
    obey(std::move(command));
  }

  std::vector<MissedEvent> missed() {
    std::vector<MissedEvent> result;
    for (Event event; events.pop(&event);) {
      if (const auto* miss = std::get_if<MissedEvent>(&event)) result.push_back(*miss);
    }
    return result;
  }
  std::vector<WornEvent> worn() {
    std::vector<WornEvent> result;
    for (Event event; events.pop(&event);) {
      if (const auto* one = std::get_if<WornEvent>(&event)) result.push_back(*one);
    }
    return result;
  }
  std::vector<SeenEvent> seen() {
    std::vector<SeenEvent> result;
    for (Event event; events.pop(&event);) {
      if (const auto* one = std::get_if<SeenEvent>(&event)) result.push_back(*one);
    }
    return result;
  }
  std::vector<Sample> sampled() {
    std::vector<Sample> result(1);
    while (samples.pop(&result.back())) result.emplace_back();
    result.pop_back();
    return result;
  }
  PipeCount passed(Pipe pipe) { return counters.read().pipes[static_cast<size_t>(pipe)]; }
  uint64_t dropped(Drop reason) { return counters[reason].value(); }
  uint64_t value(Value value) { return counters[value].value(); }

  // Every frame has exactly one end, received ones and those that we make of others.
  void expect_conservation() {
    uint64_t ends = value(Value::kHeld) + value(Value::kNeighbourQueued) + value(Value::kConsumed) +
                    value(Value::kForwardedEgress) + value(Value::kForwardedIngress);
    ends += value(Value::kFragmentsWaiting) + value(Value::kFragmentsJoined);
    for (const Counter& drop : counters.drops) ends += drop.value();
    const uint64_t made =
        value(Value::kFragmentsMade) - value(Value::kPacketsFragmented) + value(Value::kIcmpSent);
    EXPECT_EQ(ends, counters.unsecured.rx_packets.value() + counters.secured.rx_packets.value() + made);
  }

  bool eal;
  uint64_t now = 0;
  std::unique_ptr<Aead> aead = chosen_aead();
  EngineConfig config;
  FakePort unsecured, secured;
  Counters counters;
  SpscRing<Event> events;
  SampleRing samples;
  MasterKeys master_keys = test_master_keys();
  std::unique_ptr<MainLcore> main;
};

inline FlowKey flow(const std::string& source, const std::string& destination) {
  return {address(source), address(destination)};
}

inline EgressKey egress_key(uint32_t spi, uint8_t fill = 7, uint64_t first_iv = uint64_t{1000} << 32) {
  EgressKey key;
  key.spi = spi;
  key.first_iv = first_iv;
  key.outer_destination = address("192.0.2.2");
  key.key.fill(fill);
  return key;
}

// The key that our master key gives an SPI, for packets towards the gateway.
inline EgressKey key_of(uint32_t spi, uint8_t version, std::span<const uint8_t, 32> master = kMasterOctets) {
  EgressKey key = egress_key(spi);
  key.version = version;
  MasterKey(master).derive(spi, version, key.key.data());
  return key;
}

struct Marks {
  bool sample = false, drop = false;
};

// A frame from the wire that carries `inner` sealed under the key.
inline Frame sealed(const EgressKey& key, const Frame& inner, uint64_t iv = 1, uint8_t wire_version = 255,
                    const std::string& from = "192.0.2.2", const std::string& to = "192.0.2.1",
                    Marks marks = {}) {
  static const auto aead = make_aead_libcrypto();
  const bool ipv6 = from.find(':') != std::string::npos;
  const size_t front = tunnel_headroom(ipv6, key.cookie != 0);
  Frame room(front + inner.size() + kIcvLength);
  std::memcpy(&room[front], inner.data(), inner.size());
  void* expanded = std::aligned_alloc(kAeadKeyAlignment, (aead->expanded_size() + 63) / 64 * 64);
  aead->construct(expanded);
  aead->expand(expanded, key.key.data(), key.version);
  IpPacket packet;
  read_ip(inner.data(), inner.size(), &packet);
  Header header;
  header.version = wire_version == 255 ? key.version : wire_version;
  header.spi = key.spi;
  header.iv = iv;
  header.sample = marks.sample;
  header.drop = marks.drop;
  header.has_cookie = key.cookie != 0;
  header.cookie = key.cookie;
  Outer outer;
  outer.source = address(from);
  outer.destination = address(to);
  outer.udp_source = 50000;
  EXPECT_EQ(seal_tunnel(*aead, expanded, outer, packet, header, &room[front]), room.data());
  aead->destroy(expanded);
  std::free(expanded);
  return ethernet(kSecuredMac, kPeerMac, ipv6 ? 0x86dd : 0x0800, room);
}

// What stands in an IPv4-outer sealed frame: SPI and IV.
inline uint32_t spi_of(const Frame& frame) {
  const size_t psp = 14 + 20 + 8;
  return static_cast<uint32_t>(get16(frame, psp + 4)) << 16 | get16(frame, psp + 6);
}
inline uint64_t iv_of(const Frame& frame) {
  uint64_t iv = 0;
  for (size_t i = 0; i < 8; ++i) iv = iv << 8 | frame[14 + 20 + 8 + 8 + i];
  return iv;
}

// Opens an IPv4-outer frame that a gateway sealed; empty when it does not open.
inline Frame opened(const Frame& frame, const EgressKey& key) {
  static const auto aead = make_aead_libcrypto();
  Frame copy = frame;
  uint8_t* payload = copy.data() + 14 + 20 + 8;
  const size_t length = copy.size() - 14 - 20 - 8;
  Header header;
  if (read_header(payload, length, &header) != HeaderFault::kNone) return {};
  void* expanded = std::aligned_alloc(kAeadKeyAlignment, (aead->expanded_size() + 63) / 64 * 64);
  aead->construct(expanded);
  aead->expand(expanded, key.key.data(), key.version);
  uint8_t* inner = nullptr;
  IpPacket packet;
  const OpenFault fault = open_tunnel(*aead, expanded, &header, payload, length, &inner, &packet);
  aead->destroy(expanded);
  std::free(expanded);
  return fault == OpenFault::kNone ? Frame(inner, inner + packet.length) : Frame{};
}

// The words in an IPv4 UDP packet.
inline std::string words_of(const Frame& inner) {
  return inner.size() < 28 ? "" : std::string(inner.begin() + 28, inner.end());
}

}  // namespace psp
