// SPDX-License-Identifier: Apache-2.0
// All frames are read before the first one runs, for two reasons: a file with a fault must produce no trace
// at all, and offers are derived from a first pass over the frames.
#include "trace/trace.h"

#include <cstring>

#include "engine/ports/eal.h"
#include "pcap/captured_packet.h"
#include "pcap/link.h"
#include "pcap/reader.h"
#include "pcap/time.h"
#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

namespace {

constexpr uint32_t kMemoryMb = 768;  // virtual; a run touches about a tenth of it

struct ReadFrame {
  TraceRow row;
  std::vector<uint8_t> frame;  // with an Ethernet header
};

// `max_length`: the longest packet that the port accepts, in octets.
std::string why_skipped(const CaptureRecord& record, size_t max_length) {
  const auto link = read_link(record.interface->link_type, record.frame);
  if (!link) return unsupported_link_detail(record.interface->link_type);
  if (record.is_truncated()) return truncation_detail(record);
  if (record.frame.size() > link->length + max_length) {
    return "it is longer than the port's MTU: a GSO packet, and a capture does not contain how to segment it";
  }
  return "";
}

// Gives a frame of another link type the Ethernet header that it would have had, except for its addresses.
std::vector<uint8_t> ethernet_of(const CaptureRecord& record) {
  const std::span<const uint8_t> frame = record.frame;
  if (record.interface->link_type == kEthernetLink) return {frame.begin(), frame.end()};
  const LinkHeader link = *read_link(record.interface->link_type, frame);
  if (frame.size() < link.length) return {};
  std::vector<uint8_t> octets(kEthernetLength + frame.size() - link.length);
  const uint16_t type = link.has_ether_type    ? load_u16(frame.data() + link.type_offset)
                        : link.ip_version == 6 ? kEtherTypeIpv6
                                               : kEtherTypeIpv4;
  store_u16(octets.data() + 12, type);
  std::copy(frame.begin() + static_cast<ptrdiff_t>(link.length), frame.end(),
            octets.begin() + kEthernetLength);
  return octets;
}

ReadFrame read_frame(const CaptureRecord& record, size_t max_length) {
  ReadFrame read;
  read.row.number = record.number;
  read.row.at_ns = captured_at_ns(record);
  read.row.length = record.original_length;
  read.row.skipped = why_skipped(record, max_length);
  if (read.row.skipped.empty()) read.frame = ethernet_of(record);
  return read;
}

}  // namespace

CaptureTrace trace_capture(Source& source, TraceConfig config, uint32_t limit) {
  CaptureReader reader(source);
  CaptureTrace trace;
  trace.format = reader.format();
  const uint16_t mtu = config.direction == Direction::kEgress ? config.unsecured_mtu : config.secured_mtu;
  std::vector<ReadFrame> frames;
  for (CaptureRecord record; !trace.more && reader.next(&record);) {
    if (record.kind != CaptureRecord::Kind::kFrame) continue;
    trace.more = frames.size() == limit;
    if (!trace.more) frames.push_back(read_frame(record, mtu));
  }

  enter_eal({kMemoryMb, {}, false});
  Tracer tracer(std::move(config));
  uint64_t now_ns = 0;
  const auto time_of = [&](const ReadFrame& read) { return now_ns = read.row.at_ns.value_or(now_ns); };
  for (ReadFrame& read : frames) {
    if (read.row.skipped.empty()) read.row.inner = tracer.scan(read.frame, time_of(read));
  }
  for (ReadFrame& read : frames) {
    if (read.row.skipped.empty()) read.row.traced = tracer.run(read.frame, time_of(read));
    trace.rows.push_back(std::move(read.row));
  }
  trace.held = tracer.held();
  trace.fragments_waiting = tracer.fragments_waiting();
  return trace;
}

}  // namespace psp
