// SPDX-License-Identifier: Apache-2.0
// One function per layer: each reads its header at `at_` and calls the next. Every step moves forward in the
// frame, which bounds the work. Length fields are recorded and not trusted: a layer that announces IP
// decides, whatever the lengths say.
#include "pcap/layers.h"

#include <algorithm>
#include <cstdio>

#include "pcap/link.h"
#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

namespace {

using VersionField = Layers::VersionField;

constexpr uint16_t kPppoe = 0x8864, kMpls = 0x8847, kMplsUpstream = 0x8848, kLlc = 0x8870, kMacsec = 0x88e5;
constexpr uint16_t kCookedLlc = 0x0004;  // LINUX_SLL_P_802_2
// A type field below kMinEtherType is a length (IEEE 802.3 clause 3.2.6); lengths end at 1500.
constexpr uint16_t kMinEtherType = 0x0600, kMax8023Length = 1500;
constexpr uint8_t kSnap = 0xaa, kLlcIp = 0x06, kUnnumbered = 0x03;  // IEEE 802.2; RFC 948
constexpr uint32_t kOuiBridged = 0x0080c2, kOuiRfc1042 = 0x000000, kOuiBridgeTunnel = 0x0000f8;
constexpr uint16_t kPppIpv4 = 0x0021, kPppIpv6 = 0x0057, kPppMpls = 0x0281, kPppMplsMulticast = 0x0283;
constexpr size_t kPppoeHeader = 6, kLabel = 4, kControlWord = 4;
constexpr uint32_t kLabelMask = 0xfffff000, kBottomOfStack = 0x00000100;
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

// EtherTypes whose payload is or contains another frame or an IP packet.
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

// PPP protocols that carry IP compressed, encrypted, in fragments or in a bridged frame.
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

class LayerParser {
 public:
  LayerParser(std::span<const uint8_t> frame, const LinkHeader& link, bool nested)
      : frame_(frame), nested_(nested), at_(link.length), type_offset_(link.type_offset) {}

  Layers run(uint16_t link_type, const LinkHeader& link) {
    const bool ethernet = link_type == kEthernetLink;
    if (!link.has_ether_type) {
      read_raw(link);
    } else if (frame_.size() < at_) {
      set_truncated();
    } else if (ethernet && u16(type_offset_) <= kMax8023Length) {
      add_length(type_offset_, at_, kMax8023Length);
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
  bool has(size_t octets) const { return frame_.size() >= at_ + octets; }

  void found(uint8_t version) {
    layers_.ip_version = version;
    layers_.length = at_;
  }
  void set_kind(std::string kind, bool may_hide_ip = false) {
    layers_.kind = std::move(kind);
    layers_.may_hide_ip = may_hide_ip;
  }
  void set_truncated() { set_kind("truncated in its link header"); }

  void add_length(size_t offset, size_t base, size_t max) {
    layers_.lengths[layers_.length_count++] = {offset, base, max};
  }
  void set_version_field(VersionField version_field, size_t offset) {
    layers_.version_field = version_field;
    layers_.version_offset = offset;
  }

  void read_raw(const LinkHeader& link) {
    set_version_field(link.any_version ? VersionField::kNone : VersionField::kFixed, 0);
    if (frame_.empty()) return set_kind("empty");
    if (link.ip_version == 0) return set_kind("neither IPv4 nor IPv6");
    found(link.ip_version);
  }

  // Continues after the EtherType at type_offset_.
  void read_type() {
    const uint16_t type = u16(type_offset_);
    set_version_field(VersionField::kEtherType, type_offset_);
    if (type == kEtherTypeIpv4) return found(4);
    if (type == kEtherTypeIpv6) return found(6);
    if (is_vlan_tag(type)) return set_truncated();
    if (type == kPppoe) return read_pppoe();
    if (type == kMpls || type == kMplsUpstream) return read_mpls();
    if (type == kLlc) return read_llc();
    // The E bit of the TCI (IEEE 802.1AE clause 9.5).
    if (type == kMacsec && has(1) && (frame_[at_] & 0x08) != 0) return set_kind("MACsec");
    if (const char* const carrier = name_of(kCarriers, type)) return set_kind(carrier, true);
    if (const char* const plain = name_of(kPlainTypes, type)) return set_kind(plain);
    set_kind(numbered("EtherType", type, 4));
  }

  void read_llc() {
    if (!has(3)) return set_truncated();
    const uint8_t destination = frame_[at_], source = frame_[at_ + 1] & 0xfe, control = frame_[at_ + 2];
    if (destination == kLlcIp && source == kLlcIp && control == kUnnumbered) {
      at_ += 3;
      set_version_field(VersionField::kFixed, 0);
      return found(4);
    }
    if (destination != kSnap || source != kSnap || control != kUnnumbered)
      return set_kind(numbered("LLC", destination, 2));
    if (!has(8)) return set_truncated();
    const uint32_t organization = load_u32(frame_.data() + at_ + 2) & 0xffffff;
    type_offset_ = at_ + 6;
    at_ += 8;
    const uint16_t type = u16(type_offset_);
    if ((organization == kOuiRfc1042 || organization == kOuiBridgeTunnel) && type >= kMinEtherType)
      return step_over_tags();
    constexpr uint16_t kSpanningTree = 0x000e;  // RFC 2684 section 5.2
    set_kind(numbered("SNAP", organization, 6), organization == kOuiBridged && type != kSpanningTree);
  }

  void step_over_tags() {
    while (is_vlan_tag(u16(type_offset_)) && has(kVlanTag)) {
      type_offset_ = at_ + 2;
      at_ += kVlanTag;
    }
    read_type();
  }

  // RFC 2516 section 4; only the session stage carries packets.
  void read_pppoe() {
    if (!has(kPppoeHeader)) return set_truncated();
    const size_t header = at_;
    at_ += kPppoeHeader;
    add_length(header + 4, at_, UINT16_MAX);
    if (frame_[header + 1] != 0) return set_kind("PPPoE");
    if (!has(2)) return set_truncated();
    set_version_field(VersionField::kPppProtocol, at_);
    const uint16_t protocol = u16(at_);
    // A protocol field of one octet is odd (RFC 1661 section 6.5), which RFC 2516 advises against.
    if (frame_[at_] & 1) return set_kind("PPP with a compressed protocol field", true);
    at_ += 2;
    if (protocol == kPppIpv4) return found(4);
    if (protocol == kPppIpv6) return found(6);
    if (protocol == kPppMpls || protocol == kPppMplsMulticast) return read_mpls();
    if (const char* const carrier = name_of(kPppCarriers, protocol)) return set_kind(carrier, true);
    set_kind(numbered("PPP", protocol, 4));
  }

  // RFC 3032. The payload after the bottom label is identified by explicit null or by its first 4 bits (RFC
  // 4928).
  void read_mpls() {
    uint32_t entry = 0;
    do {
      if (!has(kLabel)) return set_truncated();
      entry = load_u32(frame_.data() + at_);
      at_ += kLabel;
    } while ((entry & kBottomOfStack) == 0);
    const uint32_t label = entry & kLabelMask;
    const bool null = label == kIpv4Null || label == kIpv6Null;
    set_version_field(null ? VersionField::kMplsLabel : VersionField::kNone, at_ - kLabel);
    if (null) return found(label == kIpv4Null ? 4 : 6);
    if (!has(1)) return set_truncated();
    const uint8_t version = frame_[at_] >> 4;
    if (version == 4 || version == 6) return found(version);
    if (holds_ethernet(0) || holds_ethernet(kControlWord))
      return set_kind("an MPLS pseudowire with IP", true);
    set_kind("MPLS");
  }

  // Whether the octets after the next `skip` octets parse as an Ethernet frame that contains or may contain
  // IP. Inside one pseudowire a second one is not parsed, which bounds the work.
  bool holds_ethernet(size_t skip) const {
    if (nested_) return true;
    if (!has(skip)) return false;
    const std::span<const uint8_t> inner = frame_.subspan(at_ + skip);
    const LinkHeader link = *read_link(kEthernetLink, inner);
    const Layers layers = LayerParser(inner, link, true).run(kEthernetLink, link);
    return layers.ip_version != 0 || layers.may_hide_ip;
  }

  std::span<const uint8_t> frame_;
  bool nested_;
  size_t at_;
  size_t type_offset_;
  Layers layers_;
};

}  // namespace

std::optional<Layers> read_layers(uint16_t link_type, std::span<const uint8_t> frame) {
  const std::optional<LinkHeader> link = read_link(link_type, frame);
  if (!link) return std::nullopt;
  return LayerParser(frame, *link, false).run(link_type, *link);
}

bool lengths_hold(const Layers& layers, size_t packet_length, const uint8_t* octets) {
  for (size_t i = 0; i < layers.length_count; i++) {
    const Layers::LengthField& field = layers.lengths[i];
    if (field.base + load_u16(octets + field.offset) != layers.length + packet_length) return false;
  }
  return true;
}

const char* rewrite_layers(const Layers& layers, uint8_t version, size_t packet_length, uint8_t* octets) {
  uint8_t* const field = octets + layers.version_offset;
  switch (layers.version_field) {
    case VersionField::kNone:
      break;
    case VersionField::kFixed:
      if (version != layers.ip_version)
        return "its link type supports one IP version only, and the new packet has the other one";
      break;
    case VersionField::kEtherType:
      store_u16(field, version == 4 ? kEtherTypeIpv4 : kEtherTypeIpv6);
      break;
    case VersionField::kPppProtocol:
      store_u16(field, version == 4 ? kPppIpv4 : kPppIpv6);
      break;
    case VersionField::kMplsLabel:
      store_u32(field, (load_u32(field) & ~kLabelMask) | (version == 4 ? kIpv4Null : kIpv6Null));
  }
  for (size_t i = 0; i < layers.length_count; i++) {
    const Layers::LengthField& field = layers.lengths[i];
    const size_t value = layers.length - field.base + packet_length;
    if (value > field.max) return "it would exceed the maximum of the length field in its link header";
    store_u16(octets + field.offset, static_cast<uint16_t>(value));
  }
  return nullptr;
}

}  // namespace psp
