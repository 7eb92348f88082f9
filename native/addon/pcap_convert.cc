// SPDX-License-Identifier: Apache-2.0
// The fields have the order of native/addon/pcap.ts.
#include "addon/pcap_convert.h"

#include <span>
#include <string>

#include "addon/convert.h"
#include "psp/header.h"

namespace psp {
namespace {

SealOptions read_seal_options(const JsValue& encrypt) {
  SealOptions seal;
  seal.spi = read_spi(encrypt["spi"]);
  seal.mode = read_mode(encrypt["mode"]);
  seal.version = encrypt["version"].number_of<uint8_t>(3);
  seal.crypt_offset = encrypt["cryptOffset"].number_of<uint8_t>(kMaxCryptOffset);
  const JsValue cookie = encrypt["cookie"], outer = encrypt["outer"];
  if (!cookie.is_absent()) seal.cookie = cookie.u64();
  seal.iv = encrypt["iv"].u64();
  if (!outer.is_absent()) seal.outer = {outer["source"].octets<16>(), outer["destination"].octets<16>()};
  return seal;
}

const char* code_of(CaptureFaultKind kind) {
  switch (kind) {
    case CaptureFaultKind::kMalformed:
      return "CAPTURE_MALFORMED";
    case CaptureFaultKind::kNotSealed:
    case CaptureFaultKind::kNoIv:
      return "FRAME_NOT_ENCRYPTED";
    case CaptureFaultKind::kNotOpened:
      return "FRAME_NOT_DECRYPTED";
    case CaptureFaultKind::kRead:
      return "FILE_UNREADABLE";
    default:
      return "FILE_UNWRITABLE";
  }
}

}  // namespace

TranscodeOptions read_transcode_options(const JsValue& options) {
  TranscodeOptions result;
  const SecretVector<uint8_t> keys = options["masterKeys"].secret(kMasterKeysLength);
  result.keys = std::make_unique<CaptureKeys>(std::span<const uint8_t, kMasterKeysLength>(keys));
  result.input = options["input"].number_of<int>();
  result.output = options["output"].number_of<int>();
  result.rules.skip_bad = options["skipBad"].optional_flag();
  result.rules.strict = options["strict"].optional_flag();
  const JsValue encrypt = options["encrypt"];
  if (!encrypt.is_absent()) result.seal = read_seal_options(encrypt);
  return result;
}

Napi::Object write_transcode_counts(Napi::Env env, const TranscodeCounts& counts) {
  auto result = Napi::Object::New(env);
  const auto set = [&](const char* name, uint64_t value) {
    result.Set(name, Napi::Number::New(env, static_cast<double>(value)));
  };
  result.Set("format", counts.format == CaptureFormat::kPcap ? "pcap" : "pcapng");
  set("frames", counts.frames);
  set("tunnel", counts.tunnel);
  set("transport", counts.transport);
  set("copied", counts.copied);
  auto kinds = Napi::Array::New(env);
  for (const auto& [kind, frames] : counts.copied_kinds) {
    auto one = Napi::Object::New(env);
    one.Set("kind", kind);
    one.Set("frames", static_cast<double>(frames));
    kinds.Set(kinds.Length(), one);
  }
  result.Set("copiedKinds", kinds);
  set("skipped", counts.skipped);
  auto skipped = Napi::Array::New(env, counts.skipped_frames.size());
  for (uint32_t i = 0; i < counts.skipped_frames.size(); i++) {
    auto frame = Napi::Object::New(env);
    frame.Set("frame", static_cast<double>(counts.skipped_frames[i].number));
    frame.Set("detail", counts.skipped_frames[i].detail);
    skipped.Set(i, frame);
  }
  result.Set("skippedFrames", skipped);
  set("completed", counts.completed);
  set("paddingOctets", counts.padding_octets);
  set("leftOut", counts.left_out);
  if (counts.next_iv) result.Set("nextIv", Napi::BigInt::New(env, *counts.next_iv));
  return result;
}

Napi::Error write_capture_fault(Napi::Env env, const CaptureFault& fault) {
  auto data = Napi::Object::New(env);
  data.Set("detail", fault.detail);
  if (fault.frame > 0) data.Set("frame", Napi::Number::New(env, static_cast<double>(fault.frame)));
  Napi::Error result = Napi::Error::New(env, std::string(code_of(fault.kind)) + ": " + fault.detail);
  result.Set("code", code_of(fault.kind));
  result.Set("data", data);
  return result;
}

}  // namespace psp
