// SPDX-License-Identifier: Apache-2.0
// A whole gateway under frames from both sides, commands and time: nothing but PSP, ARP and neighbour
// discovery leaves for the wire, hosts get nothing but what a peer sealed, and every frame has one end.
//
//   u8 shape | steps: u8 kind, u16 length, octets
#include "gateway.h"
#include "judge.h"

namespace psp::fuzz {
namespace {

constexpr uint32_t kStepsAtMost = 48;
constexpr uint32_t kBurstPacketsAtMost = 400;  // in all bursts of an input; fewer than a port has buffers
constexpr uint8_t kHosts = 4;  // addresses on either side that commands and sealed packets are about

// The address of host `n` behind us (1) or behind a peer (2, 3).
Address host(uint8_t site, bool ipv6, uint8_t n) {
  Address address = psp::address(ipv6 ? "fd00:1::5" : "10.1.0.5");
  address[ipv6 ? 3 : 13] = site;
  address[15] = static_cast<uint8_t>(address[15] + n % kHosts);
  return address;
}

// One octet names a flow from us: the peer, the family, and a host on either side.
struct Flow {
  explicit Flow(uint8_t what)
      : peer(what & 1 ? kTransportPeer : kTunnelPeer),
        key{host(1, what & 2, what >> 2), host(peer == kTunnelPeer ? 2 : 3, what & 2, what >> 4)},
        number(what) {}
  uint16_t peer;
  FlowKey key;
  uint8_t number;
  Mode mode() const { return peer == kTunnelPeer ? Mode::kTunnel : Mode::kTransport; }
};

// Equal packets in a row, by one octet: the kind and how many. Most kinds are of the burst's own flow, and
// about half of them fit the path of shape 2.
struct Kind {
  uint16_t length;
  bool dont_fragment = false;
  uint8_t flow = 0;  // the difference to the burst's flow: of other hosts 4 and 8, of the other peer 1
};
struct Some {
  explicit Some(uint8_t what) : kind(kKinds[what & 15]), count(kCounts[what >> 4]) {}
  static constexpr Kind kKinds[] = {
      {60},         {60, false, 4}, {60, false, 8}, {200},  {600},  {830},  {840},
      {841},        {850},          {1400},         {1500}, {1500}, {1500}, {1500, false, 4},
      {1500, true}, {200, false, 1}};
  static constexpr uint8_t kCounts[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 4, 6, 10};
  static constexpr uint8_t kFlows[] = {0, 0, 0, 4, 16, 1, 2, 3};  // five of them tunnels of IPv4
  Kind kind;
  uint8_t count;
};

class Run {
 public:
  explicit Run(Gateway& gateway) : gateway_(gateway), judge_(gateway) {}

  void step(uint8_t kind, Input input) {
    switch (kind % 16) {
      case 0:
        return from_host(input.rest());
      case 1:
      case 2:
        return packet_from_host(input, kind % 16 == 2);
      case 3:
        return from_wire(input.rest());
      case 4:
        return packet_from_wire(input);
      case 5:
      case 6:
      case 7:
        return sealed_from_wire(input, kind % 16);
      case 8:
        return install(input);
      case 9:
        return burst_from_host(input);
      case 10:
        return admit(input);
      case 11:
        return burst_from_wire(input);
      case 12:
        return refuse(input);
      case 13:
        return input.u8() & 1 ? rotate(input) : too_big(input);
      case 14:
        gateway_.turn(input.u16());
        return;
      default:
        return limit(input);
    }
  }
  void look() {
    gateway_.settle();
    judge_.look();
  }

 private:
  void from_host(Octets frame) {
    if (frame.size() > 14) judge_.know_from_host(Octets(frame.begin() + 14, frame.end()));
    gateway_.unsecured.received.push_back(std::move(frame));
  }
  // An IP packet with right checksums, on one of the flows when `ours`.
  void packet_from_host(Input input, bool ours) {
    const Flow flow(input.u8());
    Octets packet = input.rest();
    if (ours) readdress(packet, flow.key);
    fix_checksums(packet.data(), packet.size());
    from_host(ethernet(kUnsecuredMac, kHostMac, type_of(packet), packet));
  }
  // Packets of flows with a key, as many as a burst of the engine takes and more, described in so few octets
  // that chance finds the order that matters: u8 flow, then an octet for some equal packets in a row.
  void burst_from_host(Input input) {
    const uint8_t number = Some::kFlows[input.u8() & 7];
    while (!input.empty()) {
      const Some some(input.u8());
      const Flow flow(number ^ some.kind.flow);
      if (keyed_.insert(flow.number).second) install(flow, 0);
      for (uint32_t i = 0; i < some.count && burst_packets_ < kBurstPacketsAtMost; ++i) {
        const Octets packet = numbered_packet(flow.key, some.kind);
        from_host(ethernet(kUnsecuredMac, kHostMac, type_of(packet), packet));
      }
    }
  }
  // As that, from a peer with a key of ours: u8 flow, u8 key, then an octet for some.
  void burst_from_wire(Input input) {
    const uint8_t number = Some::kFlows[input.u8() & 7], which = input.u8();
    while (!input.empty()) {
      const Some some(input.u8());
      const Flow flow(number ^ some.kind.flow);
      if (admitted_.insert({flow.number, which}).second) admit(flow, which);
      for (uint32_t i = 0; i < some.count && burst_packets_ < kBurstPacketsAtMost; ++i) {
        send_sealed(flow, which, 0, numbered_packet(flow.key.reversed(), some.kind), 5, 0);
      }
    }
  }
  // A UDP packet whose payload begins with a number of its own.
  Octets numbered_packet(const FlowKey& flow, const Kind& kind) {
    ++burst_packets_;
    const size_t headers = (is_ipv4(flow.source) ? 20 : 40) + 8;
    Octets payload(kind.length - headers, static_cast<uint8_t>(burst_packets_));
    store_u16(payload.data(), static_cast<uint16_t>(burst_packets_));
    Octets packet = ip_packet(flow.source, flow.destination, kProtocolUdp, udp(4000, 5000, payload));
    if (is_ipv4(flow.source)) {
      store_u16(&packet[4], static_cast<uint16_t>(burst_packets_));
      store_u16(&packet[6], kind.dont_fragment ? 0x4000 : 0);
    }
    fix_checksums(packet.data(), packet.size());
    return packet;
  }
  void from_wire(Octets frame) { gateway_.secured.received.push_back(std::move(frame)); }
  void packet_from_wire(Input input) {
    Octets packet = input.rest();
    fix_checksums(packet.data(), packet.size());
    from_wire(ethernet(kSecuredMac, kPeerMac, type_of(packet), packet));
  }

  // What a peer with a key of ours sends: u8 flow, u8 key, u8 marks, u16 where it is cut (kind 6) or which
  // bit is turned (kind 7).
  void sealed_from_wire(Input input, uint8_t kind) {
    const Flow flow(input.u8());
    const uint8_t which = input.u8(), marks = input.u8();
    const uint16_t turned = input.u16();
    Octets packet = input.rest();
    if (marks & 4) readdress(packet, flow.key.reversed());
    fix_checksums(packet.data(), packet.size());
    send_sealed(flow, which, marks, std::move(packet), kind, turned);
  }
  void send_sealed(const Flow& flow, uint8_t which, uint8_t marks, Octets packet, uint8_t kind,
                   uint16_t turned) {
    IpPacket ip;
    if (packet.size() > 9000 || read_ip(packet.data(), packet.size(), &ip) != IpFault::kNone) return;
    packet.resize(ip.length);
    EgressKey key = receive_key(which, flow.number);
    Octets sealed = seal(key, flow, packet, ip, marks);
    if (sealed.empty()) return;
    if (kind == 7) {
      const size_t from = psp_offset(sealed);
      const size_t bit = turned % ((sealed.size() - from) * 8);
      sealed[from + bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    } else {
      // In transport mode the marks of a fragmented IPv4 packet are the packet's own.
      if (kind == 6 && flow.mode() == Mode::kTransport && ip.version == 4) {
        store_u16(&packet[4], iv_);
        store_u16(&packet[6], 0);
        fix_ipv4_checksum(packet.data(), packet.size());
      }
      judge_.know_from_peer(packet);
    }
    if (kind == 6) return in_fragments(sealed, turned);
    from_wire(ethernet(kSecuredMac, kPeerMac, type_of(sealed), sealed));
  }

  // In two fragments, cut at a multiple of 8 octets behind the fixed header; the last goes first if `at` is
  // odd.
  void in_fragments(const Octets& packet, uint16_t at) {
    const bool ipv6 = packet[0] >> 4 == 6;
    IpPacket ip;
    require(read_ip(packet.data(), packet.size(), &ip) == IpFault::kNone, "peers send IP packets");
    const size_t front = ipv6 ? 40 : ip.payload_offset;
    const size_t cut = std::min<size_t>(8 + (at & 0x3ff8u), (packet.size() - front) & ~size_t{7});
    for (const bool last : {(at & 1) != 0, (at & 1) == 0}) {
      Octets part(packet.begin(), packet.begin() + static_cast<ptrdiff_t>(front));
      const size_t from = last ? front + cut : front, to = last ? packet.size() : front + cut;
      const auto offset = static_cast<uint16_t>(from - front);
      if (ipv6) {
        const uint8_t header[8] = {
            part[6], 0, static_cast<uint8_t>(offset >> 8), static_cast<uint8_t>((offset & 0xf8) | !last),
            0,       0, static_cast<uint8_t>(iv_ >> 8),    static_cast<uint8_t>(iv_)};
        part[6] = kProtocolFragment;
        part.insert(part.end(), header, header + 8);
      } else {
        store_u16(&part[4], iv_);
        store_u16(&part[6], static_cast<uint16_t>(offset / 8 | (last ? 0 : 0x2000)));
      }
      part.insert(part.end(), packet.begin() + static_cast<ptrdiff_t>(from),
                  packet.begin() + static_cast<ptrdiff_t>(to));
      store_u16(&part[ipv6 ? 4 : 2], static_cast<uint16_t>(part.size() - (ipv6 ? 40 : 0)));
      fix_ipv4_checksum(part.data(), part.size());
      from_wire(ethernet(kSecuredMac, kPeerMac, type_of(part), part));
    }
  }

  // A router on the wire says that the packet that left last was too long.
  void too_big(Input input) {
    const Octets& about = judge_.last_sealed();
    if (about.empty()) return;
    const bool ipv6 = about[0] >> 4 == 6;
    const uint16_t mtu = input.u16();
    Octets icmp = {static_cast<uint8_t>(ipv6 ? 2 : 3), static_cast<uint8_t>(ipv6 ? 0 : 4), 0, 0, 0, 0, 0, 0};
    store_u16(&icmp[6], mtu);
    icmp.insert(icmp.end(), about.begin(),
                about.begin() + static_cast<ptrdiff_t>(std::min<size_t>(about.size(), 500)));
    Address from{};
    std::memcpy(from.data(), ipv6 ? &about[8] : mapped(&about[12]).data(), 16);
    const Address router = psp::address(ipv6 ? "fd00:9::7" : "192.0.2.7");
    Octets packet = ip_packet(router, from, ipv6 ? kProtocolIcmpv6 : kProtocolIcmp, icmp);
    fix_checksums(packet.data(), packet.size());
    from_wire(ethernet(kSecuredMac, kPeerMac, type_of(packet), packet));
  }

  Octets seal(const EgressKey& key, const Flow& flow, const Octets& packet, const IpPacket& ip,
              uint8_t marks) {
    const SealingKey sealing(*gateway_.aead, key);
    Header header;
    header.version = key.version;
    header.spi = key.spi;
    header.iv = ++iv_;
    header.has_cookie = key.cookie != 0;
    header.cookie = key.cookie;
    header.sample = marks & 1;
    header.drop = marks & 2;
    header.crypt_offset = marks >> 4;
    const bool tunnel = flow.mode() == Mode::kTunnel;
    const bool ipv6 = !is_ipv4(gateway_.config.secured_address.address);
    const size_t front =
        tunnel ? tunnel_headroom(ipv6, header.has_cookie) : transport_headroom(header.has_cookie);
    Octets room(front + packet.size() + kIcvLength);
    std::copy(packet.begin(), packet.end(), room.begin() + static_cast<ptrdiff_t>(front));
    if (tunnel) {
      Outer outer;
      outer.source = *gateway_.config.secured_gateway;
      outer.destination = gateway_.config.secured_address.address;
      if (!seal_tunnel(*gateway_.aead, sealing.expanded(), outer, ip, header, &room[front])) return {};
      if (marks & 8) room[1] |= ipv6 ? kCongestionExperienced << 4 : kCongestionExperienced;
      fix_ipv4_checksum(room.data(), room.size());
      return room;
    }
    TransportLayout cut;
    if (read_transport_layout(ip, packet.data(), &cut) != TransportFault::kNone) return {};
    seal_transport(*gateway_.aead, sealing.expanded(), cut, 50000, marks & 8, header, &room[front]);
    return room;
  }
  static size_t psp_offset(const Octets& packet) {
    IpPacket ip;
    require(read_ip(packet.data(), packet.size(), &ip) == IpFault::kNone, "peers send IP packets");
    return ip.payload_offset + kUdpHeaderLength;
  }

  // Of our receive SPIs there are 16, each of one flow at a time; version and cookie are the SPI's.
  EgressKey receive_key(uint8_t which, uint8_t flow) {
    EgressKey key;
    key.spi = 0x1000u + (which & 15) * 256u + flow;
    key.version = which >> 4 & 3;
    key.cookie = which & 64 ? 0x1122334455667788 : 0;
    if (which & 128) key.spi |= 0x80000000;
    MasterKey(std::span<const uint8_t, 32>(kMasterOctets)).derive(key.spi, key.version, key.key.data());
    return key;
  }

  void install(Input input) {
    const Flow flow(input.u8());
    install(flow, input.u8());
  }
  void install(const Flow& flow, uint8_t what) {
    EgressKey key;
    key.spi = 0x80000001u + flow.number * 4u + (what & 3);
    key.version = what >> 2 & 3;
    key.mode = flow.mode();
    key.cookie = what & 16 ? 0x8877665544332211 : 0;
    key.first_iv = (uint64_t{1000} + (what >> 5)) << 22;
    key.outer_destination =
        flow.mode() == Mode::kTunnel ? *gateway_.config.secured_gateway : flow.key.destination;
    key.key.fill(static_cast<uint8_t>(key.spi * 5 + key.version));
    // An SPI has one key and one cookie: the fuzzer may not give it another.
    if (!given_.insert({{key.spi, key.version}, key.cookie}).second &&
        given_.find({key.spi, key.version})->second != key.cookie) {
      return;
    }
    judge_.know_key(key);
    InstallCommand command;
    command.peer = flow.peer;
    command.flows = {flow.key};
    command.keys.push_back(key);
    command.results.resize(1);
    gateway_.obey(std::move(command));
  }
  void admit(Input input) {
    const Flow flow(input.u8());
    admit(flow, input.u8());
  }
  void admit(const Flow& flow, uint8_t which) {
    const EgressKey key = receive_key(which, flow.number);
    OfferCommand command;
    command.inbound = {flow.key.reversed()};
    command.cookies = {key.cookie};
    command.peer = flow.peer;
    command.version = key.version;
    command.mode = flow.mode();
    command.spis = {key.spi};
    gateway_.obey(std::move(command));
  }
  void refuse(Input input) {
    const Flow flow(input.u8());
    const uint8_t what = input.u8();
    if (what & 1) {
      gateway_.obey(RemoveCommand{{flow.key}});
    } else if (what & 2) {
      const EgressKey key = receive_key(input.u8(), flow.number);
      gateway_.obey(WithdrawCommand{{{flow.key.reversed(), key.spi}}});
    } else {
      gateway_.obey(RefuseCommand{{flow.key}, what & 4 ? Refusal::kRefused : Refusal::kRemoved, what * 16u});
    }
  }
  // The master key stays as it was; what was offered under it ends.
  void rotate(Input input) {
    gateway_.master_keys.next_slot = input.u8() & 1;
    gateway_.master_keys.next = std::make_unique<MasterKey>(std::span<const uint8_t, 32>(kMasterOctets));
    gateway_.obey(RotateCommand{});
    gateway_.master_keys.next.reset();  // the replaced key, as the control thread does
  }
  void limit(Input input) {
    const uint8_t what = input.u8();
    gateway_.main->unsecured.tx.set_up(!(what & 1));
    gateway_.main->secured.tx.set_up(!(what & 2));
    gateway_.unsecured.takes = what & 4 ? input.u8() : UINT64_MAX;
    gateway_.secured.takes = what & 8 ? input.u8() : UINT64_MAX;
  }

  static uint16_t type_of(const Octets& packet) {
    return !packet.empty() && packet[0] >> 4 == 6 ? 0x86dd : 0x0800;
  }
  static void readdress(Octets& packet, const FlowKey& flow) {
    const bool ipv4 = is_ipv4(flow.source);
    if (packet.size() < (ipv4 ? 20 : 40)) packet.resize(ipv4 ? 20 : 40);
    packet[0] = static_cast<uint8_t>((ipv4 ? 0x40 : 0x60) | (packet[0] & 15));
    const size_t at = ipv4 ? 12 : 8, skip = ipv4 ? 12 : 0, length = 16 - skip;
    std::memcpy(&packet[at], &flow.source[skip], length);
    std::memcpy(&packet[at + length], &flow.destination[skip], length);
    // Lengths that lie tell nothing new here: the ip_parser target has them.
    store_u16(&packet[ipv4 ? 2 : 4], static_cast<uint16_t>(packet.size() - (ipv4 ? 0 : 40)));
  }

  Gateway& gateway_;
  Judge judge_;
  std::map<std::pair<uint32_t, uint8_t>, uint64_t> given_;
  uint16_t iv_ = 0;  // sealed packets are fewer
  uint32_t burst_packets_ = 0;
  std::set<uint8_t> keyed_;                         // flows, by bursts
  std::set<std::pair<uint8_t, uint8_t>> admitted_;  // flows and their keys, by bursts
};

Gateway& gateway_of(uint8_t shape) {
  static std::unique_ptr<Gateway> made[std::size(kShapes)];
  auto& gateway = made[shape % std::size(kShapes)];
  if (!gateway) gateway = std::make_unique<Gateway>(kShapes[shape % std::size(kShapes)]);
  return *gateway;
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
  Gateway& gateway = gateway_of(input.u8());
  {
    Run run(gateway);
    for (uint32_t i = 0; i < kStepsAtMost && !input.empty(); ++i) {
      const uint8_t kind = input.u8();
      const auto octets = input.take(input.u16());
      run.step(kind, Input(octets.data(), octets.size()));
      if ((kind & 16) == 0) run.look();
    }
    run.look();
  }
  gateway.forget();
  return 0;
}
