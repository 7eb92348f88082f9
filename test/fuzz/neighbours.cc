// SPDX-License-Identifier: Apache-2.0
// ARP and neighbour discovery from a hostile segment: parsing believes no length, answers go out only for
// what the rules name, tables and queues keep to their bounds, and no packet is lost.
//
//   u8 side | steps: u8 kind, u8 length, octets
#include "engine/neighbours/neighbours.h"

#include "../native/engine/frames.h"
#include "memory_port.h"
#include "packets.h"

namespace psp::fuzz {
namespace {

constexpr Neighbours::Drops kDrops = {Drop::kIngressNeighbourUnresolved, Drop::kIngressTxFull,
                                      Drop::kIngressPortDown, Drop::kIngressHandoffFull};
constexpr uint32_t kStepsAtMost = 64;

struct World {
  // More buffers than may be in use at once: waiting for neighbours, in the queue, and one step's own.
  MemoryPort port{{kUnsecuredMac, 1500}, Neighbours::kQueueTotal + TxQueue::kCapacity + 256};
  Pool control{"control", 2048, RTE_PKTMBUF_HEADROOM + 256};
  Peers peers{{prefix("10.1.0.0/24"), prefix("fd00:1::/64")},
              {{.vips = {prefix("10.2.0.0/16"), prefix("fd00:2::/64")}}}};
  UnsecuredRules unsecured{peers, {prefix("10.1.0.1/24"), prefix("fd00:1::1/64")}, kUnsecuredMac};
  SecuredRules secured{prefix("10.1.0.1/24"), address("fe80::1"), kUnsecuredMac};
  SecuredRules secured6{prefix("fd00:1::1/64"), address("fd00:2::1"), kUnsecuredMac};
};

World& world() {
  static auto* const made = new World();
  return *made;
}

// One side's neighbours during one input.
class Segment {
 public:
  explicit Segment(const NeighbourRules& rules)
      : rules_(rules),
        tx_(world().port, counters_.unsecured),
        neighbours_(rules, kUnsecuredMac, tx_, world().control.get(), counters_, kDrops,
                    Value::kForwardedIngress) {}

  void hear_arp(const Octets& octets) {
    if (const auto message = read_arp(octets.data(), octets.size())) hear(*message);
  }
  // `rest` is source, destination and all behind them; a mutator has no business with the fixed header.
  void hear_discovery(uint8_t hop_limit, const Octets& rest, bool mending) {
    Octets packet = {0x60, 0, 0, 0, 0, 0, kProtocolIcmpv6, hop_limit};
    packet.insert(packet.end(), rest.begin(), rest.end());
    if (packet.size() < 40) packet.resize(40);
    store_u16(&packet[4], static_cast<uint16_t>(packet.size() - 40));
    if (mending) fix_checksums(packet.data(), packet.size());
    packet.shrink_to_fit();
    IpPacket ip;
    if (read_ip(packet.data(), packet.size(), &ip) != IpFault::kNone) return;
    if (!is_neighbour_discovery(ip, packet.data())) return;
    if (const auto message = read_neighbour_discovery(ip, packet.data())) {
      require(hop_limit == 255, "only from the link itself");
      require(message->target[0] != 0xff && ip.source[0] != 0xff, "nobody is a group");
      hear(*message);
    }
  }
  void send(const Address& address) {
    ++given_;
    neighbours_.send(address, world().port.packet_of(Octets(64, 0xee)), now_ms_);
  }
  void seed(const Address& address, const MacAddress& mac) { neighbours_.seed(address, mac, now_ms_); }
  void limit(uint64_t frames) { world().port.takes = frames; }
  void set_up(bool up) { tx_.set_up(up); }
  void pass(uint64_t ms) {
    now_ms_ += ms;
    Budget all = Budget::unlimited();
    neighbours_.tick(now_ms_, all);
  }

  void look() {
    tx_.flush();
    for (const Octets& frame : world().port.sent) look_at(frame);
    world().port.sent.clear();
    require(counters_[Value::kNeighbourQueued].value() <= Neighbours::kQueueTotal, "waiting is bounded");
    require(counters_[Value::kNeighbours].value() <= Neighbours::kCapacity, "the table is bounded");
    uint64_t ends = counters_[Value::kForwardedIngress].value() + counters_[Value::kNeighbourQueued].value();
    for (const Counter& drop : counters_.drops) ends += drop.value();
    require(ends == given_, "every frame has one end");
  }
  // After enough time everything has left or was dropped.
  void end() {
    limit(UINT64_MAX);
    set_up(true);
    // One tick looks after 64 neighbours.
    for (int second = 0; second < 8; ++second) {
      pass(Neighbours::kRetryMs);
      for (int more = 0; more < 7; ++more) pass(0);
    }
    look();
    look();
    require(counters_[Value::kNeighbourQueued].value() == 0, "nothing waits for ever");
    require(world().port.packets_out() == 0, "no packet is lost");
    require(rte_mempool_in_use_count(world().control.get()) == 0, "nor one of our own");
  }

 private:
  void hear(const NeighbourMessage& message) { neighbours_.receive(message, now_ms_); }
  void look_at(const Octets& frame) const {
    require(frame.size() >= 14, "frames have an Ethernet header");
    if (frame.size() == 64 && frame[63] == 0xee) {
      MacAddress to;
      std::memcpy(to.data(), frame.data(), 6);
      require(is_unicast(to), "packets go to one interface");
      return;
    }
    require(std::memcmp(&frame[6], kUnsecuredMac.data(), 6) == 0, "requests and answers come from us");
    if (load_u16(&frame[12]) == 0x0806) {
      if (frame[21] == 2) {
        require_ours(mapped(&frame[28]), mapped(&frame[38]));
      }
      return;
    }
    IpPacket ip;
    require(read_ip(&frame[14], frame.size() - 14, &ip) == IpFault::kNone, "messages are IP packets");
    require(read_neighbour_discovery(ip, &frame[14]).has_value(), "messages are right");
    if (frame[14 + 40] == 136) {
      Address target;
      std::memcpy(target.data(), &frame[14 + 48], 16);
      require_ours(target, ip.destination);
    }
  }
  void require_ours(const Address& target, const Address& asker) const {
    NeighbourMessage request;
    request.request = true;
    request.sender = asker;
    request.target = target;
    require(rules_.answers(request) != NeighbourRules::Answer::kNo,
            "only ours is answered, to whom it is for");
  }

  const NeighbourRules& rules_;
  Counters counters_;
  TxQueue tx_;
  Neighbours neighbours_;
  uint64_t now_ms_ = 1000;
  uint64_t given_ = 0;
};

// The families that a side has: both, or on the secured side that of its address.
enum class Side : uint8_t { kUnsecured, kSecured, kSecured6 };

Address some_address(Side side, Input& input) {
  const uint8_t which = input.u8();
  const bool ipv6 = side == Side::kUnsecured ? which & 128 : side == Side::kSecured6;
  Address address = psp::address(ipv6 ? "fd00:1::" : "10.1.0.0");
  address[15] = which & 127;
  return address;
}

void step(Segment& segment, Side side, uint8_t kind, Input input) {
  switch (kind % 8) {
    case 0:
      return segment.hear_arp(input.rest());
    case 1: {
      Octets arp = {0, 1, 8, 0, 6, 4, 0};
      const Octets rest = input.rest();
      arp.insert(arp.end(), rest.begin(), rest.end());
      return segment.hear_arp(arp);
    }
    case 2:
    case 3: {
      const uint8_t hop_limit = input.u8();
      return segment.hear_discovery(kind % 8 == 2 ? hop_limit : 255, input.rest(), kind % 8 == 3);
    }
    case 4:
      for (uint8_t left = input.u8() & 127; left > 0; --left) segment.send(some_address(side, input));
      return;
    case 5:
      return segment.pass(input.u16());
    case 6: {
      MacAddress mac;
      const Address address = some_address(side, input);
      for (uint8_t& octet : mac) octet = input.u8();
      return segment.seed(address, mac);
    }
    default:
      segment.set_up(input.u8() & 1);
      segment.limit(input.u8());
  }
}

}  // namespace
}  // namespace psp::fuzz

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  psp::fuzz::enter_environment();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t length) {
  using namespace psp::fuzz;
  Input input(data, length);
  const auto side = static_cast<Side>(input.u8() % 3);
  const psp::NeighbourRules* const rules[] = {&world().unsecured, &world().secured, &world().secured6};
  Segment segment(*rules[static_cast<size_t>(side)]);
  for (uint32_t i = 0; i < kStepsAtMost && !input.empty(); ++i) {
    const uint8_t kind = input.u8();
    const auto octets = input.take(input.u8());
    step(segment, side, kind, Input(octets.data(), octets.size()));
    segment.look();
  }
  segment.end();
  return 0;
}
