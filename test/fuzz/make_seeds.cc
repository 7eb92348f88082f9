// SPDX-License-Identifier: Apache-2.0
// Writes seeds for every fuzz target into DIR/<target>/: fuzz_make_seeds DIR. Packets come from the rows of
// test/vectors and from the builders of the native tests; the frames around them have the format that the
// targets' headers describe. scripts/fuzz.sh reads the selected seeds in test/fuzz/corpus.
#include <filesystem>
#include <fstream>

#include "../native/engine/frames.h"
#include "../native/engine/gso_frames.h"
#include "../native/pcap/capture.h"
#include "../native/psp/hex.h"
#include "../native/psp/vector_table.h"
#include "input.h"

namespace psp::fuzz {
namespace {

std::filesystem::path folder;

void write(const std::string& target, const std::string& name, const Octets& octets) {
  std::filesystem::create_directories(folder / target);
  std::ofstream file(folder / target / name, std::ios::binary);
  file.write(reinterpret_cast<const char*>(octets.data()), static_cast<std::streamsize>(octets.size()));
}

Octets number(uint64_t value, size_t octets) {
  Octets result;
  for (size_t i = octets; i-- > 0;) result.push_back(static_cast<uint8_t>(value >> 8 * i));
  return result;
}
Octets operator+(Octets left, const Octets& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

struct Named {
  std::string name;
  Octets octets;
};

Octets frames_payload(size_t length) {
  Octets payload(length);
  for (size_t i = 0; i < length; ++i) payload[i] = static_cast<uint8_t>(i * 7);
  return payload;
}

// Packets of both families and many kinds.
std::vector<Named> packets() {
  std::vector<Named> all;
  for (const bool ipv6 : {false, true}) {
    const Address from = address(ipv6 ? "fd00:1::5" : "10.1.0.5"),
                  to = address(ipv6 ? "fd00:2::5" : "10.2.0.5");
    const std::string family = ipv6 ? "v6_" : "v4_";
    all.push_back({family + "udp", ip_packet(from, to, kProtocolUdp, udp(4000, 5000, text("one")))});
    all.push_back({family + "tcp", ip_packet(from, to, kProtocolTcp, frames_payload(20))});
    all.push_back(
        {family + "icmp", ip_packet(from, to, ipv6 ? kProtocolIcmpv6 : kProtocolIcmp, frames_payload(16))});
    all.push_back({family + "empty", ip_packet(from, to, 59, {}, 0xb9)});
    all.push_back({family + "esp", ip_packet(from, to, 50, frames_payload(24))});
    all.push_back({family + "ip_in_ip", ip_packet(from, to, ipv6 ? 41 : 4, ip_packet(from, to, 59, {}))});
    all.push_back(
        {family + "long", ip_packet(from, to, kProtocolUdp, udp(4000, 5000, frames_payload(1430)))});
  }
  const Address from = address("fd00:1::5"), to = address("fd00:2::5");
  const Octets datagram = udp(1, 2, text("ext"));
  const auto extended = [&](uint8_t first, const Octets& chain) {
    return ip_packet(from, to, first, chain + datagram);
  };
  all.push_back({"v6_hop_by_hop", extended(0, {17, 0, 1, 4, 0, 0, 0, 0})});
  all.push_back({"v6_routing", extended(0, {43, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0})});
  all.push_back({"v6_options_routing",
                 extended(60, {43, 0, 1, 4, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0})});
  all.push_back({"v6_authentication",
                 extended(51, {17, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})});
  all.push_back({"v6_first_fragment", extended(44, {17, 0, 0, 1, 0, 0, 0, 9})});
  all.push_back({"v6_later_fragment", extended(44, {17, 0, 0, 16, 0, 0, 0, 9})});
  all.push_back({"v6_atomic_fragment", extended(44, {17, 0, 0, 0, 0, 0, 0, 9})});
  for (const uint16_t marks : {0x4000, 0x2000, 0x2001, 0x0002}) {
    Octets packet = all[0].octets + frames_payload(marks == 0x2000 ? 1 : 5);
    put16(packet, 2, static_cast<uint32_t>(packet.size()));
    put16(packet, 4, 9);
    put16(packet, 6, marks);
    all.push_back({"v4_marks_" + std::to_string(marks), packet});
  }
  Octets options = all[0].octets;
  options.insert(options.begin() + 20, {0x94, 4, 0, 0, 7, 3, 4, 1});
  options[0] = 0x47;
  put16(options, 2, static_cast<uint32_t>(options.size()));
  all.push_back({"v4_options", options});
  return all;
}

void packet_seeds() {
  const Octets cover = {0, 3, 5, 64, 0xc3, 0x50, 0, 9};
  for (const auto& [name, octets] : packets()) {
    write("ip_parser", name, octets);
    write("icmp", name, number(name.find("long") != std::string::npos ? 576 : 68, 2) + Octets{0} + octets);
    for (const uint8_t what : {0x02, 0x25, 0xa4, 0xff}) {
      write("psp_seal", name + "_" + std::to_string(what),
            Octets{what} + Octets(cover.begin() + 1, cover.end()) + number(0x80000005, 4) + number(7, 8) +
                (what & 4 ? number(0x1122334455667788, 8) : Octets{}) + octets);
    }
  }
}

void vector_seeds() {
  for (const char* file : {"test/vectors/tunnel.txt", "test/vectors/transport.txt"}) {
    for (const test::Row& row : test::read_table(file)) {
      const Octets sealed = test::unhex(row.at("sealed")), clear = test::unhex(row.at("clear"));
      write("ip_parser", row.at("name"), sealed);
      IpPacket ip;
      if (read_ip(sealed.data(), sealed.size(), &ip) != IpFault::kNone || ip.protocol != kProtocolUdp)
        continue;
      const bool transport = row.at("mode") == "transport";
      IpPacket inner;
      if (sealed.size() > 400 || read_ip(clear.data(), clear.size(), &inner) != IpFault::kNone) continue;
      // The plaintext PSP header, followed by the plaintext of the sealed part.
      const size_t psp = ip.payload_offset + 8u, header = 8 + sealed[psp + 1] * size_t{8};
      if (psp + header > sealed.size()) continue;
      const Octets plain = transport ? Octets(clear.begin() + inner.payload_offset, clear.end()) : clear;
      const auto what =
          static_cast<uint8_t>((sealed[psp + 3] >> 2 & 3) | (transport ? 4 : 0) | (ip.version == 6 ? 8 : 0));
      const auto at = sealed.begin() + static_cast<ptrdiff_t>(psp);
      write("psp_open", row.at("name"),
            Octets{what, 0, 9} + Octets(at, at + static_cast<ptrdiff_t>(header)) + plain);
    }
  }
}

Octets step(uint8_t kind, const Octets& octets) {
  return Octets{kind, static_cast<uint8_t>(octets.size())} + octets;
}

void neighbour_seeds() {
  const auto behind_ethernet = [](const Octets& frame) { return Octets(frame.begin() + 14, frame.end()); };
  const auto behind_addresses = [](const Octets& frame) {
    return Octets(frame.begin() + 14 + 8, frame.end());
  };
  const Octets request = behind_ethernet(arp(true, kHostMac, "10.1.0.5", "10.2.0.1"));
  const Octets answer = behind_ethernet(arp(false, kHostMac, "10.1.0.5", "10.1.0.1"));
  const Octets solicits = behind_addresses(solicitation(kHostMac, "fd00:1::5", "fd00:2::1"));
  const Octets advertises = behind_addresses(
      neighbour_message(136, kHostMac, kUnsecuredMac, "fd00:1::5", "fd00:1::1", "fd00:1::5"));
  const Octets send = step(4, {3, 5, 5, 0x85}), wait = step(5, {0x03, 0xe8});
  for (const uint8_t side : {0, 1, 2}) {
    const std::string name = side == 0 ? "unsecured_" : side == 1 ? "secured_" : "secured6_";
    const Octets begin = {side};
    write("neighbours", name + "request", begin + step(0, request));
    write("neighbours", name + "answered", begin + send + step(0, answer) + send);
    write("neighbours", name + "solicited", begin + step(3, solicits) + send);
    write("neighbours", name + "advertised", begin + send + step(3, advertises) + wait);
    write("neighbours", name + "far", begin + step(2, Octets{64} + solicits));
    write("neighbours", name + "silent", begin + send + wait + wait + wait + send + wait + send);
    write("neighbours", name + "seeded",
          begin + step(6, {5, 2, 0, 0, 0, 0, 9}) + send + wait + wait + wait + wait + send);
    write("neighbours", name + "full", begin + step(7, {1, 1}) + send + send + step(7, {0, 0}) + send);
    Octets many = {100};
    for (uint8_t i = 0; i < 100; ++i) many.push_back(static_cast<uint8_t>(i * 2));
    write("neighbours", name + "many", begin + step(4, many) + wait + step(4, many));
  }
}

Octets wide_step(uint8_t kind, const Octets& octets) {
  return Octets{kind} + number(octets.size(), 2) + octets;
}

void worker_seeds() {
  for (const auto& [name, packet] : packets()) {
    const bool ipv6 = packet[0] >> 4 == 6;
    const uint8_t what = packet.size() % 4;
    for (const uint8_t peer : {0, 1}) {
      const auto flow = static_cast<uint8_t>(peer | (ipv6 ? 2 : 0));
      for (const uint8_t shape : {0, 1}) {
        const Octets from_host = wide_step(2, Octets{flow} + packet);
        const Octets install = wide_step(8, {flow, static_cast<uint8_t>(what << 2 | 16)});
        const Octets wait = wide_step(14, {0, 5});
        const Octets there = from_host + install + wait + from_host + wide_step(13, {0, 5, 0}) + from_host;
        const auto key = static_cast<uint8_t>(1 | what << 4 | 64);
        const Octets sealed = Octets{flow, key, static_cast<uint8_t>(4 | (shape ? 1 : 8)), 0, 25} + packet;
        const Octets back = wide_step(10, {flow, key}) + wide_step(5, sealed) + wide_step(6, sealed) +
                            wide_step(7, sealed) + wait;
        const std::string suffix = "_" + std::to_string(peer) + std::to_string(shape);
        write("worker", name + suffix + "_out", Octets{shape} + there);
        write("worker", name + suffix + "_in", Octets{shape} + back);
        if (packet.size() < 100) {
          write("worker", name + suffix + "_both",
                Octets{shape} + from_host + wide_step(12, {flow, 6}) + wide_step(12, {flow, 1}) + there +
                    back + wide_step(15, {12, 1, 1}) + there + wide_step(13, {1, 0}) + back);
        }
      }
    }
  }
  // Bursts of packets that fit their path and of packets that are fragmented.
  for (const uint8_t shape : {0, 1, 2, 3}) {
    for (const uint8_t flow : {0, 3, 5, 6, 7}) {
      const Octets begin = {shape},
                   some = {0x0b, 0xd0, 0x13, 0xe3, 0x1a, 0x05, 0xc6, 0x2d, 0xa1, 0x34, 0x98, 0x02,
                           0xba, 0x43, 0xf0, 0x5c, 0x54, 0xe2, 0x66, 0x0f, 0x7e, 0x01, 0xac, 0xb5};
      const std::string name = "burst_" + std::to_string(shape) + std::to_string(flow);
      write("worker", name + "_out", begin + wide_step(9, Octets{flow} + some));
      write("worker", name + "_in", begin + wide_step(11, Octets{flow, 1} + some));
    }
  }
  write("worker", "neighbours",
        Octets{0} + wide_step(0, arp(true, kHostMac, "10.1.0.9", "10.2.0.1")) +
            wide_step(0, solicitation(kHostMac, "fd00:1::9", "fd00:2::1")) +
            wide_step(3, arp(true, kPeerMac, "192.0.2.9", "192.0.2.1")));
}

void gso_seeds() {
  for (const bool udp_kind : {false, true}) {
    for (const bool ipv6 : {false, true}) {
      Segment whole{.ipv6 = ipv6, .udp = udp_kind, .payload = frames_payload(250)};
      for (const uint8_t flags : {0, 1}) {
        FrameFacts facts;
        const Frame frame = whole.partial(100, &facts);
        const Octets packet(frame.begin() + 14, frame.end());
        write("gso", std::to_string(udp_kind * 4 + ipv6 * 2 + flags),
              Octets{facts.kind, flags} + number(100, 2) + number(facts.checksum_start, 2) + packet);
        write("gso", "options" + std::to_string(udp_kind * 4 + ipv6 * 2 + flags),
              Octets{static_cast<uint8_t>(facts.kind | 0x80), flags} + number(100, 2) +
                  number(facts.checksum_start, 2) + Octets(packet.begin(), packet.end() - 1));
      }
      uint8_t tunnel = 0;
      for (const Overlay& overlay : overlays()) {
        FrameFacts facts;
        const std::string name = std::to_string(udp_kind * 2 + ipv6) + "_" + std::to_string(tunnel);
        const Frame inside = whole.partial(100, &facts);
        write("gso", "into_tunnel" + name,
              Octets{facts.kind, static_cast<uint8_t>(tunnel++ << 1 | 1)} + number(100, 2) +
                  number(facts.checksum_start, 2) + Octets(inside.begin() + 14, inside.end()));
        const Frame frame = overlay.partial(whole, 100, &facts);
        write("gso", "tunnel" + name,
              Octets{facts.kind, 1} + number(100, 2) + number(facts.checksum_start, 2) +
                  Octets(frame.begin() + 14, frame.end()));
      }
    }
  }
}

void capture_seeds() {
  const std::vector<Named> all = packets();
  for (const auto order : {std::endian::little, std::endian::big}) {
    const test::CaptureBuilder file{order};
    const std::string name = order == std::endian::little ? "little_" : "big_";
    const auto frame = [&](size_t i) {
      return ethernet(kHostMac, kPeerMac, all[i].octets[0] >> 4 == 6 ? 0x86dd : 0x0800, all[i].octets);
    };
    const Octets start = {255};
    for (const uint8_t what : {0x00, 0x0d}) {
      const std::string which = name + std::to_string(what);
      const Octets begin = start + Octets{what};
      write("pcap_reader", which + "_pcap",
            begin + file.pcap_header() + file.pcap_frame(frame(0)) + file.pcap_frame(frame(7)));
      write("pcap_reader", which + "_nanoseconds",
            begin + file.pcap_header(101, 200, 0xa1b23c4d) + file.pcap_frame(all[1].octets) +
                file.pcap_frame(all[8].octets, 900));
      write("pcap_reader", which + "_pcapng",
            begin + file.section() + file.interface(1, 0, file.option(13, {4}) + file.option(0, {})) +
                file.enhanced(frame(1) + Octets(4)) + file.simple(frame(2)) + file.block(4, Octets(8)) +
                file.interface(101, 96) + file.obsolete(all[7].octets, 1) +
                file.enhanced(all[8].octets, 1, file.option(3, {1, 2})));
    }
    // Layers before IP, header fields left to offload, flags with a frame check sequence.
    const Octets addresses(12, 2), tcp4 = all[1].octets;
    const auto without = [](Octets octets, std::initializer_list<size_t> fields) {
      for (const size_t at : fields) octets[at] = octets[at + 1] = 0;
      return octets;
    };
    const Octets longer =
                     ip_packet(address("fd00:1::5"), address("fd00:2::5"), kProtocolTcp, frames_payload(90)),
                 longer4 =
                     ip_packet(address("10.1.0.5"), address("10.2.0.5"), kProtocolTcp, frames_payload(90));
    const auto size = [](const Octets& octets, size_t more) { return number(octets.size() + more, 2); };
    const Octets layered[] = {
        addresses + size(tcp4, 8) + Octets{0xaa, 0xaa, 3, 0, 0, 0, 8, 0} + tcp4,
        addresses + size(tcp4, 3) + Octets{6, 6, 3} + tcp4,
        addresses + Octets{0x92, 0, 0, 7, 8, 0} + tcp4,
        addresses + Octets{0x88, 0x64, 0x11, 0, 0, 1} + size(tcp4, 2) + Octets{0, 0x21} + tcp4,
        addresses + Octets{0x88, 0x47, 0, 1, 0, 64, 0, 0, 1, 64} + tcp4,
        addresses + Octets{0x88, 0x47, 0, 1, 1, 64, 0, 0, 0, 0} + frame(0),
        addresses + Octets{0x88, 0xe7, 0, 0, 0, 7} + frame(0),
        addresses + Octets{0x86, 0xdd} + without(longer, {4}),
        addresses + Octets{8, 0} + without(longer4, {2, 10}),
        addresses + Octets{8, 0} + without(longer4, {10}),
        frame(0) + Octets(60, 1),
    };
    size_t which = 0;
    for (const Octets& one : layered) {
      const uint8_t what = which % 2 ? 0x10 : 0x34;
      write("pcap_reader", name + "layers" + std::to_string(which++),
            start + Octets{what} + file.pcap_header(1, 0) + file.pcap_frame(one) + file.pcap_frame(frame(0)) +
                file.pcap_frame(one));
    }
    write("pcap_reader", name + "flags",
          start + Octets{0} + file.section() + file.interface() +
              file.enhanced(frame(1) + Octets(4), 0, file.option(2, file.u32(0x81)) + file.option(0, {})) +
              file.obsolete(frame(0) + Octets(4), 0, file.option(2, file.u32(0x80))));
    write("pcap_reader", name + "two_sections",
          start + Octets{4} + file.section() + file.interface(113) + file.section() + file.interface() +
              file.enhanced(frame(0)));
  }
}

}  // namespace
}  // namespace psp::fuzz

int main(int count, char** arguments) {
  using namespace psp::fuzz;
  if (count != 2) {
    std::fprintf(stderr, "usage: fuzz_make_seeds DIR\n");
    return 2;
  }
  folder = arguments[1];
  packet_seeds();
  vector_seeds();
  neighbour_seeds();
  worker_seeds();
  gso_seeds();
  capture_seeds();
}
