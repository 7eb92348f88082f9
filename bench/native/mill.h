// SPDX-License-Identifier: Apache-2.0
// A gateway between two mills, ports in memory that endlessly produce frames and discard the frames they are
// given, and the traffic that the benches send through it: UDP of any number of flows in random order.
#pragma once

#include <functional>
#include <utility>

#include "psp/encapsulation.h"
#include "psp/octets.h"
#include "test/native/engine/gateway.h"

namespace psp {

// Frames come from a pool, and `fill` writes them. Frames that leave are counted and freed.
class Mill : public Port {
 public:
  using Fill = std::function<void(rte_mbuf** packets, uint16_t count)>;

  explicit Mill(PortInfo info) : info_(info), pool_("mill", 4095, 2304) {}
  PortInfo info() const override { return info_; }
  uint16_t rx_burst(rte_mbuf** packets, uint16_t count) override {
    if (!fill || rte_pktmbuf_alloc_bulk(pool_.get(), packets, count) != 0) return 0;
    fill(packets, count);
    return count;
  }
  uint16_t tx_burst(rte_mbuf** packets, uint16_t count) override {
    rte_pktmbuf_free_bulk(packets, count);
    taken += count;
    return count;
  }
  int descriptor() const override { return -1; }

  Fill fill;
  uint64_t taken = 0;

 private:
  const PortInfo info_;
  Pool pool_;
};

// Flow n goes from one of a thousand hosts in 10.1.0.0/16 to one in 10.2.0.0/16. The first host is not the
// gateway itself.
inline constexpr uint32_t kHosts = 1000, kFirstHost = 2;
inline Address host_address(uint8_t net, uint32_t host) {
  const uint8_t octets[4] = {10, net, static_cast<uint8_t>(host >> 8), static_cast<uint8_t>(host)};
  return mapped(octets);
}
inline FlowKey nth_flow(uint32_t n) {
  return {host_address(1, kFirstHost + n % kHosts), host_address(2, kFirstHost + n / kHosts)};
}
inline uint32_t nth_spi(uint32_t n) {
  return 0x10000 + n;
}
inline EgressKey nth_egress_key(uint32_t n, uint8_t version) {
  EgressKey key = egress_key(nth_spi(n));
  key.version = version;
  key.mac = kPeerMac;
  std::memcpy(key.key.data(), &n, sizeof n);
  return key;
}

// Numbers in random order, the same in every run.
class Shuffle {
 public:
  explicit Shuffle(uint32_t bound) : bound_(bound) {}
  uint32_t next() {
    state_ ^= state_ << 13, state_ ^= state_ >> 7, state_ ^= state_ << 17;
    return static_cast<uint32_t>((state_ >> 32) * bound_ >> 32);
  }

 private:
  uint64_t bound_, state_ = 88172645463325252;
};

// Copies whole frames.
inline void write_frame(rte_mbuf* packet, const uint8_t* frame, size_t length) {
  packet->data_len = static_cast<uint16_t>(length);
  packet->pkt_len = static_cast<uint32_t>(length);
  std::memcpy(rte_pktmbuf_mtod(packet, void*), frame, length);
}

// Packets of `octets` from hosts, of random flows: headers are written for each packet; payloads are the
// previous contents of the buffer.
inline Mill::Fill from_hosts(size_t octets, uint32_t flows) {
  constexpr size_t kHeaders = 42, kChecksum = 24, kSource = 26, kDestination = 30, kUdp = 34,
                   kUdpChecksum = 40;
  Frame frame = from_host("10.1.0.0", "10.2.0.0", std::string(octets - 28, 'x'));
  write_udp_checksum(address("10.1.0.0"), address("10.2.0.0"), &frame[kUdp]);
  return [frame, shuffle = Shuffle(flows)](rte_mbuf** packets, uint16_t count) mutable {
    const auto base = static_cast<uint16_t>(~load_u16(&frame[kChecksum]));
    const auto udp_base = static_cast<uint16_t>(~load_u16(&frame[kUdpChecksum]));
    for (uint16_t i = 0; i < count; ++i) {
      write_frame(packets[i], frame.data(), kHeaders);
      packets[i]->data_len = static_cast<uint16_t>(frame.size());
      packets[i]->pkt_len = static_cast<uint32_t>(frame.size());
      auto* const at = rte_pktmbuf_mtod(packets[i], uint8_t*);
      const uint32_t n = shuffle.next();
      const auto source = static_cast<uint16_t>(kFirstHost + n % kHosts);
      const auto destination = static_cast<uint16_t>(kFirstHost + n / kHosts);
      store_u16(at + kSource + 2, source);
      store_u16(at + kDestination + 2, destination);
      store_u16(at + kChecksum, checksum_fold(uint32_t{base} + source + destination));
      store_u16(at + kUdpChecksum, checksum_fold(uint32_t{udp_base} + source + destination));
    }
  };
}

// An lcore between two mills.
class Plant {
 public:
  // With capacity for this many flows, none of which is installed yet.
  explicit Plant(uint32_t max_flows, uint32_t lcores = 1)
      : aead(fastest()), config(plant_config(max_flows, lcores)) {
    main = std::make_unique<MainLcore>(config, *aead, unsecured, secured, master_keys, counters, events,
                                       samples, kSeed);
    turn();
  }
  // The first `flows` flows have keys in both directions.
  Plant(uint32_t flows, uint8_t version, uint32_t lcores = 1) : Plant(flows, lcores) {
    constexpr uint32_t kAtOnce = 1000;
    for (uint32_t first = 0; first < flows; first += kAtOnce) {
      obey(install_of(first, std::min(flows, first + kAtOnce), version));
      obey(admit_of(first, std::min(flows, first + kAtOnce), version));
    }
  }
  // Commands for the flows from `first` to before `end`.
  static InstallCommand install_of(uint32_t first, uint32_t end, uint8_t version) {
    InstallCommand install;
    for (uint32_t n = first; n < end; ++n) {
      install.flows.push_back(nth_flow(n));
      install.keys.push_back(nth_egress_key(n, version));
    }
    install.results.resize(install.flows.size());
    return install;
  }
  static OfferCommand admit_of(uint32_t first, uint32_t end, uint8_t version) {
    OfferCommand admit;
    admit.version = version;
    admit.cookies.resize(end - first);
    for (uint32_t n = first; n < end; ++n) {
      admit.inbound.push_back(nth_flow(n).reversed());
      admit.spis.push_back(nth_spi(n));
    }
    return admit;
  }

  static std::unique_ptr<Aead> fastest() {
    auto aead = make_aead_ipsec_mb();
    return aead ? std::move(aead) : make_aead_libcrypto();
  }

  void obey(Command& command) {
    Budget all = Budget::unlimited();
    carry_out(*main, command, all);
  }
  template <typename T>
  void obey(T body) {
    Command command;
    command.body = std::move(body);
    obey(command);
  }
  void turn() { run_once(*main, now_ns += 3'000); }
  // All hosts send a request, from which the gateway learns them, and an answer, which confirms that they are
  // reachable. That lasts a few seconds of the plant's time. What the ports produce stays as it is.
  void know_hosts() {
    const Mill::Fill before = std::exchange(unsecured.fill, nullptr);
    for (const bool request : {true, false}) {
      for (uint32_t host = kFirstHost; host < kFirstHost + kHosts; host += kBurst) {
        unsecured.fill = [request, host](rte_mbuf** packets, uint16_t count) {
          for (uint16_t i = 0; i < count; ++i) {
            const uint32_t n = host + i;
            const std::string sender = "10.1." + std::to_string(n >> 8) + "." + std::to_string(n & 255);
            const Frame frame = arp(request, kHostMac, sender, "10.1.0.1");
            write_frame(packets[i], frame.data(), frame.size());
          }
        };
        turn();
      }
    }
    unsecured.fill = before;
    take_events();
  }
  // As the thread beside a polling one does.
  void grow_keys() {
    while (main->grow_memory()) {
    }
  }
  void take_events() {
    for (Event event; events.pop(&event);) {
    }
  }

  std::unique_ptr<Aead> aead;
  EngineConfig config;
  Mill unsecured{{kUnsecuredMac, 1500}}, secured{{kSecuredMac, 1600}};
  Counters counters;
  SpscRing<Event> events{65536};
  SampleRing samples{8192, 128};
  MasterKeys master_keys = test_master_keys();
  std::unique_ptr<MainLcore> main;
  uint64_t now_ns = 1'000'000'000;

 private:
  static EngineConfig plant_config(uint32_t flows, uint32_t lcores) {
    EngineConfig config = gateway_config();
    config.gateways = {prefix("10.1.0.1/16")};
    config.vips = {prefix("10.1.0.0/16")};
    config.max_flows = std::max(flows, 4096u);
    config.lcores = lcores;
    return config;
  }
};

}  // namespace psp
