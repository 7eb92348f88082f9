// SPDX-License-Identifier: Apache-2.0
// The reading half, in the order of native/addon/engine.ts.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "addon/convert.h"
#include "psp/header.h"

namespace psp {
namespace {

constexpr size_t kFlowOctets = sizeof(FlowKey);
constexpr size_t kPrefixOctets = 17;
constexpr uint64_t kAny32 = 0xffffffff;
constexpr uint64_t kLcoresAtMost = 64;
constexpr size_t kSourcePortsAtLeast = 16;  // PSP specification, "UDP Header"

[[noreturn]] void refuse_type(Napi::Env env, const std::string& what, const char* expected) {
  throw Napi::TypeError::New(env, what + " must be " + expected);
}

Napi::Object read_object(Napi::Value value, const char* what) {
  if (!value.IsObject()) refuse_type(value.Env(), what, "an object");
  return value.As<Napi::Object>();
}

// A copy of a typed array of T.
template <typename T>
std::vector<T> read_column(Napi::Value value, napi_typedarray_type type, const char* what,
                           const char* expected) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) {
    refuse_type(value.Env(), what, expected);
  }
  const auto array = value.As<Napi::TypedArrayOf<T>>();
  return array.ElementLength() == 0 ? std::vector<T>()
                                    : std::vector<T>(array.Data(), array.Data() + array.ElementLength());
}

std::vector<uint8_t> read_octets(Napi::Value value, const char* what) {
  return read_column<uint8_t>(value, napi_uint8_array, what, "a Uint8Array");
}

template <size_t length>
std::array<uint8_t, length> read_fixed(Napi::Value value, const char* what) {
  const std::vector<uint8_t> octets = read_octets(value, what);
  if (octets.size() != length) {
    refuse_type(value.Env(), what, (std::to_string(length) + " octets long").c_str());
  }
  std::array<uint8_t, length> fixed;
  std::copy_n(octets.begin(), length, fixed.begin());
  return fixed;
}

uint32_t read_u32(Napi::Value value, const char* what) {
  return static_cast<uint32_t>(read_number(value, kAny32, what));
}

uint64_t read_u64(Napi::Value value, const char* what) {
  bool lossless = false;
  const uint64_t number = value.IsBigInt() ? value.As<Napi::BigInt>().Uint64Value(&lossless) : 0;
  if (!lossless) refuse_type(value.Env(), what, "a bigint from 0 to 2^64 - 1");
  return number;
}

std::string read_text(Napi::Value value, const char* what) {
  if (!value.IsString()) refuse_type(value.Env(), what, "a string");
  return value.As<Napi::String>().Utf8Value();
}

// A text whose length fits one octet, as seals bind it.
std::string read_bound_text(Napi::Value value, const char* what) {
  std::string text = read_text(value, what);
  if (text.size() > 255) refuse_type(value.Env(), what, "at most 255 octets long");
  return text;
}

// One of several texts, by its position.
size_t read_choice(Napi::Value value, const std::vector<std::string>& choices, const char* what) {
  const std::string text = read_text(value, what);
  const auto found = std::find(choices.begin(), choices.end(), text);
  if (found == choices.end()) refuse_type(value.Env(), what, "one of its names in native/addon/engine.ts");
  return static_cast<size_t>(found - choices.begin());
}

uint8_t read_prefix_length(Napi::Env env, uint64_t length, const char* what) {
  if (length > 128) refuse_type(env, what, "prefixes of at most 128 bits");
  return static_cast<uint8_t>(length);
}

std::vector<Prefix> read_prefixes(Napi::Value value, const char* what) {
  const std::vector<uint8_t> octets = read_octets(value, what);
  if (octets.size() % kPrefixOctets != 0) refuse_type(value.Env(), what, "17 octets for each prefix");
  std::vector<Prefix> prefixes(octets.size() / kPrefixOctets);
  for (size_t i = 0; i < prefixes.size(); ++i) {
    const uint8_t* row = octets.data() + i * kPrefixOctets;
    std::copy_n(row, 16, prefixes[i].address.begin());
    prefixes[i].length = read_prefix_length(value.Env(), row[16], what);
  }
  return prefixes;
}

Mode read_mode(Napi::Env env, uint8_t value, const char* what) {
  if (value != static_cast<uint8_t>(Mode::kTunnel) && value != static_cast<uint8_t>(Mode::kTransport)) {
    refuse_type(env, what, "1 (tunnel) or 2 (transport)");
  }
  return static_cast<Mode>(value);
}

bool read_flag(Napi::Value value, const char* what) {
  if (!value.IsBoolean()) refuse_type(value.Env(), what, "true or false");
  return value.As<Napi::Boolean>();
}

PeerConfig read_peer(Napi::Object peer) {
  PeerConfig config;
  config.vips = read_prefixes(peer.Get("vips"), "vips of a peer");
  config.mode = read_choice(peer.Get("mode"), {"tunnel", "transport"}, "mode of a peer") == 0
                    ? Mode::kTunnel
                    : Mode::kTransport;
  config.cookie = read_flag(peer.Get("cookie"), "cookie of a peer");
  config.crypt_offset =
      static_cast<uint8_t>(read_number(peer.Get("cryptOffset"), kMaxCryptOffset, "cryptOffset of a peer"));
  const Napi::Value mtu = peer.Get("mtu");
  if (!mtu.IsUndefined()) config.mtu = static_cast<uint16_t>(read_number(mtu, 0xffff, "mtu of a peer"));
  const Napi::Value sampling = peer.Get("sampling");
  if (!sampling.IsUndefined()) {
    const bool off = sampling.IsString() && sampling.As<Napi::String>().Utf8Value() == "off";
    config.sampling_log2 = off ? std::nullopt : read_rate(sampling, "sampling of a peer");
  }
  return config;
}

OuterConfig read_outer(Napi::Object secured) {
  OuterConfig outer;
  outer.hop_limit = static_cast<uint8_t>(read_number(secured.Get("hopLimit"), 255, "secured.hopLimit"));
  const Napi::Value dscp = secured.Get("dscp");
  if (!dscp.IsUndefined()) outer.dscp = static_cast<uint8_t>(read_number(dscp, 63, "secured.dscp"));
  outer.udp_checksum = read_flag(secured.Get("udpChecksum"), "secured.udpChecksum");
  const Napi::Value ports = secured.Get("sourcePorts");
  if (ports.IsString()) {
    outer.source_ports =
        static_cast<SourcePorts>(read_choice(ports, {"hash", "symmetricHash"}, "secured.sourcePorts"));
  } else {
    outer.source_ports = SourcePorts::kTable;
    outer.port_table =
        read_column<uint16_t>(ports, napi_uint16_array, "secured.sourcePorts", "a name or a Uint16Array");
    if (outer.port_table.size() < kSourcePortsAtLeast) {
      refuse_type(ports.Env(), "secured.sourcePorts", "at least 16 ports");
    }
  }
  return outer;
}

std::vector<BypassRule> read_bypass(Napi::Value value) {
  if (!value.IsArray()) refuse_type(value.Env(), "bypass", "an array");
  const auto list = value.As<Napi::Array>();
  std::vector<BypassRule> rules;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Object row = read_object(list.Get(i), "a bypass rule");
    const std::vector<Prefix> prefix = read_prefixes(row.Get("prefix"), "prefix of a bypass rule");
    if (prefix.size() != 1) refuse_type(value.Env(), "prefix of a bypass rule", "17 octets long");
    rules.push_back({prefix.front(),
                     static_cast<uint8_t>(read_number(row.Get("protocol"), 255, "protocol of a bypass rule")),
                     static_cast<uint16_t>(read_number(row.Get("port"), 0xffff, "port of a bypass rule"))});
  }
  return rules;
}

std::vector<PeerConfig> read_peers(Napi::Value value) {
  if (!value.IsArray()) refuse_type(value.Env(), "peers", "an array");
  const auto list = value.As<Napi::Array>();
  if (list.Length() > 0xffff) refuse_type(value.Env(), "peers", "fewer than 65536");
  std::vector<PeerConfig> peers;
  for (uint32_t i = 0; i < list.Length(); ++i) peers.push_back(read_peer(read_object(list.Get(i), "a peer")));
  return peers;
}

SecretVector<uint8_t> read_and_wipe_secret(Napi::Value value) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array ||
      value.As<Napi::Uint8Array>().ByteLength() != 32) {
    refuse_type(value.Env(), "busSecret", "a Uint8Array of 32 octets");
  }
  auto array = value.As<Napi::Uint8Array>();
  SecretVector<uint8_t> secret(array.Data(), array.Data() + 32);
  wipe(array.Data(), 32);
  return secret;
}

Napi::Function read_function(Napi::Value value, const char* what) {
  if (!value.IsFunction()) refuse_type(value.Env(), what, "a function");
  return value.As<Napi::Function>();
}

[[noreturn]] void refuse_reserved_spi(Napi::Value value, const char* what) {
  refuse_type(value.Env(), what, "an SPI whose low 31 bits are not all zero");
}

RequestId read_request_id(Napi::Object object, const char* what) {
  return {read_fixed<32>(object.Get("start"), what), read_u64(object.Get("counter"), what)};
}

}  // namespace

uint64_t read_number(Napi::Value value, uint64_t highest, const char* what) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0) || number > static_cast<double>(highest) || number != std::floor(number)) {
    refuse_type(value.Env(), what, ("a whole number up to " + std::to_string(highest)).c_str());
  }
  return static_cast<uint64_t>(number);
}

uint32_t read_spi(Napi::Value value, const char* what) {
  const auto spi = static_cast<uint32_t>(read_number(value, UINT32_MAX, what));
  if (is_reserved_spi(spi)) refuse_reserved_spi(value, what);
  return spi;
}

EngineOptions read_options(Napi::Value value) {
  const Napi::Object options = read_object(value, "options");
  EngineOptions result;
  result.bus_secret = read_and_wipe_secret(options.Get("busSecret"));
  result.node = read_bound_text(options.Get("node"), "node");
  result.config = read_engine_config(options);
  result.crypto = static_cast<CryptoChoice>(
      read_choice(options.Get("crypto"), {"auto", "ipsec-mb", "libcrypto"}, "crypto"));
  result.on_events = read_function(options.Get("onEvents"), "onEvents");
  result.on_samples = read_function(options.Get("onSamples"), "onSamples");
  return result;
}

EngineConfig read_engine_config(Napi::Object options) {
  EngineConfig config;
  const Napi::Object unsecured = read_object(options.Get("unsecured"), "unsecured");
  config.unsecured.device = read_text(unsecured.Get("device"), "unsecured.device");
  config.gateways = read_prefixes(unsecured.Get("gateways"), "unsecured.gateways");

  const Napi::Object secured = read_object(options.Get("secured"), "secured");
  config.secured.device = read_text(secured.Get("device"), "secured.device");
  config.secured_address.address = read_fixed<16>(secured.Get("address"), "secured.address");
  config.secured_address.length = read_prefix_length(
      options.Env(), read_u32(secured.Get("prefixLength"), "secured.prefixLength"), "secured.prefixLength");
  const Napi::Value gateway = secured.Get("gateway");
  if (!gateway.IsUndefined()) config.secured_gateway = read_fixed<16>(gateway, "secured.gateway");

  config.vips = read_prefixes(options.Get("vips"), "vips");
  config.peers = read_peers(options.Get("peers"));
  config.outer = read_outer(secured);
  config.ingress_acl = read_flag(options.Get("ingressAcl"), "ingressAcl");
  config.bypass = read_bypass(options.Get("bypass"));
  const Napi::Object capture = read_object(options.Get("capture"), "capture");
  config.capture.ingress = read_flag(capture.Get("ingress"), "capture.ingress");
  config.capture.egress = read_flag(capture.Get("egress"), "capture.egress");
  config.capture.per_second = read_u32(capture.Get("perSecond"), "capture.perSecond");
  config.busy_polling = read_choice(options.Get("polling"), {"adaptive", "busy"}, "polling") == 1;
  config.lcores = static_cast<uint32_t>(read_number(options.Get("lcores"), kLcoresAtMost, "lcores"));
  if (config.lcores == 0) refuse_type(options.Env(), "lcores", "1 or more");
  config.max_flows = read_u32(options.Get("maxFlows"), "maxFlows");
  config.retire_ms = read_u32(options.Get("retireMs"), "retireMs");
  const Napi::Object limits = read_object(options.Get("limits"), "limits");
  config.hold_ms = read_u32(limits.Get("holdMs"), "limits.holdMs");
  config.unanswered_ms = read_u32(limits.Get("unansweredMs"), "limits.unansweredMs");
  config.held_per_flow = read_u32(limits.Get("heldPerFlow"), "limits.heldPerFlow");
  config.held_per_source = read_u32(limits.Get("heldPerSource"), "limits.heldPerSource");
  config.held_total = read_u32(limits.Get("heldTotal"), "limits.heldTotal");
  config.wants_per_peer = read_u32(limits.Get("wantsPerPeer"), "limits.wantsPerPeer");
  config.spis_per_flow = read_u32(limits.Get("spisPerFlow"), "limits.spisPerFlow");

  const Napi::Object sampling = read_object(options.Get("sampling"), "sampling");
  config.sampling.egress_log2 = read_rate(sampling.Get("egressLog2"), "sampling.egressLog2");
  config.sampling.snap_bytes =
      static_cast<uint16_t>(read_number(sampling.Get("snapBytes"), kSnapAtMost, "sampling.snapBytes"));
  config.sampling.sealed = read_flag(sampling.Get("sealed"), "sampling.sealed");
  config.sampling.plain = read_flag(sampling.Get("plain"), "sampling.plain");
  return config;
}

std::vector<FlowKey> read_flows(Napi::Value value, const char* what) {
  const std::vector<uint8_t> octets = read_octets(value, what);
  if (octets.size() % kFlowOctets != 0) refuse_type(value.Env(), what, "32 octets for each flow");
  std::vector<FlowKey> flows(octets.size() / kFlowOctets);
  if (!flows.empty()) std::memcpy(flows.data(), octets.data(), octets.size());
  return flows;
}

std::vector<Offer> read_offers(Napi::Value value) {
  const Napi::Object columns = read_object(value, "offers");
  const auto u64s = [&](const char* name) {
    return read_column<uint64_t>(columns.Get(name), napi_biguint64_array, name, "a BigUint64Array");
  };
  const auto spis = read_column<uint32_t>(columns.Get("spis"), napi_uint32_array, "spis", "a Uint32Array");
  const std::vector<uint8_t> versions = read_octets(columns.Get("versions"), "versions");
  const std::vector<uint64_t> numbers = u64s("numbers");
  const std::vector<uint8_t> numbered = read_octets(columns.Get("numbered"), "numbered");
  const std::vector<uint64_t> cookies = u64s("cookies");
  const std::vector<uint8_t> modes = read_octets(columns.Get("modes"), "modes");
  const std::vector<uint8_t> addresses = read_octets(columns.Get("addresses"), "addresses");
  const std::vector<uint8_t> macs = read_octets(columns.Get("macs"), "macs");
  const size_t count = spis.size();
  if (versions.size() != count || numbers.size() != count || numbered.size() != count ||
      cookies.size() != count || modes.size() != count || addresses.size() != count * 16 ||
      macs.size() != count * 6) {
    refuse_type(value.Env(), "offers", "columns of one length");
  }
  std::vector<Offer> offers(count);
  for (size_t i = 0; i < count; ++i) {
    if (!is_known_version(versions[i])) refuse_type(value.Env(), "versions", "from 0 to 3");
    if (is_reserved_spi(spis[i])) refuse_reserved_spi(value, "spis");
    offers[i].spi = spis[i];
    offers[i].version = versions[i];
    if (numbered[i] != 0) offers[i].number = numbers[i];
    offers[i].cookie = cookies[i];
    offers[i].mode = read_mode(value.Env(), modes[i], "modes");
    std::copy_n(addresses.data() + i * 16, 16, offers[i].address.begin());
    std::copy_n(macs.data() + i * 6, 6, offers[i].mac.begin());
  }
  return offers;
}

SealContext read_binding(Napi::Value value) {
  const Napi::Object binding = read_object(value, "binding");
  SealContext context;
  context.contract = read_bound_text(binding.Get("contract"), "binding.contract");
  context.epoch = read_u64(binding.Get("epoch"), "binding.epoch");
  context.peer = read_bound_text(binding.Get("peer"), "binding.peer");
  context.exchange = read_u64(binding.Get("exchange"), "binding.exchange");
  const Napi::Value peer_epoch = binding.Get("peerEpoch");
  if (!peer_epoch.IsUndefined()) context.peer_epoch = read_u64(peer_epoch, "binding.peerEpoch");
  const Napi::Value request = binding.Get("request");
  if (!request.IsUndefined()) {
    context.request = read_request_id(read_object(request, "binding.request"), "binding.request");
  }
  return context;
}

Seal read_seal(Napi::Value value) {
  const Napi::Object seal = read_object(value, "seal");
  return {read_request_id(seal, "seal.start and seal.counter"), read_octets(seal.Get("box"), "seal.box")};
}

std::vector<uint32_t> read_rows(Napi::Value value, size_t bound) {
  std::vector<uint32_t> rows = read_column<uint32_t>(value, napi_uint32_array, "rows", "a Uint32Array");
  for (const uint32_t row : rows) {
    if (row >= bound) refuse_type(value.Env(), "rows", "rows of the opened keys");
  }
  return rows;
}

WithdrawCommand read_withdraw(Napi::Value inbound, Napi::Value spis) {
  const std::vector<FlowKey> flows = read_flows(inbound, "inbound");
  const auto column = read_column<uint32_t>(spis, napi_uint32_array, "spis", "a Uint32Array");
  if (flows.size() != column.size()) refuse_type(spis.Env(), "spis", "one for each inbound flow");
  WithdrawCommand command;
  for (size_t i = 0; i < flows.size(); ++i) command.entries.push_back({flows[i], column[i]});
  return command;
}

Refusal read_refusal(Napi::Value value) {
  return static_cast<Refusal>(read_number(value, static_cast<uint64_t>(Refusal::kRemoved), "refusal"));
}

std::optional<uint8_t> read_rate(Napi::Value value, const char* what) {
  if (value.IsUndefined()) return std::nullopt;
  return static_cast<uint8_t>(read_number(value, kRateAtMost, what));
}

}  // namespace psp
