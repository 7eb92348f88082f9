// SPDX-License-Identifier: Apache-2.0
// The opaque JavaScript object behind which opened egress keys wait for their install. Its memory is wiped
// when it is installed, released or collected.
#pragma once

#include <napi.h>

#include <optional>

#include "addon/js_value.h"
#include "engine/control/control.h"

namespace psp {

class OpenedKeysObject : public Napi::ObjectWrap<OpenedKeysObject> {
 public:
  // Once per environment, before create.
  static void define(Napi::Env env);
  static Napi::Object create(Napi::Env env, OpenedKeys keys);
  // The object behind a value. Throws TypeError when it is none of ours.
  static OpenedKeysObject* of(const JsValue& value);

  explicit OpenedKeysObject(const Napi::CallbackInfo& info);

  size_t count() const { return count_; }
  // The keys; nothing when they were taken or released before.
  std::optional<OpenedKeys> take();
  // Puts back what was taken and not used.
  void give_back(OpenedKeys keys);

 private:
  Napi::Value get_count(const Napi::CallbackInfo& info);
  void release(const Napi::CallbackInfo& info);

  std::optional<OpenedKeys> keys_;
  size_t count_ = 0;
};

}  // namespace psp
