// SPDX-License-Identifier: Apache-2.0
// Traces the frames of a capture file: reads them, gives frames of other link types an Ethernet header, skips
// frames that cannot be run, and passes the rest to a tracer.
#pragma once

#include <string>
#include <vector>

#include "pcap/record.h"
#include "pcap/source.h"
#include "trace/tracer.h"

namespace psp {

// One frame of the file.
struct TraceRow {
  uint64_t number = 0;  // from 1
  std::optional<uint64_t> at_ns;
  uint32_t length = 0;                   // on the wire
  std::string skipped;                   // why the frame was not run; empty if it was
  std::optional<InnerDissection> inner;  // ingress, with master keys
  TracedFrame traced;
};

struct CaptureTrace {
  CaptureFormat format = CaptureFormat::kPcap;
  std::vector<TraceRow> rows;
  bool more = false;  // the file has frames beyond the limit
  // Packets and fragments that still wait in the gateway after the last frame.
  uint64_t held = 0, fragments_waiting = 0;
};

// Traces the first `limit` frames. Throws CaptureFault (kMalformed, kRead), EngineError or std::bad_alloc.
CaptureTrace trace_capture(Source& source, TraceConfig config, uint32_t limit);

}  // namespace psp
