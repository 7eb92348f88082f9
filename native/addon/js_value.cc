// SPDX-License-Identifier: Apache-2.0
// A path is left out as long as the value is a whole argument: fields of `options` are named by themselves.
#include "addon/js_value.h"

#include <algorithm>
#include <cmath>

namespace psp {

JsValue JsValue::operator[](const char* field) const {
  if (!value_.IsObject()) refuse("an object");
  const std::string path = path_.empty() ? field : path_ + "." + field;
  return {value_.As<Napi::Object>().Get(field), path};
}

std::vector<JsValue> JsValue::list() const {
  if (!value_.IsArray()) refuse("an array");
  const auto array = value_.As<Napi::Array>();
  std::vector<JsValue> values;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    values.emplace_back(array.Get(i), path_ + "[" + std::to_string(i) + "]");
  }
  return values;
}

uint64_t JsValue::number(uint64_t highest, uint64_t lowest) const {
  const double number = value_.IsNumber() ? value_.As<Napi::Number>().DoubleValue() : -1;
  const bool is_whole = number == std::floor(number);
  if (is_whole && number >= static_cast<double>(lowest) && number <= static_cast<double>(highest)) {
    return static_cast<uint64_t>(number);
  }
  const std::string from = lowest == 0 ? "" : "from " + std::to_string(lowest) + " ";
  refuse("a whole number " + from + (lowest == 0 ? "up to " : "to ") + std::to_string(highest));
}

uint64_t JsValue::u64() const {
  bool lossless = false;
  const uint64_t number = value_.IsBigInt() ? value_.As<Napi::BigInt>().Uint64Value(&lossless) : 0;
  if (!lossless) refuse("a bigint from 0 to 2^64 - 1");
  return number;
}

bool JsValue::flag() const {
  if (!value_.IsBoolean()) refuse("true or false");
  return value_.As<Napi::Boolean>();
}

std::string JsValue::text() const {
  if (!value_.IsString()) refuse("a string");
  return value_.As<Napi::String>().Utf8Value();
}

size_t JsValue::choice(std::initializer_list<std::string_view> choices) const {
  const std::string text = value_.IsString() ? value_.As<Napi::String>().Utf8Value() : "";
  const auto* const found = std::ranges::find(choices, text);
  if (found != choices.end()) return static_cast<size_t>(found - choices.begin());
  std::string names;
  for (const std::string_view name : choices) names += (names.empty() ? "" : " or ") + std::string(name);
  refuse(names);
}

SecretVector<uint8_t> JsValue::secret(size_t length) const {
  check_column(napi_uint8_array);
  auto array = value_.As<Napi::Uint8Array>();
  if (array.ByteLength() != length) refuse("a Uint8Array of " + std::to_string(length) + " octets");
  SecretVector<uint8_t> octets(array.Data(), array.Data() + length);
  wipe(array.Data(), length);
  return octets;
}

Napi::Function JsValue::function() const {
  if (!value_.IsFunction()) refuse("a function");
  return value_.As<Napi::Function>();
}

Napi::Object JsValue::tagged(const napi_type_tag& tag, const std::string& expected) const {
  if (!value_.IsObject() || !value_.As<Napi::Object>().CheckTypeTag(&tag)) refuse(expected);
  return value_.As<Napi::Object>();
}

void JsValue::refuse(const std::string& expected) const {
  throw Napi::TypeError::New(value_.Env(), (path_.empty() ? "options" : path_) + " must be " + expected);
}

void JsValue::check_column(napi_typedarray_type type) const {
  if (value_.IsTypedArray() && value_.As<Napi::TypedArray>().TypedArrayType() == type) return;
  switch (type) {
    case napi_uint8_array:
      refuse("a Uint8Array");
    case napi_uint16_array:
      refuse("a Uint16Array");
    case napi_uint32_array:
      refuse("a Uint32Array");
    default:
      refuse("a BigUint64Array");
  }
}

}  // namespace psp
