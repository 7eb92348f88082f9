// SPDX-License-Identifier: Apache-2.0
// Untrusted capture files: reading ends with the last record or with a CaptureFault, never otherwise, however
// many octets each read returns. A file that can be encrypted contains no IP in the clear where Ethernet
// frames carry it, and decrypts to the same frames.
//
//   u8 octets of each read | u8 version (2 bits), transport, cookie, skip bad, strict | the file
#include <optional>

#include "input.h"
#include "keys.h"
#include "pcap/decrypt.h"
#include "pcap/fault.h"
#include "pcap/reader.h"
#include "pcap/time.h"
#include "pcap/transcode.h"
#include "psp/octets.h"

namespace psp::fuzz {
namespace {

// Returns a few octets per read.
class SlowSource : public Source {
 public:
  SlowSource(std::span<const uint8_t> octets, size_t read_length)
      : rest_(octets), read_length_(read_length) {}
  size_t read(uint8_t* into, size_t room) override {
    const size_t count = std::min({read_length_, room, rest_.size()});
    std::copy_n(rest_.begin(), count, into);
    rest_ = rest_.subspan(count);
    return count;
  }

 private:
  std::span<const uint8_t> rest_;
  size_t read_length_;
};

struct Frames {
  std::vector<Octets> frames;
  std::vector<uint16_t> link_types;
  bool operator==(const Frames&) const = default;
};

// All frames; nothing if the file is malformed.
std::optional<Frames> frames_of(Source& source) {
  Frames all;
  try {
    CaptureReader reader(source);
    CaptureRecord record;
    while (reader.next(&record)) {
      require(record.octets.size() <= kMaxRecordLength, "a record is bounded");
      if (record.kind != CaptureRecord::Kind::kFrame) continue;
      require(record.frame.size() <= kMaxFrameLength, "a frame is bounded");
      require(record.interface != nullptr, "a frame has an interface");
      all.frames.emplace_back(record.frame.begin(), record.frame.end());
      all.link_types.push_back(record.interface->link_type);
      require(record.number == all.frames.size(), "frames are numbered");
      captured_at_ns(record);
    }
  } catch (const CaptureFault& fault) {
    require(fault.kind == CaptureFaultKind::kMalformed, "reading finds only malformed files");
    return std::nullopt;
  }
  return all;
}

CaptureKeys& keys() {
  static uint8_t masters[kMasterKeysLength] = {1, 2, 3};
  static auto* const made = new CaptureKeys(std::span<const uint8_t, kMasterKeysLength>(masters));
  return *made;
}

TranscodeRules rules_of(uint8_t what) {
  return {.skip_bad = (what & 16) != 0, .strict = (what & 32) != 0};
}

std::optional<TranscodeCounts> encrypt(const Octets& file, uint8_t what, Sink& sink) {
  SealOptions options;
  options.spi = 0x12345678;
  options.version = what & 3;
  options.mode = what & 4 ? Mode::kTransport : Mode::kTunnel;
  if (what & 8) options.cookie = 0x1122334455667788;
  MemorySource source(file);
  try {
    return encrypt_capture(source, sink, keys(), options, rules_of(what));
  } catch (const CaptureFault&) {
    return std::nullopt;
  }
}

void check_counts(const TranscodeCounts& counts) {
  require(counts.tunnel + counts.transport + counts.copied + counts.skipped == counts.frames,
          "each frame is sealed or opened, copied or skipped");
  uint64_t copied = 0;
  for (const auto& [kind, frames] : counts.copied_kinds) {
    require(!kind.empty() && frames > 0, "copied frames have a kind");
    copied += frames;
  }
  require(copied == counts.copied, "kinds add up");
}

void decrypt(const Octets& file, uint8_t what) {
  MemorySource source(file);
  MemorySink sink;
  try {
    check_counts(decrypt_capture(source, sink, keys(), rules_of(what)));
  } catch (const CaptureFault&) {
  }
}

// Checks the most common encodings of IP with a parser of its own: Ethernet with or without one tag, and
// SNAP.
void require_sealed(const std::vector<Octets>& frames, const std::vector<uint16_t>& link_types) {
  constexpr uint16_t kIpv4 = 0x0800, kIpv6 = 0x86dd;
  constexpr uint64_t kSnap = 0xaaaa030000000000;
  for (size_t i = 0; i < frames.size(); ++i) {
    const Octets& frame = frames[i];
    if (link_types[i] != 1 || frame.size() < 22) continue;
    size_t at = 12;
    if (load_u16(&frame[12]) == 0x8100 || load_u16(&frame[12]) == 0x9200) at = 16;
    if (load_u16(&frame[12]) <= 1500 && (load_u64(&frame[14]) & ~uint64_t{0xffff}) == kSnap) at = 20;
    const uint16_t type = load_u16(&frame[at]);
    if (type != kIpv4 && type != kIpv6) continue;
    require(is_to_psp(std::span(frame).subspan(at + 2)), "no IP is left in the clear");
  }
}

// Whether a frame is unchanged, except for fields that a sending host leaves to its interface: 2 octets of a
// length, which was 0, and 2 of a checksum.
bool is_completed(const Octets& before, const Octets& after) {
  size_t differing = 0;
  for (size_t i = 0; i < after.size(); ++i) differing += before[i] != after[i];
  return after.size() == before.size() ? differing <= 4 : differing <= 2;
}

void encrypt_and_decrypt(const Octets& file, uint8_t what, const Frames& before) {
  MemorySink sealed, opened;
  const auto encrypted = encrypt(file, what, sealed);
  if (!encrypted) return;
  require(encrypted->frames == before.frames.size(), "all frames are read");
  require(what & 16 || encrypted->skipped == 0, "none is skipped without skip_bad");
  require(!(what & 32) || encrypted->copied == 0, "none is copied in strict mode");
  check_counts(*encrypted);
  MemorySource sealed_source(sealed.octets);
  const auto sealed_frames = frames_of(sealed_source);
  require(sealed_frames && sealed_frames->frames.size() == encrypted->frames - encrypted->skipped,
          "the output is a capture");
  require_sealed(sealed_frames->frames, sealed_frames->link_types);
  MemorySource source(sealed.octets);
  TranscodeCounts decrypted;
  try {
    decrypted = decrypt_capture(source, opened, keys());
  } catch (const CaptureFault& fault) {
    std::fprintf(stderr, "frame %llu: %s\n", static_cast<unsigned long long>(fault.frame), fault.what());
    require(false, "an encrypted file decrypts");
  }
  check_counts(decrypted);
  require(decrypted.copied == encrypted->copied && decrypted.tunnel == encrypted->tunnel, "the counts agree");
  MemorySource result(opened.octets);
  const auto after = frames_of(result);
  require(after && after->frames.size() == sealed_frames->frames.size(), "the number of frames is the same");
  uint64_t removed = 0, completed = 0;
  std::vector<uint64_t> skipped;
  for (const SkippedFrame& frame : encrypted->skipped_frames) skipped.push_back(frame.number);
  if (skipped.size() != encrypted->skipped) return;
  for (size_t i = 0, j = 0; i < before.frames.size(); ++i) {
    if (std::find(skipped.begin(), skipped.end(), i + 1) != skipped.end()) continue;
    const Octets &was = before.frames[i], &is = after->frames[j++];
    require(is.size() <= was.size(), "no frame grew");
    removed += was.size() - is.size();
    if (std::equal(is.begin(), is.end(), was.begin())) continue;
    require(is_completed(was, is), "frames are the same, or were completed");
    ++completed;
  }
  require(removed <= encrypted->padding_octets, "removed octets are counted");
  require(completed <= encrypted->completed, "completed frames are counted");
}

}  // namespace
}  // namespace psp::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t length) {
  using namespace psp;
  using namespace psp::fuzz;
  Input input(data, length);
  const size_t read_length = input.u8() + size_t{1};
  const uint8_t what = input.u8();
  const Octets file = input.rest();
  MemorySource whole(file);
  const auto frames = frames_of(whole);
  SlowSource slow(file, read_length);
  require(frames_of(slow) == frames, "short reads do not change the result");
  if (!frames) return 0;
  decrypt(file, what);
  encrypt_and_decrypt(file, what, *frames);
  return 0;
}
