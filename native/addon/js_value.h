// SPDX-License-Identifier: Apache-2.0
// The only place that reads JavaScript values. A JsValue is one of them with its path, such as
// "limits.holdMs", which errors name. Reading throws TypeError wherever a value could break memory safety:
// wrong types, lengths that do not fit each other, numbers out of range. Buffers are copied when they are
// read, since reading the next property may run code that changes them.
#pragma once

#include <napi.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "psp/secret.h"

namespace psp {

class JsValue {
 public:
  JsValue(Napi::Value value, std::string path) : value_(value), path_(std::move(path)) {}

  // A field of an object.
  JsValue operator[](const char* field) const;
  // The elements of an array.
  std::vector<JsValue> list() const;
  bool is_absent() const { return value_.IsUndefined(); }
  bool is_text() const { return value_.IsString(); }

  // A whole number from `lowest` to `highest`.
  uint64_t number(uint64_t highest, uint64_t lowest = 0) const;
  template <typename T>
  T number_of(uint64_t highest = std::numeric_limits<T>::max()) const {
    return static_cast<T>(number(highest));
  }
  // A bigint.
  uint64_t u64() const;
  bool flag() const;
  // Absent is false.
  bool optional_flag() const { return !is_absent() && flag(); }
  std::string text() const;
  // The position of a text among those that are allowed.
  size_t choice(std::initializer_list<std::string_view> choices) const;
  // A copy of a typed array.
  template <typename T>
  std::vector<T> column() const {
    check_column(type_of_column(T{}));
    const auto array = value_.As<Napi::TypedArrayOf<T>>();
    const size_t length = array.ElementLength();
    return length == 0 ? std::vector<T>() : std::vector<T>(array.Data(), array.Data() + length);
  }
  // Octets of one length.
  template <size_t length>
  std::array<uint8_t, length> octets() const {
    const std::vector<uint8_t> read = column<uint8_t>();
    if (read.size() != length) refuse(std::to_string(length) + " octets long");
    std::array<uint8_t, length> fixed;
    std::copy(read.begin(), read.end(), fixed.begin());
    return fixed;
  }
  // So many octets, which are wiped where they lay.
  SecretVector<uint8_t> secret(size_t length) const;
  Napi::Function function() const;
  // An object that bears this tag.
  Napi::Object tagged(const napi_type_tag& tag, const std::string& expected) const;

  // Throws TypeError: "<path> must be <expected>".
  [[noreturn]] void refuse(const std::string& expected) const;

 private:
  static napi_typedarray_type type_of_column(uint8_t) { return napi_uint8_array; }
  static napi_typedarray_type type_of_column(uint16_t) { return napi_uint16_array; }
  static napi_typedarray_type type_of_column(uint32_t) { return napi_uint32_array; }
  static napi_typedarray_type type_of_column(uint64_t) { return napi_biguint64_array; }
  void check_column(napi_typedarray_type type) const;

  Napi::Value value_;
  std::string path_;
};

}  // namespace psp
