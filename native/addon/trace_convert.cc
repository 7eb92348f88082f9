// SPDX-License-Identifier: Apache-2.0
// In the order of native/addon/engine.ts.
#include "addon/trace_convert.h"

#include <algorithm>
#include <climits>
#include <string>

#include "addon/convert.h"
#include "addon/pcap_convert.h"
#include "engine/ip/oversize.h"

namespace psp {
namespace {

[[noreturn]] void refuse_type(Napi::Value value, const std::string& what, const char* expected) {
  throw Napi::TypeError::New(value.Env(), what + " must be " + expected);
}

Direction read_port(Napi::Value value) {
  const std::string text = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  if (text == "unsecured") return Direction::kEgress;
  if (text == "secured") return Direction::kIngress;
  refuse_type(value, "port", "unsecured or secured");
}

MacAddress read_mac(Napi::Value value) {
  const bool octets =
      value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array;
  MacAddress mac;
  if (!octets || value.As<Napi::Uint8Array>().ByteLength() != mac.size()) {
    refuse_type(value, "mac", "a Uint8Array of 6 octets");
  }
  std::copy_n(value.As<Napi::Uint8Array>().Data(), mac.size(), mac.begin());
  return mac;
}

// A list of PSP versions for each peer.
std::vector<std::vector<uint8_t>> read_versions(Napi::Value value, size_t peers) {
  if (!value.IsArray() || value.As<Napi::Array>().Length() != peers) {
    refuse_type(value, "versions", "a list for each peer");
  }
  const auto lists = value.As<Napi::Array>();
  std::vector<std::vector<uint8_t>> versions(peers);
  for (uint32_t peer = 0; peer < peers; ++peer) {
    const Napi::Value list = lists.Get(peer);
    if (!list.IsArray() || list.As<Napi::Array>().Length() == 0) {
      refuse_type(value, "versions of a peer", "a list of at least one");
    }
    const auto numbers = list.As<Napi::Array>();
    for (uint32_t i = 0; i < numbers.Length(); ++i) {
      const Napi::Value number = numbers.Get(i);
      versions[peer].push_back(static_cast<uint8_t>(read_number(number, 3, "a version")));
    }
  }
  return versions;
}

TraceKey read_key(Napi::Object object) {
  TraceKey key;
  key.spi = read_spi(object.Get("spi"), "key.spi");
  key.first_iv = read_u64(object.Get("iv"), "key.iv");
  const Napi::Value cookie = object.Get("cookie");
  if (!cookie.IsUndefined()) key.cookie = read_u64(cookie, "key.cookie");
  key.outer_destination = read_address(object.Get("outerDestination"), "key.outerDestination");
  return key;
}

Napi::Object object_of(Napi::Env env) {
  return Napi::Object::New(env);
}

Napi::Uint8Array write_address(Napi::Env env, const Address& address) {
  auto octets = Napi::Uint8Array::New(env, address.size());
  std::ranges::copy(address, octets.Data());
  return octets;
}

Napi::String write_text(Napi::Env env, std::string_view text) {
  return Napi::String::New(env, text.data(), text.size());
}

template <typename Rows, typename Write>
Napi::Array write_list(Napi::Env env, const Rows& rows, Write write) {
  auto list = Napi::Array::New(env);
  uint32_t i = 0;
  for (const auto& row : rows) list.Set(i++, write(row));
  return list;
}

Napi::Object write_ip(Napi::Env env, const IpPacket& packet, const Ports& ports) {
  auto ip = object_of(env);
  ip.Set("version", packet.version);
  ip.Set("source", write_address(env, packet.source));
  ip.Set("destination", write_address(env, packet.destination));
  ip.Set("protocol", packet.protocol);
  ip.Set("sourcePort", ports.source);
  ip.Set("destinationPort", ports.destination);
  ip.Set("length", packet.length);
  ip.Set("fragment", packet.fragment);
  ip.Set("laterFragment", packet.later_fragment);
  return ip;
}

Napi::Object write_dissection(Napi::Env env, const Dissection& dissection) {
  auto object = object_of(env);
  object.Set("etherType", dissection.ether_type);
  if (dissection.ip) object.Set("ip", write_ip(env, *dissection.ip, dissection.ports));
  if (dissection.psp) {
    auto psp = object_of(env);
    psp.Set("spi", dissection.psp->spi);
    psp.Set("iv", Napi::BigInt::New(env, dissection.psp->iv));
    psp.Set("version", dissection.psp->version);
    psp.Set("cryptOffset", dissection.psp->crypt_offset);
    psp.Set("cookie", dissection.psp->has_cookie);
    psp.Set("sample", dissection.psp->sample);
    psp.Set("drop", dissection.psp->drop);
    object.Set("psp", psp);
  }
  if (dissection.too_big_mtu) object.Set("tooBigMtu", *dissection.too_big_mtu);
  return object;
}

Napi::Object write_moved(Napi::Env env, const Moved& moved) {
  auto object = object_of(env);
  object.Set("pipes", write_list(env, moved.pipes, [&](const PipeCount& pipe) {
               auto row = object_of(env);
               row.Set("name", write_text(env, pipe.name));
               row.Set("hit", static_cast<double>(pipe.hit));
               row.Set("miss", static_cast<double>(pipe.miss));
               return row;
             }));
  object.Set("drops", write_list(env, moved.drops, [&](const DropCount& drop) {
               auto row = object_of(env);
               row.Set("reason", write_text(env, drop.reason));
               row.Set("direction", write_text(env, drop.direction));
               row.Set("packets", static_cast<double>(drop.packets));
               return row;
             }));
  auto values = object_of(env);
  for (const Moved::Value& value : moved.values) {
    values.Set(write_text(env, value.name), static_cast<double>(value.change));
  }
  object.Set("values", values);
  object.Set("bypassed",
             write_list(env, moved.bypassed, [&](uint32_t rule) { return Napi::Number::New(env, rule); }));
  return object;
}

Napi::Object write_flow(Napi::Env env, const TracedFlow& flow) {
  auto object = object_of(env);
  object.Set("source", write_address(env, flow.flow.source));
  object.Set("destination", write_address(env, flow.flow.destination));
  object.Set("spi", flow.spi);
  object.Set("version", flow.version);
  object.Set("mode", static_cast<uint8_t>(flow.mode));
  object.Set("cookie", flow.cookie != 0);
  object.Set("pathMtu", flow.path_mtu);
  return object;
}

Napi::Object write_row(Napi::Env env, const TraceRow& row) {
  const TracedFrame& traced = row.traced;
  auto object = object_of(env);
  object.Set("number", static_cast<double>(row.number));
  if (row.at_ns) object.Set("atNs", Napi::BigInt::New(env, *row.at_ns));
  object.Set("length", row.length);
  if (!row.skipped.empty()) object.Set("skipped", row.skipped);
  object.Set("dissection", write_dissection(env, traced.dissection));
  if (row.inner) object.Set("inner", write_ip(env, row.inner->ip, row.inner->ports));
  object.Set("before", write_moved(env, traced.before));
  object.Set("moved", write_moved(env, traced.moved));
  if (traced.peer) object.Set("peer", *traced.peer);
  if (traced.flow) object.Set("flow", write_flow(env, *traced.flow));
  object.Set("resolved", write_list(env, traced.resolved,
                                    [&](const Address& address) { return write_address(env, address); }));
  object.Set("left", write_list(env, traced.left, [&](const LeftFrame& left) {
               auto frame = object_of(env);
               frame.Set("port", left.secured ? "secured" : "unsecured");
               frame.Set("length", left.length);
               frame.Set("dissection", write_dissection(env, left.dissection));
               return frame;
             }));
  object.Set("samples", write_list(env, traced.samples, [&](const SampleFacts& facts) {
               return Napi::Number::New(env, static_cast<uint8_t>(facts.point));
             }));
  return object;
}

}  // namespace

TraceOptions read_trace_options(Napi::Value value) {
  const Napi::Object options = read_object(value, "options");
  TraceOptions result;
  TraceConfig& config = result.config;
  const Napi::Value keys = options.Get("masterKeys"), mac = options.Get("mac"), key = options.Get("key");
  if (!keys.IsUndefined()) {
    const auto octets = read_master_keys(keys);
    config.master_keys.assign(octets.begin(), octets.end());
    wipe(octets.data(), octets.size());
  }
  result.input = static_cast<int>(read_number(options.Get("input"), INT_MAX, "input"));
  result.limit = static_cast<uint32_t>(read_number(options.Get("limit"), UINT32_MAX, "limit"));
  config.engine = read_engine_config(read_object(options.Get("engine"), "engine"));
  config.direction = read_port(options.Get("port"));
  config.unsecured_mtu =
      static_cast<uint16_t>(read_number(options.Get("unsecuredMtu"), UINT16_MAX, "unsecuredMtu"));
  config.secured_mtu =
      static_cast<uint16_t>(read_number(options.Get("securedMtu"), UINT16_MAX, "securedMtu"));
  if (config.secured_mtu < least_mtu(!is_ipv4(config.engine.secured_address.address))) {
    refuse_type(options.Get("securedMtu"), "securedMtu", "as large as its IP version needs");
  }
  config.versions = read_versions(options.Get("versions"), config.engine.peers.size());
  if (!mac.IsUndefined()) config.mac = read_mac(mac);
  if (!key.IsUndefined()) {
    if (config.master_keys.empty()) refuse_type(keys, "masterKeys", "given where key is");
    config.key = read_key(read_object(key, "key"));
  }
  return result;
}

Napi::Object write_trace(Napi::Env env, const CaptureTrace& trace) {
  auto object = object_of(env);
  object.Set("format", trace.format == CaptureFormat::kPcap ? "pcap" : "pcapng");
  object.Set("frames", write_list(env, trace.rows, [&](const TraceRow& row) { return write_row(env, row); }));
  object.Set("more", trace.more);
  object.Set("held", static_cast<double>(trace.held));
  object.Set("fragmentsWaiting", static_cast<double>(trace.fragments_waiting));
  return object;
}

}  // namespace psp
