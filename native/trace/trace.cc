// SPDX-License-Identifier: Apache-2.0
// All frames are read before the first one runs: a file with a fault gives no trace at all, and offers need a
// look at them first.
#include "trace/trace.h"

#include <cstring>

#include "engine/ports/eal.h"
#include "pcap/link.h"
#include "pcap/reader.h"
#include "pcap/time.h"
#include "psp/octets.h"
#include "psp/protocols.h"

namespace psp {

namespace {

constexpr uint32_t kMemoryMb = 768;  // of which a run touches about a tenth

struct Taken {
  TraceRow row;
  std::vector<uint8_t> frame;  // with an Ethernet header
};

// `longest`: octets of a packet that the port takes.
std::string why_skipped(const CaptureRecord& record, size_t longest) {
  const auto front = read_link(record.interface->link_type, record.frame);
  if (!front) {
    return "its link type " + std::to_string(record.interface->link_type) +
           " is none of Ethernet, Linux cooked and raw IP";
  }
  if (record.is_cut()) {
    return "only " + std::to_string(record.frame.size()) + " of its " +
           std::to_string(record.original_length) + " octets were captured";
  }
  if (record.frame.size() > front->length + longest) {
    return "it is longer than the port's MTU: a super-frame, of which a capture does not tell how it is cut";
  }
  return "";
}

// Frames of other link types are given the header that they would have had, but for its addresses.
std::vector<uint8_t> ethernet_of(const CaptureRecord& record) {
  const std::span<const uint8_t> frame = record.frame;
  if (record.interface->link_type == kEthernetLink) return {frame.begin(), frame.end()};
  const LinkFront front = *read_link(record.interface->link_type, frame);
  if (frame.size() < front.length) return {};
  std::vector<uint8_t> octets(kEthernetLength + frame.size() - front.length);
  const uint16_t type = front.named             ? load_u16(frame.data() + front.type_offset)
                        : front.ip_version == 6 ? kEtherTypeIpv6
                                                : kEtherTypeIpv4;
  store_u16(octets.data() + 12, type);
  std::copy(frame.begin() + static_cast<ptrdiff_t>(front.length), frame.end(),
            octets.begin() + kEthernetLength);
  return octets;
}

Taken take(const CaptureRecord& record, size_t longest) {
  Taken taken;
  taken.row.number = record.number;
  taken.row.at_ns = captured_at_ns(record);
  taken.row.length = record.original_length;
  taken.row.skipped = why_skipped(record, longest);
  if (taken.row.skipped.empty()) taken.frame = ethernet_of(record);
  return taken;
}

}  // namespace

CaptureTrace trace_capture(Source& source, TraceConfig config, uint32_t limit) {
  CaptureReader reader(source);
  CaptureTrace trace;
  trace.format = reader.format();
  const uint16_t mtu = config.direction == Direction::kEgress ? config.unsecured_mtu : config.secured_mtu;
  std::vector<Taken> frames;
  for (CaptureRecord record; !trace.more && reader.next(&record);) {
    if (record.kind != CaptureRecord::Kind::kFrame) continue;
    trace.more = frames.size() == limit;
    if (!trace.more) frames.push_back(take(record, mtu));
  }

  enter_eal({kMemoryMb, {}, false});
  Tracer tracer(std::move(config));
  uint64_t now_ns = 0;
  const auto time_of = [&](const Taken& taken) { return now_ns = taken.row.at_ns.value_or(now_ns); };
  for (Taken& taken : frames) {
    if (taken.row.skipped.empty()) taken.row.inner = tracer.scan(taken.frame, time_of(taken));
  }
  for (Taken& taken : frames) {
    if (taken.row.skipped.empty()) taken.row.traced = tracer.run(taken.frame, time_of(taken));
    trace.rows.push_back(std::move(taken.row));
  }
  trace.held = tracer.held();
  trace.fragments_waiting = tracer.fragments_waiting();
  return trace;
}

}  // namespace psp
