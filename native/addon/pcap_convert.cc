// SPDX-License-Identifier: Apache-2.0
// In the order of native/addon/engine.ts.
#include "addon/pcap_convert.h"

#include <algorithm>
#include <climits>
#include <string>

#include "addon/convert.h"
#include "psp/header.h"

namespace psp {
namespace {

[[noreturn]] void refuse_type(Napi::Env env, const std::string& what, const char* expected) {
  throw Napi::TypeError::New(env, what + " must be " + expected);
}

// The octets of a Uint8Array of that length, as they lie there.
template <size_t length>
std::span<uint8_t, length> read_octets(Napi::Value value, const char* what) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array ||
      value.As<Napi::Uint8Array>().ByteLength() != length) {
    refuse_type(value.Env(), what, ("a Uint8Array of " + std::to_string(length) + " octets").c_str());
  }
  return std::span<uint8_t, length>(value.As<Napi::Uint8Array>().Data(), length);
}

std::unique_ptr<CaptureKeys> read_and_wipe_keys(Napi::Value value) {
  const auto octets = read_master_keys(value);
  auto keys = std::make_unique<CaptureKeys>(octets);
  wipe(octets.data(), octets.size());
  return keys;
}

Mode read_mode(Napi::Value value) {
  const std::string text = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  if (text == "tunnel") return Mode::kTunnel;
  if (text == "transport") return Mode::kTransport;
  refuse_type(value.Env(), "encrypt.mode", "tunnel or transport");
}

SealOptions read_seal(Napi::Object encrypt) {
  SealOptions seal;
  seal.spi = read_spi(encrypt.Get("spi"), "encrypt.spi");
  seal.mode = read_mode(encrypt.Get("mode"));
  seal.version = static_cast<uint8_t>(read_number(encrypt.Get("version"), 3, "encrypt.version"));
  seal.crypt_offset =
      static_cast<uint8_t>(read_number(encrypt.Get("cryptOffset"), kMaxCryptOffset, "encrypt.cryptOffset"));
  const Napi::Value cookie = encrypt.Get("cookie"), outer = encrypt.Get("outer");
  if (!cookie.IsUndefined()) seal.cookie = read_u64(cookie, "encrypt.cookie");
  seal.iv = read_u64(encrypt.Get("iv"), "encrypt.iv");
  if (!outer.IsUndefined()) {
    const Napi::Object ends = read_object(outer, "encrypt.outer");
    seal.outer = {read_address(ends.Get("source"), "encrypt.outer.source"),
                  read_address(ends.Get("destination"), "encrypt.outer.destination")};
  }
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

Napi::Object read_object(Napi::Value value, const char* what) {
  if (!value.IsObject()) refuse_type(value.Env(), what, "an object");
  return value.As<Napi::Object>();
}

uint64_t read_u64(Napi::Value value, const char* what) {
  bool lossless = false;
  const uint64_t number = value.IsBigInt() ? value.As<Napi::BigInt>().Uint64Value(&lossless) : 0;
  if (!lossless) refuse_type(value.Env(), what, "a bigint from 0 to 2^64 - 1");
  return number;
}

Address read_address(Napi::Value value, const char* what) {
  const auto octets = read_octets<16>(value, what);
  Address address;
  std::copy(octets.begin(), octets.end(), address.begin());
  return address;
}

std::span<uint8_t, kMasterKeysLength> read_master_keys(Napi::Value value) {
  return read_octets<kMasterKeysLength>(value, "masterKeys");
}

TranscodeOptions read_transcode_options(Napi::Value value) {
  const Napi::Object options = read_object(value, "options");
  TranscodeOptions result;
  result.keys = read_and_wipe_keys(options.Get("masterKeys"));
  result.input = static_cast<int>(read_number(options.Get("input"), INT_MAX, "input"));
  result.output = static_cast<int>(read_number(options.Get("output"), INT_MAX, "output"));
  result.rules.skip_bad = options.Get("skipBad").ToBoolean();
  result.rules.strict = options.Get("strict").ToBoolean();
  const Napi::Value encrypt = options.Get("encrypt");
  if (!encrypt.IsUndefined()) result.seal = read_seal(read_object(encrypt, "encrypt"));
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
