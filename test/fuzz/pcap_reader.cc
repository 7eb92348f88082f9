// SPDX-License-Identifier: Apache-2.0
// Capture files of strangers: reading ends with the last record or a CaptureFault, never otherwise, however
// the octets arrive; and a file that could be encrypted decrypts to the same frames.
//
//   u8 octets of each read | u8 version (2 bits), transport, cookie | the file
#include <optional>

#include "input.h"
#include "keys.h"
#include "pcap/fault.h"
#include "pcap/reader.h"
#include "pcap/time.h"
#include "pcap/transcode.h"

namespace psp::fuzz {
namespace {

// Gives its octets in small pieces.
class SlowSource : public Source {
 public:
  SlowSource(std::span<const uint8_t> octets, size_t piece) : rest_(octets), piece_(piece) {}
  size_t read(uint8_t* into, size_t room) override {
    const size_t count = std::min({piece_, room, rest_.size()});
    std::copy_n(rest_.begin(), count, into);
    rest_ = rest_.subspan(count);
    return count;
  }

 private:
  std::span<const uint8_t> rest_;
  size_t piece_;
};

// All frames; nothing when the file is faulty.
std::optional<std::vector<Octets>> frames_of(Source& source) {
  std::vector<Octets> frames;
  try {
    CaptureReader reader(source);
    CaptureRecord record;
    while (reader.next(&record)) {
      require(record.octets.size() <= kLongestRecord, "a record is bounded");
      if (record.kind != CaptureRecord::Kind::kFrame) continue;
      require(record.frame.size() <= kLongestFrame, "a frame is bounded");
      require(record.interface != nullptr, "a frame has an interface");
      frames.emplace_back(record.frame.begin(), record.frame.end());
      require(record.number == frames.size(), "frames are numbered");
      captured_at_ns(record);
    }
  } catch (const CaptureFault& fault) {
    require(fault.kind == CaptureFaultKind::kMalformed, "reading finds only malformed files");
    return std::nullopt;
  }
  return frames;
}

CaptureKeys& keys() {
  static uint8_t masters[kMasterKeysLength] = {1, 2, 3};
  static auto* const made = new CaptureKeys(std::span<const uint8_t, kMasterKeysLength>(masters));
  return *made;
}

std::optional<TranscodeCounts> encrypt(const Octets& file, uint8_t what, Sink& sink) {
  SealOptions options;
  options.spi = 0x12345678;
  options.version = what & 3;
  options.mode = what & 4 ? Mode::kTransport : Mode::kTunnel;
  if (what & 8) options.cookie = 0x1122334455667788;
  MemorySource source(file);
  try {
    return encrypt_capture(source, sink, keys(), options);
  } catch (const CaptureFault&) {
    return std::nullopt;
  }
}

void decrypt(const Octets& file) {
  MemorySource source(file);
  MemorySink sink;
  try {
    decrypt_capture(source, sink, keys());
  } catch (const CaptureFault&) {
  }
}

void there_and_back(const Octets& file, uint8_t what, const std::vector<Octets>& before) {
  MemorySink sealed, opened;
  const auto there = encrypt(file, what, sealed);
  if (!there) return;
  require(there->frames == before.size() && there->tunnel + there->transport + there->copied == there->frames,
          "each frame is sealed or copied");
  MemorySource source(sealed.octets);
  TranscodeCounts back;
  try {
    back = decrypt_capture(source, opened, keys());
  } catch (const CaptureFault& fault) {
    std::fprintf(stderr, "frame %llu: %s\n", static_cast<unsigned long long>(fault.frame), fault.what());
    require(false, "what was encrypted decrypts");
  }
  require(back.frames == there->frames && back.copied == there->copied && back.tunnel == there->tunnel,
          "and the counts agree");
  MemorySource result(opened.octets);
  const auto after = frames_of(result);
  require(after && after->size() == before.size(), "no frame comes or goes");
  for (size_t i = 0; i < before.size(); ++i) {
    // Link padding behind the packet is left out.
    require((*after)[i].size() <= before[i].size(), "no frame grew");
    require(std::equal((*after)[i].begin(), (*after)[i].end(), before[i].begin()), "frames are the same");
  }
}

}  // namespace
}  // namespace psp::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t length) {
  using namespace psp;
  using namespace psp::fuzz;
  Input input(data, length);
  const size_t piece = input.u8() + size_t{1};
  const uint8_t what = input.u8();
  const Octets file = input.rest();
  MemorySource whole(file);
  const auto frames = frames_of(whole);
  SlowSource slow(file, piece);
  require(frames_of(slow) == frames, "how octets arrive changes nothing");
  if (!frames) return 0;
  decrypt(file);
  there_and_back(file, what, *frames);
  return 0;
}
