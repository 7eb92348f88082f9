// SPDX-License-Identifier: Apache-2.0
// Finds the IP packet of a frame behind every layer that can be rewritten around it: VLAN tags, 802.3 with
// LLC and SNAP, PPPoE and MPLS. What it does not find is named, so that a report can say what a frame was.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace psp {

struct Layers {
  // Where the IP version is named in front of the packet.
  enum class Naming : uint8_t {
    kNowhere,    // raw IP, or MPLS under an ordinary label: the packet names itself
    kOneOnly,    // a link type or an LLC address that stands for one version alone
    kEtherType,  // two octets, also in SNAP
    kPpp,        // the protocol field of PPP
    kLabel,      // an MPLS explicit null label (RFC 3032 section 2.1)
  };
  // A field of two octets that counts the octets from `base` to the end of the packet.
  struct LengthField {
    size_t offset = 0, base = 0;
    size_t most = 0;
  };

  size_t length = 0;       // octets in front of the IP packet
  uint8_t ip_version = 0;  // as the layers or, where they do not, the packet says; 0: no IP was found
  Naming naming = Naming::kNowhere;
  size_t name_offset = 0;
  std::array<LengthField, 2> lengths;  // 802.3 and PPPoE; no other layer has one
  size_t length_count = 0;

  // Without IP only.
  std::string kind;    // what the frame is, as reports name it
  bool hides = false;  // it carries other frames, so perhaps IP, in a form that cannot be rewritten
};

// Nothing for a link type other than those of read_link (link.h).
std::optional<Layers> read_layers(uint16_t link_type, std::span<const uint8_t> frame);

// Whether every length field of the layers at `octets` ends where a packet of this length does.
bool lengths_hold(const Layers& layers, size_t packet_length, const uint8_t* octets);

// Makes the layers at `octets` name an IP packet of this version and length. Returns why they cannot, which
// is the second half of a sentence, or null.
const char* rewrite_layers(const Layers& layers, uint8_t version, size_t packet_length, uint8_t* octets);

}  // namespace psp
