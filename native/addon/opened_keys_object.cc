// SPDX-License-Identifier: Apache-2.0
// JavaScript may construct the class too, but then it holds no keys. A type tag keeps other objects out.
#include "addon/opened_keys_object.h"

#include <memory>
#include <utility>

namespace psp {
namespace {

constexpr napi_type_tag kTag = {0x9f1c6b0e4d2a4c77, 0xb5e83a917f604d12};

}  // namespace

void OpenedKeysObject::define(Napi::Env env) {
  const Napi::Function constructor = DefineClass(env, "OpenedKeys",
                                                 {InstanceAccessor<&OpenedKeysObject::get_count>("count"),
                                                  InstanceMethod<&OpenedKeysObject::release>("release")});
  auto reference = std::make_unique<Napi::FunctionReference>(Napi::Persistent(constructor));
  env.SetInstanceData(reference.release());
}

Napi::Object OpenedKeysObject::create(Napi::Env env, OpenedKeys keys) {
  const Napi::Object object = env.GetInstanceData<Napi::FunctionReference>()->New({});
  OpenedKeysObject* self = Unwrap(object);
  self->count_ = keys.offers.size();
  self->keys_ = std::move(keys);
  return object;
}

OpenedKeysObject* OpenedKeysObject::of(const JsValue& value) {
  return Unwrap(value.tagged(kTag, "what open() returned"));
}

OpenedKeysObject::OpenedKeysObject(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<OpenedKeysObject>(info) {
  Value().TypeTag(&kTag);
}

std::optional<OpenedKeys> OpenedKeysObject::take() {
  return std::exchange(keys_, std::nullopt);
}

void OpenedKeysObject::give_back(OpenedKeys keys) {
  keys_ = std::move(keys);
}

Napi::Value OpenedKeysObject::get_count(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(count_));
}

void OpenedKeysObject::release(const Napi::CallbackInfo&) {
  keys_.reset();
}

}  // namespace psp
