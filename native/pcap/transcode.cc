// SPDX-License-Identifier: Apache-2.0
// The loop that both directions share; what happens to a frame is theirs.
#include "pcap/transcode.h"

#include "pcap/open.h"
#include "pcap/reader.h"
#include "pcap/writer.h"

namespace psp {

namespace {

// Calls on_frame(record) for each frame, which writes it.
template <typename OnFrame>
TranscodeCounts transcode(Source& source, CaptureWriter& writer, OnFrame on_frame) {
  CaptureReader reader(source);
  TranscodeCounts counts;
  counts.format = reader.format();
  for (CaptureRecord record; reader.next(&record);) {
    switch (record.kind) {
      case CaptureRecord::Kind::kSection:
      case CaptureRecord::Kind::kInterface:
        writer.describe(record);
        break;
      case CaptureRecord::Kind::kOther:
        counts.left_out++;
        break;
      case CaptureRecord::Kind::kFrame:
        counts.frames++;
        on_frame(record, counts);
    }
  }
  writer.flush();
  return counts;
}

void count(Mode mode, TranscodeCounts& counts) {
  ++(mode == Mode::kTunnel ? counts.tunnel : counts.transport);
}

}  // namespace

TranscodeCounts encrypt_capture(Source& source, Sink& sink, CaptureKeys& keys, const SealOptions& options) {
  FrameSealer sealer(keys, options);
  CaptureWriter writer(sink, FrameSealer::growth());
  TranscodeCounts counts =
      transcode(source, writer, [&](const CaptureRecord& record, TranscodeCounts& so_far) {
        if (const auto sealed = sealer.seal(record)) {
          count(options.mode, so_far);
          return writer.replace(record, *sealed);
        }
        so_far.copied++;
        writer.copy(record);
      });
  counts.next_iv = sealer.next_iv();
  return counts;
}

TranscodeCounts decrypt_capture(Source& source, Sink& sink, CaptureKeys& keys) {
  FrameOpener opener(keys);
  CaptureWriter writer(sink, 0);
  return transcode(source, writer, [&](const CaptureRecord& record, TranscodeCounts& counts) {
    if (const auto opened = opener.open(record)) {
      count(opened->mode, counts);
      return writer.replace(record, opened->frame);
    }
    counts.copied++;
    writer.copy(record);
  });
}

}  // namespace psp
