// SPDX-License-Identifier: Apache-2.0
// Finds the IP packet of a frame after every link layer that can be rewritten around it: VLAN tags, 802.3
// with LLC and SNAP, PPPoE and MPLS. A frame without such a packet gets a kind that reports can show.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace psp {

struct Layers {
  // Where the layers before the packet encode the IP version.
  enum class VersionField : uint8_t {
    kNone,         // raw IP, or MPLS with an ordinary label: only the packet itself has it
    kFixed,        // the link type or LLC address implies one version
    kEtherType,    // an EtherType, also in SNAP
    kPppProtocol,  // the PPP protocol field
    kMplsLabel,    // an MPLS explicit null label (RFC 3032 section 2.1)
  };
  // A 16-bit field that counts the octets from `base` to the end of the packet.
  struct LengthField {
    size_t offset = 0, base = 0;
    size_t max = 0;
  };

  size_t length = 0;       // octets before the IP packet
  uint8_t ip_version = 0;  // from the layers or else from the packet; 0: no IP was found
  VersionField version_field = VersionField::kNone;
  size_t version_offset = 0;
  std::array<LengthField, 2> lengths;  // 802.3 and PPPoE; no other layer has one
  size_t length_count = 0;

  // Of frames without IP only:
  std::string kind;          // what the frame is, for reports
  bool may_hide_ip = false;  // it carries other frames, possibly with IP, in a form that cannot be rewritten
};

// Returns nothing for a link type that read_link (link.h) does not support.
std::optional<Layers> read_layers(uint16_t link_type, std::span<const uint8_t> frame);

// Whether every length field of the layers at `octets` matches a packet of this length.
bool lengths_hold(const Layers& layers, size_t packet_length, const uint8_t* octets);

// Rewrites the layers at `octets` for an IP packet of this version and length. Returns null, or why they
// cannot represent it, as a text that completes a sentence.
const char* rewrite_layers(const Layers& layers, uint8_t version, size_t packet_length, uint8_t* octets);

}  // namespace psp
