// SPDX-License-Identifier: Apache-2.0
// The loop that both directions share; a function object seals or opens each frame.
#include "pcap/transcode.h"

#include <utility>

#include "pcap/decrypt.h"
#include "pcap/fault.h"
#include "pcap/reader.h"
#include "pcap/writer.h"

namespace psp {

namespace {

bool concerns_frame(CaptureFaultKind kind) {
  return kind == CaptureFaultKind::kNotSealed || kind == CaptureFaultKind::kNotOpened;
}

// One run over a capture; `process` seals or opens a frame.
template <typename Process>
class Transcoding {
 public:
  Transcoding(Source& source, CaptureWriter& writer, TranscodeRules rules, Process process)
      : reader_(source), writer_(writer), rules_(rules), process_(std::move(process)) {
    counts_.format = reader_.format();
  }

  TranscodeCounts run() {
    for (CaptureRecord record; reader_.next(&record);) {
      switch (record.kind) {
        case CaptureRecord::Kind::kSection:
        case CaptureRecord::Kind::kInterface:
          writer_.describe(record);
          break;
        case CaptureRecord::Kind::kOther:
          counts_.left_out++;
          break;
        case CaptureRecord::Kind::kFrame:
          counts_.frames++;
          put(record);
      }
    }
    writer_.flush();
    return std::move(counts_);
  }

 private:
  void put(const CaptureRecord& record) {
    FrameFate fate;
    try {
      fate = process_(record);
    } catch (const CaptureFault& fault) {
      if (!rules_.skip_bad || !concerns_frame(fault.kind)) throw;
      return skip(fault);
    }
    if (!fate.frame) {
      counts_.copied++;
      counts_.copied_kinds[fate.kind]++;
      return writer_.copy(record);
    }
    ++(fate.mode == Mode::kTunnel ? counts_.tunnel : counts_.transport);
    counts_.completed += fate.completed;
    counts_.padding_octets += fate.padding;
    writer_.replace(record, *fate.frame);
  }

  void skip(const CaptureFault& fault) {
    counts_.skipped++;
    if (counts_.skipped_frames.size() < TranscodeCounts::kMaxSkippedListed)
      counts_.skipped_frames.push_back({fault.frame, fault.detail});
  }

  CaptureReader reader_;
  CaptureWriter& writer_;
  TranscodeRules rules_;
  Process process_;
  TranscodeCounts counts_;
};

}  // namespace

TranscodeCounts encrypt_capture(Source& source, Sink& sink, CaptureKeys& keys, const SealOptions& options,
                                TranscodeRules rules) {
  FrameSealer sealer(keys, options);
  CaptureWriter writer(sink, FrameSealer::max_growth());
  const auto seal = [&](const CaptureRecord& record) {
    FrameFate fate = sealer.seal(record);
    if (rules.strict && !fate.frame) {
      throw CaptureFault(CaptureFaultKind::kNotSealed, record.number,
                         "it has no IP (" + fate.kind + ") and would be copied in the clear");
    }
    return fate;
  };
  TranscodeCounts counts = Transcoding(source, writer, rules, seal).run();
  counts.next_iv = sealer.next_iv();
  return counts;
}

TranscodeCounts decrypt_capture(Source& source, Sink& sink, CaptureKeys& keys, TranscodeRules rules) {
  FrameOpener opener(keys);
  CaptureWriter writer(sink, 0);
  const auto open = [&](const CaptureRecord& record) { return opener.open(record); };
  return Transcoding(source, writer, rules, open).run();
}

}  // namespace psp
