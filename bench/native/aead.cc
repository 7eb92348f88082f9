// SPDX-License-Identifier: Apache-2.0
// The rates at which the libraries encrypt and decrypt on one core, for both key sizes, by direct calls and
// through our interface; one line per case. With OCTETS as argument it measures only our interface encrypting
// packets of that length, for other benches.
//   cmake --build build/native --target aead_bench && build/native/aead_bench [OCTETS]
#include "psp/aead.h"

#include "raw_aead.h"

namespace psp {
namespace {

constexpr int kRounds = 15;
constexpr double kRoundNs = 4e6;  // of one measurement, approximately

// The engine's interface, measured like the libraries.
class Ours final : public RawAead {
 public:
  explicit Ours(std::unique_ptr<Aead> aead) : aead_(std::move(aead)) {
    key_ = std::aligned_alloc(kAeadKeyAlignment, (aead_->expanded_size() + 63) / 64 * 64);
    aead_->construct(key_);
  }
  ~Ours() override {
    aead_->destroy(key_);
    std::free(key_);
  }
  std::string name() const override { return aead_->name(); }
  void set_key(const uint8_t* key, bool long_key) override { aead_->expand(key_, key, long_key ? 1 : 0); }
  void seal(const uint8_t* nonce, const uint8_t* aad, uint8_t* data, size_t length, uint8_t* tag) override {
    aead_->seal(key_, nonce, aad, 16, data, length, tag);
  }
  void open(const uint8_t* nonce, const uint8_t* aad, uint8_t* data, size_t length, uint8_t* tag) override {
    aead_->open(key_, nonce, aad, 16, data, length, tag);
  }

 private:
  std::unique_ptr<Aead> aead_;
  void* key_;
};

struct Way {
  RawAead* library;
  std::string name;
  uint64_t ahead;  // number of packets by which headers are written ahead
};

void compare(const std::vector<Way>& ways, bool long_key, bool seals, size_t octets) {
  std::vector<std::vector<double>> ns(ways.size());
  std::vector<uint64_t> counts;
  const uint8_t key[32] = {1, 2, 3};
  for (const Way& way : ways) {
    way.library->set_key(key, long_key);
    way.library->measure(seals, octets, 1000);
    counts.push_back(static_cast<uint64_t>(kRoundNs / way.library->measure(seals, octets, 1000)));
  }
  for (int round = 0; round < kRounds; ++round) {
    for (size_t i = 0; i < ways.size(); ++i) {
      ns[i].push_back(ways[i].library->measure(seals, octets, counts[i], ways[i].ahead));
    }
  }
  for (size_t i = 0; i < ways.size(); ++i) {
    Line("aead")
        .text("library", ways[i].name)
        .number("keyBits", long_key ? 256 : 128)
        .text("direction", seals ? "seal" : "open")
        .number("octets", static_cast<double>(octets))
        .numbers("ns", ns[i]);
  }
}

}  // namespace
}  // namespace psp

int main(int count, char** words) {
  using namespace psp;
  std::unique_ptr<Aead> aead = make_aead_ipsec_mb();
  if (!aead) aead = make_aead_libcrypto();
  Ours ours(std::move(aead));
  if (count > 1) {
    const uint8_t key[32] = {1, 2, 3};
    ours.set_key(key, false);
    const size_t octets = std::strtoul(words[1], nullptr, 10);
    std::vector<double> ns;
    for (int round = 0; round < kRounds; ++round) ns.push_back(ours.measure(true, octets, 50000));
    Line("aead").text("library", ours.name()).numbers("ns", ns);
    return 0;
  }
  const auto limit = raw_limit();
  RawOpenssl openssl;
  for (const bool long_key : {false, true}) {
    for (const bool seals : {true, false}) {
      for (const size_t octets : {64, 256, 512, 1420}) {
        compare({{limit.get(), limit->name(), 32},
                 {limit.get(), limit->name() + ", header right before", 0},
                 {&openssl, openssl.name(), 32},
                 {&ours, "our interface", 32}},
                long_key, seals, octets);
      }
    }
  }
}
