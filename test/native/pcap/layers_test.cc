// SPDX-License-Identifier: Apache-2.0
// The link layers before IP: IP is found after each of them, they are rewritten for another packet, and
// frames without IP get a kind.
#include "pcap/layers.h"

#include <gtest/gtest.h>

#include "capture.h"

namespace psp::test {
namespace {

const Octets kPacket4 = udp4(1, 2, 60), kPacket6 = udp6(1, 2, 60);
const Octets kAddresses = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};

Octets u16(size_t value) {
  return {static_cast<uint8_t>(value >> 8), static_cast<uint8_t>(value)};
}
Octets snap(uint16_t type, const Octets& payload, const Octets& organization = {0, 0, 0}) {
  const Octets llc = Octets{0xaa, 0xaa, 3} + organization + u16(type);
  return kAddresses + u16(llc.size() + payload.size()) + llc + payload;
}
Octets pppoe(uint16_t protocol, const Octets& payload) {
  return kAddresses + Octets{0x88, 0x64, 0x11, 0, 0, 1} + u16(payload.size() + 2) + u16(protocol) + payload;
}
// A label stack with the given labels.
Octets mpls(std::initializer_list<uint32_t> labels, const Octets& payload) {
  Octets frame = kAddresses + Octets{0x88, 0x47};
  size_t left = labels.size();
  for (const uint32_t label : labels) {
    uint8_t entry[4];
    store_u32(entry, label << 12 | (--left == 0 ? 0x100u : 0u) | 64);
    frame.insert(frame.end(), entry, entry + 4);
  }
  return frame + payload;
}

Layers read(const Octets& frame, uint16_t link_type = 1) {
  return *read_layers(link_type, frame);
}

TEST(Layers, FindIpAfterEachLayer) {
  const struct {
    const char* name;
    Octets frame;
    size_t length;
    uint8_t version;
    uint16_t link_type = 1;
  } rows[] = {
      {"Ethernet", ethernet(kPacket4), 14, 4},
      {"tag 0x9200", ethernet(kPacket4, {0x92, 0, 0, 7}), 18, 4},
      {"SNAP", snap(0x0800, kPacket4), 22, 4},
      {"SNAP, IPv6", snap(0x86dd, kPacket6), 22, 6},
      {"SNAP of IEEE 802.1H", snap(0x0800, kPacket4, {0, 0, 0xf8}), 22, 4},
      {"SNAP, tag", snap(0x8100, Octets{0, 5, 8, 0} + kPacket4), 26, 4},
      {"LLC", kAddresses + u16(kPacket4.size() + 3) + Octets{6, 6, 3} + kPacket4, 17, 4},
      {"LLC of a jumbo frame", ethernet(Octets{6, 6, 3} + kPacket4, {}, 0x8870), 17, 4},
      {"LLC, cooked", Octets(14, 0) + u16(4) + Octets{6, 6, 3} + kPacket4, 19, 4, 113},
      {"PPPoE", pppoe(0x0021, kPacket4), 22, 4},
      {"PPPoE, IPv6", pppoe(0x0057, kPacket6), 22, 6},
      {"PPPoE, MPLS", pppoe(0x0281, Octets{0, 0, 0x11, 64} + kPacket4), 26, 4},
      {"MPLS", mpls({16}, kPacket4), 18, 4},
      {"MPLS, IPv6", mpls({17, 16}, kPacket6), 22, 6},
      {"MPLS, IPv4 explicit null", mpls({16, 0}, kPacket4), 22, 4},
      {"MPLS, IPv6 explicit null", mpls({2}, kPacket6), 18, 6},
      {"raw IP", kPacket6, 0, 6, 101},
  };
  for (const auto& row : rows) {
    const Layers layers = read(row.frame, row.link_type);
    EXPECT_EQ(layers.ip_version, row.version) << row.name;
    EXPECT_EQ(layers.length, row.length) << row.name;
    EXPECT_TRUE(lengths_hold(layers, row.frame.size() - row.length, row.frame.data())) << row.name;
  }
}

TEST(Layers, AreRewrittenForAnotherVersionAndLength) {
  const struct {
    const char* name;
    Octets frame, after;
  } rows[] = {
      {"Ethernet", ethernet(kPacket4, {0x81, 0, 0, 5}), ethernet(kPacket6, {0x81, 0, 0, 5})},
      {"SNAP", snap(0x0800, kPacket4), snap(0x86dd, kPacket6)},
      {"PPPoE", pppoe(0x0021, kPacket4), pppoe(0x0057, kPacket6)},
      {"MPLS", mpls({16}, kPacket4), mpls({16}, kPacket6)},
      {"MPLS explicit null", mpls({16, 0}, kPacket4), mpls({16, 2}, kPacket6)},
  };
  for (const auto& [name, frame, after] : rows) {
    for (const bool back : {false, true}) {
      const Octets &from = back ? after : frame, &to = back ? frame : after;
      const Layers layers = read(from);
      Octets front(from.begin(), from.begin() + static_cast<long>(layers.length));
      const Octets& packet = back ? kPacket4 : kPacket6;
      EXPECT_EQ(rewrite_layers(layers, back ? 4 : 6, packet.size(), front.data()), nullptr) << name;
      EXPECT_EQ(front + packet, to) << name;
    }
  }
}

TEST(Layers, RejectPacketsThatTheyCannotRepresent) {
  Octets llc = kAddresses + u16(kPacket4.size() + 3) + Octets{6, 6, 3} + kPacket4;
  EXPECT_NE(rewrite_layers(read(llc), 6, 100, llc.data()), nullptr);
  EXPECT_EQ(rewrite_layers(read(llc), 4, 1497, llc.data()), nullptr);
  EXPECT_EQ(load_u16(llc.data() + 12), 1500);
  EXPECT_NE(rewrite_layers(read(llc), 4, 1498, llc.data()), nullptr);
  Octets session = pppoe(0x0021, kPacket4), raw = kPacket4;
  EXPECT_EQ(rewrite_layers(read(session), 4, 65533, session.data()), nullptr);
  EXPECT_NE(rewrite_layers(read(session), 4, 65534, session.data()), nullptr);
  EXPECT_NE(rewrite_layers(read(raw, 228), 6, 100, raw.data()), nullptr);
  EXPECT_EQ(rewrite_layers(read(raw, 101), 6, 100, raw.data()), nullptr);
}

TEST(Layers, DetectWrongLengthFields) {
  const Octets frames[] = {snap(0x0800, kPacket4), pppoe(0x0021, kPacket4)};
  for (const auto& [frame, offset] : {std::pair(frames[0], 12), std::pair(frames[1], 18)}) {
    for (const int more : {-1, 1, -60}) {
      Octets wrong = frame;
      store_u16(&wrong[static_cast<size_t>(offset)],
                static_cast<uint16_t>(load_u16(&wrong[static_cast<size_t>(offset)]) + more));
      EXPECT_EQ(read(wrong).ip_version, 4);
      EXPECT_FALSE(lengths_hold(read(wrong), kPacket4.size(), wrong.data()));
    }
  }
}

TEST(Layers, ReportTheKindOfFramesWithoutIp) {
  const struct {
    const char* kind;
    Octets frame;
    uint16_t link_type = 1;
  } rows[] = {
      {"ARP", arp()},
      {"LLDP", ethernet(Octets(50, 1), {0x81, 0, 0, 5}, 0x88cc)},
      {"EtherType 0x88b5", ethernet(Octets(50, 1), {}, 0x88b5)},
      {"EtherType 0x05dd", ethernet(kPacket4, {}, 0x05dd)},
      {"LLC 0x42", kAddresses + u16(38) + Octets{0x42, 0x42, 3} + Octets(35, 0)},
      {"LLC 0x42", ethernet(Octets{0x42, 0x42, 3} + Octets(35, 0), {}, 0x8870)},
      {"SNAP 0x00000c", snap(0x2000, Octets(40, 1), {0, 0, 0x0c})},
      {"SNAP 0x0080c2", snap(0x000e, Octets(40, 1), {0, 0x80, 0xc2})},
      {"PPP 0xc021", pppoe(0xc021, Octets(40, 1))},
      {"PPPoE discovery", ethernet(Octets(40, 1), {}, 0x8863)},
      {"PPPoE", ethernet(Octets{0x11, 0xa7, 0, 1, 0, 0}, {}, 0x8864)},
      {"MPLS", mpls({16}, Octets{0x10, 0, 0, 7} + Octets(40, 1))},
      {"MPLS", mpls({16}, Octets(4, 0) + arp())},
      {"MACsec", ethernet(Octets{0x2c} + Octets(60, 1), {}, 0x88e5)},
      {"neither IPv4 nor IPv6", Octets{0x50, 1}, 101},
      {"EtherType 0x0003", Octets(14, 0) + u16(3) + Octets(30, 1), 113},
  };
  for (const auto& row : rows) {
    const Layers layers = read(row.frame, row.link_type);
    EXPECT_EQ(layers.ip_version, 0) << row.kind;
    EXPECT_EQ(layers.kind, row.kind);
    EXPECT_FALSE(layers.may_hide_ip) << row.kind;
  }
}

TEST(Layers, ReportFramesThatMayHideIp) {
  const struct {
    const char* kind;
    Octets frame;
  } rows[] = {
      {"PBB", ethernet(Octets(4, 0) + ethernet(kPacket4), {}, 0x88e7)},
      {"NSH", ethernet(kPacket4, {}, 0x894f)},
      {"VN-Tag", ethernet(kPacket4, {}, 0x8926)},
      {"MACsec without encryption", ethernet(Octets{0x20} + Octets(60, 1), {}, 0x88e5)},
      {"SNAP 0x0080c2", snap(0x0007, ethernet(kPacket4), {0, 0x80, 0xc2})},
      {"PPP with a compressed protocol field", pppoe(0x2145, kPacket4)},
      {"PPP with compressed TCP/IP", pppoe(0x002d, kPacket4)},
      {"PPP multilink", pppoe(0x003d, kPacket4)},
      {"an MPLS pseudowire with IP", mpls({16}, Octets(4, 0) + ethernet(kPacket4))},
      {"an MPLS pseudowire with IP", mpls({16}, Octets{0} + Octets(11, 1) + u16(0x0800) + kPacket4)},
      {"an MPLS pseudowire with IP", mpls({16}, Octets(4, 0) + mpls({17}, Octets(4, 0) + arp()))},
  };
  for (const auto& [kind, frame] : rows) {
    EXPECT_EQ(read(frame).ip_version, 0) << kind;
    EXPECT_EQ(read(frame).kind, kind);
    EXPECT_TRUE(read(frame).may_hide_ip) << kind;
  }
}

TEST(Layers, ReportTruncatedLinkHeaders) {
  for (const Octets& frame :
       {ethernet(kPacket4, {0x92, 0, 0, 5}), snap(0x0800, kPacket4),
        snap(0x8100, Octets{0, 5, 8, 0} + kPacket4), pppoe(0x0021, kPacket4), mpls({18, 17, 16}, kPacket6)}) {
    const size_t length = read(frame).length;
    for (size_t kept = 0; kept < length; kept++) {
      const Octets cut(frame.begin(), frame.begin() + static_cast<long>(kept));
      EXPECT_EQ(read(cut).ip_version, 0) << kept << " of " << length;
      EXPECT_EQ(read(cut).kind, "truncated in its link header") << kept << " of " << length;
    }
  }
  EXPECT_EQ(read({}, 101).kind, "empty");
}

TEST(Layers, ParseNestedPseudowiresInBoundedTime) {
  Octets frame = arp();
  for (int i = 0; i < 2000; i++) frame = mpls({16}, Octets(4, 0) + frame);
  EXPECT_TRUE(read(frame).may_hide_ip);
}

}  // namespace
}  // namespace psp::test
