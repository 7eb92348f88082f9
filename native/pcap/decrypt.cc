// SPDX-License-Identifier: Apache-2.0
// Works in two steps. A tolerant check finds out whether a frame is PSP; a frame that is must then open in
// full. The UDP checksum is not verified: captures on the sending host often lack it, and the ICV covers the
// same octets.
#include "pcap/decrypt.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>

#include "pcap/captured_packet.h"
#include "psp/header.h"
#include "psp/octets.h"
#include "psp/protocols.h"
#include "psp/transport.h"
#include "psp/tunnel.h"

namespace psp {

namespace {

[[noreturn]] void fail(const CaptureRecord& record, std::string detail) {
  throw CaptureFault(CaptureFaultKind::kNotOpened, record.number, std::move(detail));
}

// The offset of the UDP header in a captured packet, if the packet is UDP.
std::optional<size_t> udp_offset(std::span<const uint8_t> packet) {
  if (packet.empty()) return std::nullopt;
  if (packet[0] >> 4 == 4) {
    if (packet.size() < kIpv4Header || packet[9] != kProtocolUdp) return std::nullopt;
    if (load_u16(packet.data() + 6) & kFragmentOffset) return std::nullopt;
    return (packet[0] & 0x0f) * size_t{4};
  }
  if (packet[0] >> 4 != 6 || packet.size() < kIpv6Header) return std::nullopt;
  uint8_t protocol = packet[6];
  size_t offset = kIpv6Header;
  while (protocol != kProtocolUdp) {
    if (packet.size() < offset + 8) return std::nullopt;
    const uint8_t* const extension = packet.data() + offset;
    switch (protocol) {
      case kProtocolHopByHop:
      case kProtocolRouting:
      case kProtocolDestinationOptions:
        offset += (extension[1] + size_t{1}) * 8;
        break;
      case kProtocolAuthentication:
        offset += (extension[1] + size_t{2}) * 4;
        break;
      case kProtocolFragment:
        if (load_u16(extension + 2) & kIpv6FragmentOffset) return std::nullopt;
        offset += 8;
        break;
      default:
        return std::nullopt;
    }
    protocol = extension[0];
  }
  return offset;
}

// Returns the length of the UDP payload. Throws unless the datagram ends where the IP packet does.
size_t read_payload_length(const CaptureRecord& record, const IpPacket& outer, const uint8_t* octets) {
  const size_t available = outer.length - outer.payload_offset;
  const size_t length = available < kUdpHeaderLength ? 0 : load_u16(octets + outer.payload_offset + 4);
  if (length < kUdpHeaderLength || length > available) fail(record, "its UDP length is invalid");
  if (length < available) {
    fail(record, std::to_string(available - length) + " octets of its IP packet follow its UDP datagram");
  }
  return length - kUdpHeaderLength;
}

Header read_psp(const CaptureRecord& record, const uint8_t* payload, size_t length) {
  Header header;
  switch (read_header(payload, length, &header)) {
    case HeaderFault::kNone:
      break;
    case HeaderFault::kTruncated:
      fail(record, "it is shorter than a PSP header and an ICV");
    case HeaderFault::kMalformed:
      fail(record, "its PSP header is malformed");
    case HeaderFault::kCryptOffset:
      fail(record, "its crypt offset points past its payload");
  }
  if (!is_known_version(header.version)) {
    fail(record, "its PSP version " + std::to_string(header.version) + " is unknown; 0 to 3 are supported");
  }
  if (is_reserved_spi(header.spi)) fail(record, "the low 31 bits of its SPI are zero");
  return header;
}

std::string icv_detail(const Header& header) {
  char text[120];
  std::snprintf(
      text, sizeof text,
      "its ICV is wrong (SPI 0x%08x, version %u): it was modified, or sealed under other master keys",
      header.spi, header.version);
  return text;
}

}  // namespace

bool is_to_psp(std::span<const uint8_t> packet) {
  const std::optional<size_t> udp = udp_offset(packet);
  return udp && packet.size() >= *udp + 4 && load_u16(packet.data() + *udp + 2) == kUdpPort;
}

FrameOpener::FrameOpener(CaptureKeys& keys) : keys_(keys), scratch_(new uint8_t[kMaxFrameLength]) {}

FrameFate FrameOpener::open(const CaptureRecord& record) {
  std::optional<Layers> layers = read_layers(record.interface->link_type, record.frame);
  if (!layers) throw_unsupported_link(record, CaptureFaultKind::kNotOpened);
  if (layers->ip_version == 0) return {.kind = std::move(layers->kind)};
  if (!is_to_psp(record.frame.subspan(layers->length))) return {.kind = "IP without PSP"};
  std::copy(record.frame.begin(), record.frame.end(), scratch_.get());
  return open_packet(record, *layers, scratch_.get() + layers->length);
}

FrameFate FrameOpener::open_packet(const CaptureRecord& record, const Layers& layers, uint8_t* octets) {
  const CapturedPacket captured = read_captured(record, CaptureFaultKind::kNotOpened, layers, octets);
  const IpPacket& outer = captured.ip;
  if (outer.fragment) fail(record, "it is a fragment; fragments are not reassembled");
  const size_t length = read_payload_length(record, outer, octets);
  uint8_t* const payload = octets + outer.payload_offset + kUdpHeaderLength;
  Header header = read_psp(record, payload, length);
  const Mode mode = header.next_header == kNextHeaderIpv4 || header.next_header == kNextHeaderIpv6
                        ? Mode::kTunnel
                        : Mode::kTransport;

  void* const key = keys_.expanded(header.spi, header.version);
  uint8_t* inner = nullptr;
  IpPacket packet;
  const OpenFault fault =
      mode == Mode::kTunnel
          ? open_tunnel(keys_.aead(), key, &header, payload, length, &inner, &packet)
          : open_transport(keys_.aead(), key, &header, outer, octets, length, &inner, &packet);
  if (fault == OpenFault::kIcv) fail(record, icv_detail(header));
  if (fault == OpenFault::kTrailer) fail(record, "it is authentic, but its payload is not a valid packet");

  uint8_t* const start = inner - layers.length;
  std::copy_backward(octets - layers.length, octets, inner);
  if (const char* const layers_fault = rewrite_layers(layers, packet.version, packet.length, start))
    fail(record, layers_fault);
  return {.frame = {{start, layers.length + packet.length}},
          .mode = mode,
          .padding = captured.padding,
          .completed = captured.completed};
}

}  // namespace psp
