// SPDX-License-Identifier: Apache-2.0
// One function for each layer, each of which reads its header at `at_` and hands on to the next. Every step
// goes forward in the frame. Length fields are recorded and not believed: what names IP is IP, whatever they
// say.
#include "pcap/layers.h"

#include <algorithm>
#include <cstdio>

#include "pcap/link.h"
#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

namespace {

using Naming = Layers::Naming;

constexpr uint16_t kPppoe = 0x8864, kMpls = 0x8847, kMplsUpstream = 0x8848, kLlc = 0x8870, kMacsec = 0x88e5;
constexpr uint16_t kCookedLlc = 0x0004;  // LINUX_SLL_P_802_2
// A type field below this one is a length (IEEE 802.3 clause 3.2.6); lengths end at 1500.
constexpr uint16_t kLeastEtherType = 0x0600, kLongest8023 = 1500;
constexpr uint8_t kSnap = 0xaa, kLlcIp = 0x06, kUnnumbered = 0x03;  // IEEE 802.2; RFC 948
constexpr uint32_t kBridged = 0x0080c2, kRfc1042 = 0x000000, kBridgeTunnel = 0x0000f8;
constexpr uint16_t kPppIpv4 = 0x0021, kPppIpv6 = 0x0057, kPppMpls = 0x0281, kPppMplsMulticast = 0x0283;
constexpr size_t kPppoeHeader = 6, kLabel = 4, kControlWord = 4;
constexpr uint32_t kLabelMask = 0xfffff000, kBottom = 0x00000100;
constexpr uint32_t kIpv4Null = 0, kIpv6Null = 2u << 12;

struct Named {
  uint16_t number;
  const char* name;
};

constexpr Named kPlainTypes[] = {
    {kEtherTypeArp, "ARP"},
    {0x8035, "RARP"},
    {0x8808, "MAC control"},
    {0x8809, "slow protocols"},
    {0x8863, "PPPoE discovery"},
    {0x888e, "EAPOL"},
    {0x88cc, "LLDP"},
    {0x88f7, "PTP"},
    {0x8902, "CFM"},
};

// Types whose payload is, or holds, another frame or an IP packet.
constexpr Named kCarriers[] = {
    {0x22f3, "TRILL"},
    {0x4305, "BATMAN"},
    {0x6558, "transparent Ethernet bridging"},
    {0x876b, "compressed TCP/IP"},
    {0x880b, "PPP"},
    {0x88e5, "MACsec without encryption"},
    {0x88e7, "PBB"},
    {0x8903, "FabricPath"},
    {0x8909, "Cisco metadata"},
    {0x8926, "VN-Tag"},
    {0x892f, "HSR"},
    {0x893f, "E-Tag"},
    {0x894f, "NSH"},
    {0xa0ed, "6LoWPAN"},
    {0xdada, "EDSA"},
};

// PPP protocols that carry IP compressed, encrypted, in pieces or in a bridged frame.
constexpr Named kPppCarriers[] = {
    {0x0003, "PPP with ROHC"},
    {0x0005, "PPP with ROHC"},
    {0x002d, "PPP with compressed TCP/IP"},
    {0x002f, "PPP with compressed TCP/IP"},
    {0x0031, "PPP bridging"},
    {0x003d, "PPP multilink"},
    {0x0053, "PPP encryption"},
    {0x0055, "PPP encryption"},
    {0x00fb, "PPP compression"},
    {0x00fd, "PPP compression"},
};

template <size_t count>
const char* name_of(const Named (&table)[count], uint16_t number) {
  const auto* const row =
      std::find_if(table, table + count, [&](const Named& named) { return named.number == number; });
  return row == table + count ? nullptr : row->name;
}

std::string numbered(const char* what, unsigned number, int digits) {
  char text[40];
  std::snprintf(text, sizeof text, "%s 0x%0*x", what, digits, number);
  return text;
}

class Walk {
 public:
  Walk(std::span<const uint8_t> frame, const LinkFront& front, bool nested)
      : frame_(frame), nested_(nested), at_(front.length), type_offset_(front.type_offset) {}

  Layers run(uint16_t link_type, const LinkFront& front) {
    const bool ethernet = link_type == kEthernetLink;
    if (!front.named) {
      read_raw(front);
    } else if (frame_.size() < at_) {
      is_cut();
    } else if (ethernet && u16(type_offset_) <= kLongest8023) {
      add_length(type_offset_, at_, kLongest8023);
      read_llc();
    } else if (!ethernet && u16(type_offset_) == kCookedLlc) {
      read_llc();
    } else {
      read_type();
    }
    return std::move(layers_);
  }

 private:
  uint16_t u16(size_t offset) const { return load_u16(frame_.data() + offset); }
  bool have(size_t octets) const { return frame_.size() >= at_ + octets; }

  void found(uint8_t version) {
    layers_.ip_version = version;
    layers_.length = at_;
  }
  void is(std::string kind, bool hides = false) {
    layers_.kind = std::move(kind);
    layers_.hides = hides;
  }
  void is_cut() { is("cut in its link header"); }

  void add_length(size_t offset, size_t base, size_t most) {
    layers_.lengths[layers_.length_count++] = {offset, base, most};
  }
  void name(Naming naming, size_t offset) {
    layers_.naming = naming;
    layers_.name_offset = offset;
  }

  void read_raw(const LinkFront& front) {
    name(front.any_version ? Naming::kNowhere : Naming::kOneOnly, 0);
    if (frame_.empty()) return is("empty");
    if (front.ip_version == 0) return is("neither IPv4 nor IPv6");
    found(front.ip_version);
  }

  // Behind an EtherType that stands at type_offset_.
  void read_type() {
    const uint16_t type = u16(type_offset_);
    name(Naming::kEtherType, type_offset_);
    if (type == kEtherTypeIpv4) return found(4);
    if (type == kEtherTypeIpv6) return found(6);
    if (is_vlan_tag(type)) return is_cut();
    if (type == kPppoe) return read_pppoe();
    if (type == kMpls || type == kMplsUpstream) return read_mpls();
    if (type == kLlc) return read_llc();
    // The E bit of the TCI (IEEE 802.1AE clause 9.5).
    if (type == kMacsec && have(1) && (frame_[at_] & 0x08) != 0) return is("MACsec");
    if (const char* const carrier = name_of(kCarriers, type)) return is(carrier, true);
    if (const char* const plain = name_of(kPlainTypes, type)) return is(plain);
    is(numbered("EtherType", type, 4));
  }

  void read_llc() {
    if (!have(3)) return is_cut();
    const uint8_t destination = frame_[at_], source = frame_[at_ + 1] & 0xfe, control = frame_[at_ + 2];
    if (destination == kLlcIp && source == kLlcIp && control == kUnnumbered) {
      at_ += 3;
      name(Naming::kOneOnly, 0);
      return found(4);
    }
    if (destination != kSnap || source != kSnap || control != kUnnumbered)
      return is(numbered("LLC", destination, 2));
    if (!have(8)) return is_cut();
    const uint32_t organization = load_u32(frame_.data() + at_ + 2) & 0xffffff;
    type_offset_ = at_ + 6;
    at_ += 8;
    const uint16_t type = u16(type_offset_);
    if ((organization == kRfc1042 || organization == kBridgeTunnel) && type >= kLeastEtherType)
      return step_over_tags();
    constexpr uint16_t kSpanningTree = 0x000e;  // RFC 2684 section 5.2
    is(numbered("SNAP", organization, 6), organization == kBridged && type != kSpanningTree);
  }

  void step_over_tags() {
    while (is_vlan_tag(u16(type_offset_)) && have(kVlanTag)) {
      type_offset_ = at_ + 2;
      at_ += kVlanTag;
    }
    read_type();
  }

  // RFC 2516 section 4; the session stage alone carries packets.
  void read_pppoe() {
    if (!have(kPppoeHeader)) return is_cut();
    const size_t header = at_;
    at_ += kPppoeHeader;
    add_length(header + 4, at_, UINT16_MAX);
    if (frame_[header + 1] != 0) return is("PPPoE");
    if (!have(2)) return is_cut();
    name(Naming::kPpp, at_);
    const uint16_t protocol = u16(at_);
    // A protocol field of one octet is odd (RFC 1661 section 6.5), which RFC 2516 advises against.
    if (frame_[at_] & 1) return is("PPP with a compressed protocol field", true);
    at_ += 2;
    if (protocol == kPppIpv4) return found(4);
    if (protocol == kPppIpv6) return found(6);
    if (protocol == kPppMpls || protocol == kPppMplsMulticast) return read_mpls();
    if (const char* const carrier = name_of(kPppCarriers, protocol)) return is(carrier, true);
    is(numbered("PPP", protocol, 4));
  }

  // RFC 3032; what lies behind the bottom label is told by explicit null or by its first 4 bits (RFC 4928).
  void read_mpls() {
    uint32_t entry = 0;
    do {
      if (!have(kLabel)) return is_cut();
      entry = load_u32(frame_.data() + at_);
      at_ += kLabel;
    } while ((entry & kBottom) == 0);
    const uint32_t label = entry & kLabelMask;
    const bool null = label == kIpv4Null || label == kIpv6Null;
    name(null ? Naming::kLabel : Naming::kNowhere, at_ - kLabel);
    if (null) return found(label == kIpv4Null ? 4 : 6);
    if (!have(1)) return is_cut();
    const uint8_t version = frame_[at_] >> 4;
    if (version == 4 || version == 6) return found(version);
    if (holds_ethernet(0) || holds_ethernet(kControlWord)) return is("an MPLS pseudowire with IP", true);
    is("MPLS");
  }

  // Whether what lies `skip` octets further on reads as an Ethernet frame that has or may have IP. Within one
  // pseudowire another is not looked into, which bounds the work.
  bool holds_ethernet(size_t skip) const {
    if (nested_) return true;
    if (!have(skip)) return false;
    const std::span<const uint8_t> inner = frame_.subspan(at_ + skip);
    const LinkFront front = *read_link(kEthernetLink, inner);
    const Layers layers = Walk(inner, front, true).run(kEthernetLink, front);
    return layers.ip_version != 0 || layers.hides;
  }

  std::span<const uint8_t> frame_;
  bool nested_;
  size_t at_;
  size_t type_offset_;
  Layers layers_;
};

}  // namespace

std::optional<Layers> read_layers(uint16_t link_type, std::span<const uint8_t> frame) {
  const std::optional<LinkFront> front = read_link(link_type, frame);
  if (!front) return std::nullopt;
  return Walk(frame, *front, false).run(link_type, *front);
}

bool lengths_hold(const Layers& layers, size_t packet_length, const uint8_t* octets) {
  for (size_t i = 0; i < layers.length_count; i++) {
    const Layers::LengthField& field = layers.lengths[i];
    if (field.base + load_u16(octets + field.offset) != layers.length + packet_length) return false;
  }
  return true;
}

const char* rewrite_layers(const Layers& layers, uint8_t version, size_t packet_length, uint8_t* octets) {
  uint8_t* const name = octets + layers.name_offset;
  switch (layers.naming) {
    case Naming::kNowhere:
      break;
    case Naming::kOneOnly:
      if (version != layers.ip_version)
        return "its link carries only one IP version, and the new packet is of the other";
      break;
    case Naming::kEtherType:
      store_u16(name, version == 4 ? kEtherTypeIpv4 : kEtherTypeIpv6);
      break;
    case Naming::kPpp:
      store_u16(name, version == 4 ? kPppIpv4 : kPppIpv6);
      break;
    case Naming::kLabel:
      store_u32(name, (load_u32(name) & ~kLabelMask) | (version == 4 ? kIpv4Null : kIpv6Null));
  }
  for (size_t i = 0; i < layers.length_count; i++) {
    const Layers::LengthField& field = layers.lengths[i];
    const size_t value = layers.length - field.base + packet_length;
    if (value > field.most) return "it would be longer than the length field of its link can say";
    store_u16(octets + field.offset, static_cast<uint16_t>(value));
  }
  return nullptr;
}

}  // namespace psp
