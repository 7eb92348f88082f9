// SPDX-License-Identifier: Apache-2.0
// The fields have the order of native/addon/trace.ts.
#include "addon/trace_convert.h"

#include <algorithm>
#include <string>

#include "addon/convert.h"
#include "addon/pcap_convert.h"
#include "engine/ip/oversize.h"

namespace psp {
namespace {

// A list of PSP versions for each peer.
std::vector<std::vector<uint8_t>> read_versions(const JsValue& value, size_t peers) {
  std::vector<std::vector<uint8_t>> versions;
  for (const JsValue& list : value.list()) {
    std::vector<uint8_t>& of_peer = versions.emplace_back();
    for (const JsValue& version : list.list()) of_peer.push_back(version.number_of<uint8_t>(3));
    if (of_peer.empty()) list.refuse("a list of at least one");
  }
  if (versions.size() != peers) value.refuse("a list for each peer");
  return versions;
}

TraceKey read_key(const JsValue& value) {
  TraceKey key;
  key.spi = read_spi(value["spi"]);
  key.first_iv = value["iv"].u64();
  const JsValue cookie = value["cookie"];
  if (!cookie.is_absent()) key.cookie = cookie.u64();
  key.outer_destination = value["outerDestination"].octets<16>();
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

TraceOptions read_trace_options(const JsValue& options) {
  TraceOptions result;
  TraceConfig& config = result.config;
  const JsValue keys = options["masterKeys"], mac = options["mac"], key = options["key"];
  if (!keys.is_absent()) config.master_keys = keys.secret(kMasterKeysLength);
  result.input = options["input"].number_of<int>();
  result.limit = options["limit"].number_of<uint32_t>();
  config.engine = read_engine_config(options["engine"]);
  config.direction =
      options["port"].choice({"unsecured", "secured"}) == 0 ? Direction::kEgress : Direction::kIngress;
  config.unsecured_mtu = options["unsecuredMtu"].number_of<uint16_t>();
  config.secured_mtu = options["securedMtu"].number_of<uint16_t>();
  if (config.secured_mtu < least_mtu(!is_ipv4(config.engine.secured_address.address))) {
    options["securedMtu"].refuse("as large as its IP version needs");
  }
  config.versions = read_versions(options["versions"], config.engine.peers.size());
  if (!mac.is_absent()) config.mac = mac.octets<6>();
  if (!key.is_absent()) {
    if (config.master_keys.empty()) keys.refuse("given where key is");
    config.key = read_key(key);
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
