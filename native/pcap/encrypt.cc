// SPDX-License-Identifier: Apache-2.0
// In tunnel mode the outer header takes its fields from the inner packet, so that files can be compared with
// those of other tools: addresses unless options give others, hop limit, DSCP, and for IPv4 don't-fragment
// and identification.
#include "pcap/encrypt.h"

#include <algorithm>
#include <string>
#include <utility>

#include "pcap/captured_packet.h"
#include "psp/octets.h"
#include "psp/protocols.h"
#include "psp/transport.h"
#include "psp/tunnel.h"

namespace psp {

namespace {

[[noreturn]] void fail(const CaptureRecord& record, std::string detail) {
  throw CaptureFault(CaptureFaultKind::kNotSealed, record.number, std::move(detail));
}

// The XOR of the ports, as in the reference implementation (google/psp), or the PSP port if the packet has no
// ports.
uint16_t udp_source_of(const IpPacket& packet, const uint8_t* octets) {
  const bool has_ports = packet.protocol == kProtocolTcp || packet.protocol == kProtocolUdp;
  if (!has_ports || packet.fragment) return kUdpPort;
  const Ports ports = read_ports(packet, octets);
  return ports.source ^ ports.destination;
}

Outer outer_of(const SealOptions& options, const IpPacket& packet, const uint8_t* octets) {
  Outer outer;
  outer.source = options.outer ? options.outer->source : packet.source;
  outer.destination = options.outer ? options.outer->destination : packet.destination;
  outer.hop_limit = octets[packet.version == 4 ? 8 : 7];
  outer.udp_source = udp_source_of(packet, octets);
  if (packet.version == 4 && !packet.fragment) {
    outer.dont_fragment = load_u16(octets + 6) & kDontFragment;
    outer.identification = load_u16(octets + 4);
  }
  return outer;
}

// Throws if the crypt offset points past the octets between IV and ICV.
void check_offset(const CaptureRecord& record, const SealOptions& options, size_t payload) {
  const size_t max_offset = sealed_payload_octets(payload, options.cookie.has_value()) / 4;
  if (options.crypt_offset <= max_offset) return;
  fail(record, "crypt offset " + std::to_string(options.crypt_offset) +
                   " points past its payload; the maximum for it is " + std::to_string(max_offset));
}

TransportLayout layout_of(const CaptureRecord& record, const IpPacket& packet, const uint8_t* octets) {
  TransportLayout layout;
  switch (read_transport_layout(packet, octets, &layout)) {
    case TransportFault::kNone:
      return layout;
    case TransportFault::kFragment:
      fail(record, "it is a fragment, which only tunnel mode can encrypt");
    case TransportFault::kTunnelProtocol:
      fail(record, "its protocol is 4 or 41, which only tunnel mode can encrypt");
    default:
      fail(record, "it would exceed the maximum length of an IP packet");
  }
}

}  // namespace

uint32_t FrameSealer::max_growth() {
  return static_cast<uint32_t>(tunnel_overhead(true, true));
}

FrameSealer::FrameSealer(CaptureKeys& keys, const SealOptions& options)
    : keys_(keys),
      options_(options),
      iv_(options.iv),
      // Before the packet there is space for the longest link headers and for all headers that sealing
      // inserts.
      scratch_(new uint8_t[2 * kMaxFrameLength + 2 * max_growth()]) {}

FrameFate FrameSealer::seal(const CaptureRecord& record) {
  std::optional<Layers> layers = read_layers(record.interface->link_type, record.frame);
  if (!layers) throw_unsupported_link(record, CaptureFaultKind::kNotSealed);
  if (layers->may_hide_ip)
    fail(record, "it is " + layers->kind + ", which may contain IP that cannot be encrypted");
  if (layers->ip_version == 0) return {.kind = std::move(layers->kind)};
  uint8_t* const octets = scratch_.get() + kMaxFrameLength + max_growth();
  std::copy(record.frame.begin() + static_cast<ptrdiff_t>(layers->length), record.frame.end(), octets);
  const CapturedPacket packet = read_captured(record, CaptureFaultKind::kNotSealed, *layers, octets);
  if (!iv_) {
    throw CaptureFault(CaptureFaultKind::kNoIv, record.number,
                       "no IV is left for it; start at a lower --iv or take another SPI");
  }

  uint8_t* const sealed = seal_packet(record, packet.ip, octets);
  uint8_t* const start = sealed - layers->length;
  std::copy_n(record.frame.begin(), layers->length, start);
  const bool ipv4 = sealed[0] >> 4 == 4;
  const size_t length = ipv4 ? load_u16(sealed + 2) : load_u16(sealed + 4) + size_t{kIpv6Header};
  if (const char* const fault = rewrite_layers(*layers, ipv4 ? 4 : 6, length, start)) fail(record, fault);
  iv_ = *iv_ == UINT64_MAX ? std::nullopt : std::optional(*iv_ + 1);
  return {.frame = {{start, layers->length + length}},
          .mode = options_.mode,
          .padding = packet.padding,
          .completed = packet.completed};
}

uint8_t* FrameSealer::seal_packet(const CaptureRecord& record, const IpPacket& packet, uint8_t* octets) {
  Header header;
  header.version = options_.version;
  header.crypt_offset = options_.crypt_offset;
  header.spi = options_.spi;
  header.iv = *iv_;
  header.has_cookie = options_.cookie.has_value();
  header.cookie = options_.cookie.value_or(0);
  void* const key = keys_.expanded(options_.spi, options_.version);

  if (options_.mode == Mode::kTransport) {
    const TransportLayout layout = layout_of(record, packet, octets);
    check_offset(record, options_, layout.length - layout.header_length);
    return seal_transport(keys_.aead(), key, layout, udp_source_of(packet, octets), false, header, octets);
  }
  check_offset(record, options_, packet.length);
  const Outer outer = outer_of(options_, packet, octets);
  uint8_t* const sealed = seal_tunnel(keys_.aead(), key, outer, packet, header, octets);
  if (!sealed) fail(record, "it would exceed the maximum length of an IP packet");
  return sealed;
}

}  // namespace psp
